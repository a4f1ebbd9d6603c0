"""A site's desk: checks permits, opens and closes leases, meters, and signs what it has to report.

Nothing here knows of Prefect's worker loop; the flow run comes in as an id and its parameters. All methods block and
may be called from several threads, each for another attempt.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra import faults
from infra.adapters.extensions import read_extended_cap
from infra.core.canonical import digest
from infra.core.errors import HeadraceError, InputError, RefusedError
from infra.core.inventory import Pool, Site
from infra.core.metering import ReportKind, ReportOutcome, SiteReport, cap_reached_at
from infra.core.trust import PermitClaims, check_permit
from infra.faults import Point
from infra.ports import Clock, ClusterAddress, ClusterProvider, Lease, ObjectStore, PermitVerifier
from infra.worker.attempt import Admission, SiteAttempt
from infra.worker.context import SiteContext, SiteOutcome, read_outcome
from infra.worker.reaper import SiteReaper
from infra.worker.reporting import SiteReports
from infra.worker.site_state import AttemptNote, SiteState, with_process
from infra.worker.store_access import Access, StoreAccess, WholeStore
from infra.worker.warm import WarmRoom, idle_s, is_warm

logger = logging.getLogger("headrace.site")

LEASE_MARGIN_S = 20.0
"""How much longer a cluster may live than its money lasts: the time to stop it in order, not to compute."""

REAP_GRACE_S = 30.0
"""How long after its hard end a lease may still be ending by itself."""


class SiteDesk:
    """One site's enforcement.

    Args:
        providers: The cluster provider of each kind of pool, by :class:`infra.core.inventory.Cluster`.
        access: How attempts get into the object store; without it they need nothing to do so.
    """

    def __init__(
        self,
        site: Site,
        pool: str,
        verifier: PermitVerifier,
        key: Ed25519PrivateKey,
        store: ObjectStore,
        state: SiteState,
        providers: Callable[[Pool], ClusterProvider],
        clock: Clock,
        store_url: str,
        access: StoreAccess | None = None,
    ) -> None:
        self.site, self.pool, self.state = site, pool, state
        self._verifier, self._store, self.clock = verifier, store, clock
        self._providers, self._store_url = providers, store_url
        self._access = access or WholeStore()
        self._reaper = SiteReaper(state.directory, site)
        self._noting = threading.Lock()
        self.warm = WarmRoom(state)
        self.reports = SiteReports(site.name, key, store, state, clock, self.warm, self._had_machines)

    def admit(self, flow_run_id: str, parameters: Mapping[str, Any]) -> Admission:
        """Check everything, and use the permit up. Nothing else is started or written for a refused run.

        Raises:
            RefusedError: ``PERMIT_MISSING``, ``PERMIT_MALFORMED``, ``PERMIT_FORGED``, ``PERMIT_REPLAYED`` or what
                :func:`infra.core.trust.check_permit` finds.
        """
        token, work = parameters.get("permit"), parameters.get("work")
        if not isinstance(token, str) or not token:
            raise RefusedError(
                "PERMIT_MISSING",
                "a site starts nothing without a permit",
                f"site {self.site.name}, flow run {flow_run_id}",
                "start the run through its deployment, so that it is placed",
            )
        claims = self._verifier.verify(token)
        try:
            work_sha256 = digest(work)
        except InputError as problem:
            raise RefusedError(
                "PERMIT_WRONG_WORK", problem.problem, f"flow run {flow_run_id}", problem.remedy
            ) from problem
        check_permit(claims, self.site, self.pool, work_sha256, self.clock.now())
        self._check_work(claims, work)
        pool = next(pool for pool in self.site.pools if pool.name == self.pool)
        offer = next(offer for offer in pool.offers if offer.name == claims.offer)
        faults.passed(Point.PERMIT_CHECKED)
        self.state.claim_permit(claims.id, flow_run_id, self.clock.now())
        faults.passed(Point.PERMIT_USED)
        return Admission(flow_run_id, claims, offer, pool, dict(work or {}))

    def _check_work(self, claims: PermitClaims, work: Any) -> None:
        same = isinstance(work, dict) and (work.get("run_id"), work.get("attempt")) == (claims.run_id, claims.attempt)
        if not same:
            raise RefusedError(
                "PERMIT_WRONG_WORK",
                "the work names another run or attempt than the permit",
                f"site {self.site.name}, run {claims.run_id}",
                "start the run through its deployment, so that it is placed",
            )

    def refuse(self, flow_run_id: str, error: HeadraceError, parameters: Mapping[str, Any]) -> None:
        """Leave a signed note of a refusal. An authentic permit's run is named in it, so that its owner finds it."""
        run_id, attempt = "", 0
        try:
            claims = self._verifier.verify(parameters.get("permit") or "")
            run_id, attempt = claims.run_id, claims.attempt
        except RefusedError:
            run_id = ""
        self.reports.refuse(flow_run_id, error, run_id, attempt)

    def begin(self, admission: Admission) -> SiteAttempt:
        """Write the lease down, before anything of it exists, and say that the attempt has begun."""
        claims, now_at = admission.claims, self.clock.now()
        # Machines carry their hard end from the start, so it leaves room for extensions; the cap is watched from here.
        money_ends_at = cap_reached_at(admission.offer.price, claims.devices, now_at, claims.limit_micro)
        lease = Lease(
            id=claims.id,
            run_id=claims.run_id,
            attempt=claims.attempt,
            site=self.site.name,
            pool=self.pool,
            offer=claims.offer,
            devices=claims.devices,
            cap_micro=claims.cap_micro,
            opened_at=now_at,
            ends_at=min(claims.expires_at, money_ends_at + LEASE_MARGIN_S),
            idle_s=idle_s(admission.work),
        )
        note = AttemptNote(
            lease,
            claims.id,
            admission.flow_run_id,
            warm=is_warm(admission.work),
            cluster_lease=claims.cluster_lease,
        )
        attempt = SiteAttempt(note, admission)
        self.state.note(attempt.note)
        faults.passed(Point.LEASE_WRITTEN)
        self.reports.post(attempt.note, ReportKind.OPENED)
        return attempt

    def open_cluster(self, attempt: SiteAttempt) -> Path:
        """Open the store for the attempt and a cluster, and write the flow process's context.

        It is the warm cluster that the permit names, if that is still to be had, and otherwise one of the lease's own.

        Returns:
            The context file.

        Raises:
            UnavailableError: ``CLUSTER_START_FAILED``; ``STORE_ACCESS_FAILED``, before there is anything of the cluster.
            RefusedError: ``STORE_POLICY_TOO_LARGE``, ``STORE_SCOPE_UNSAFE``, likewise.
        """
        attempt.access = self._grant(attempt)
        address = self._take_warm(attempt)
        if address is None:
            provider = self._providers(attempt.admission.pool)
            address = provider.open(attempt.lease, attempt.admission.offer, self.site)
        faults.passed(Point.CLUSTER_UP)
        attempt.note = self.state.note(replace(attempt.note, ready_at=self.clock.now()))
        if attempt.access.is_due(self.clock.now()):
            # Machines may take longer to boot than credentials live.
            attempt.access = self._grant(attempt)
        path = self._write_context(attempt, address)
        if attempt.note.warm:
            # It can be had from now on, and whoever places runs shall know that at once.
            self.meter(attempt)
        return path

    def _take_warm(self, attempt: SiteAttempt) -> ClusterAddress | None:
        cluster_lease = attempt.admission.claims.cluster_lease
        if not cluster_lease:
            return None
        address = self.warm.take(attempt.lease, cluster_lease, self.clock.now())
        if address is None:
            logger.warning("The warm cluster %s is not to be had; %s gets its own", cluster_lease, attempt.lease.id)
            return None
        attempt.taken = cluster_lease
        return address

    def _write_context(self, attempt: SiteAttempt, address: ClusterAddress) -> Path:
        lease = attempt.lease
        path = self._context_file(attempt)
        SiteContext(
            site=self.site.name,
            pool=self.pool,
            lease_id=lease.id,
            claims=attempt.admission.claims,
            cluster=address,
            store_url=self._store_url,
            store_credentials=attempt.access.variables,
            cache_dir=self.state.cache_dir(lease.id),
            ends_at=lease.ends_at,
        ).save(path)
        return path

    def _context_file(self, attempt: SiteAttempt) -> Path:
        return self.state.context_file(attempt.lease.id)

    def _grant(self, attempt: SiteAttempt) -> Access:
        return self._access.grant(attempt.admission.claims, attempt.admission.work, self.clock.now())

    def renew_access(self, attempt: SiteAttempt) -> bool:
        """Put new credentials into the flow process's context when those in it end soon; whether that was done.

        Raises:
            UnavailableError: ``STORE_ACCESS_FAILED``; those in it are left as they are, for the next try.
        """
        if not attempt.access.is_due(self.clock.now()):
            return False
        access, path = self._grant(attempt), self._context_file(attempt)
        SiteContext.load(path).with_credentials(access.variables).save(path)
        attempt.access = access
        return True

    def close_cluster(self, attempt: SiteAttempt) -> None:
        """Close the attempt's cluster, up or on its way up. Safe to repeat.

        A warm one that another attempt has taken is left to that.
        """
        if attempt.note.warm and not self.warm.keeps(attempt.note, self.clock.now()):
            return
        self._providers(attempt.admission.pool).close(attempt.taken or attempt.lease.id)

    def process_started(self, attempt: SiteAttempt, pid: int) -> None:
        """Write the flow process down, for whoever has to account for it after a kill."""
        with self._noting:
            attempt.note = self.state.note(with_process(attempt.note, pid))

    def left_by(self, attempt: SiteAttempt) -> SiteOutcome:
        """What the flow process left so far; an empty outcome when it left nothing."""
        return read_outcome(self.state.cache_dir(attempt.lease.id))

    def meter(self, attempt: SiteAttempt) -> None:
        """Sign and send a meter reading."""
        self.reports.post(attempt.note, ReportKind.METER)
        self.deliver()

    def look_for_extension(self, attempt: SiteAttempt) -> bool:
        """Take up an extension of the attempt's permit; whether its cap is larger now.

        One that is not authentic, or cannot be read, counts as none.
        """
        try:
            cap_micro = read_extended_cap(self._store, self._verifier, attempt.admission.claims)
        except RefusedError as problem:
            logger.warning("%s", problem)
            return False
        except Exception as problem:  # whatever kind of store it is that does not answer
            logger.debug("No extension can be looked for: %r", problem)
            return False
        if cap_micro is None or cap_micro <= attempt.lease.cap_micro:
            return False
        with self._noting:
            attempt.note = self.state.note(replace(attempt.note, lease=replace(attempt.lease, cap_micro=cap_micro)))
        return True

    def close(self, attempt: SiteAttempt, outcome: ReportOutcome, exit_code: int | None, message: str) -> SiteReport:
        """Close the cluster, then say what was used. Every attempt that began ends here, whatever happened to it."""
        faults.passed(Point.WORK_ENDED)
        self.close_cluster(attempt)
        faults.passed(Point.CLUSTER_CLOSED)
        return self.reports.close(attempt.note, outcome, exit_code, message)

    def recover(self) -> tuple[SiteReport, ...]:
        """Account for attempts of a worker that was killed: end what is left of them and report how they ended.

        Lost, unless the result was whole already: then nobody has to compute it again.

        Returns:
            The reports of those that had none yet.
        """
        reports = [self._recover(note) for note in self.state.notes()]
        self.deliver()
        return tuple(report for report in reports if report is not None)

    def _recover(self, note: AttemptNote) -> SiteReport | None:
        if note.process is not None and note.process.send(signal.SIGKILL):
            try:
                os.killpg(note.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                note.process.wait(1.0)
        for pool in self.site.pools:
            if pool.name == note.lease.pool:
                # Its worker is gone and so is whoever worked on it: also a cluster that it only might have taken.
                for lease_id in filter(None, (note.lease.id, note.cluster_lease)):
                    self._providers(pool).close(lease_id)
        if self.reports.has_closed(note):
            self.state.forget(note.lease.id)
            return None
        if read_outcome(self.state.cache_dir(note.lease.id)).result_manifest_sha256:
            return self.reports.close(note, ReportOutcome.FINISHED, None, "")
        return self.reports.close(note, ReportOutcome.LOST, None, "LOST: the site's worker was killed or restarted")

    def reap(self) -> list[HeadraceError]:
        """End what outlived its lease at this site; what kept the round from seeing everything."""
        self._reaper.reap(self.clock.now(), REAP_GRACE_S)
        return self._reaper.problems

    def deliver(self) -> int:
        """Send what waits in the outbox; returns how many reports still wait."""
        return self.reports.deliver()

    def _had_machines(self, note: AttemptNote) -> bool:
        pool = next((pool for pool in self.site.pools if pool.name == note.lease.pool), None)
        return pool is None or self._providers(pool).had_machines(note.lease.id)

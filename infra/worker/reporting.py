"""What a site reports: signed, put into the outbox before anything else happens, and sent when the store answers."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra import faults
from infra.adapters.reports import Refusal, refusal_key, report_key, sign_refusal, sign_report
from infra.core.errors import HeadraceError
from infra.core.metering import ReportKind, ReportOutcome, SiteReport
from infra.faults import Point
from infra.ports import Clock, ObjectStore
from infra.worker.context import read_outcome
from infra.worker.site_state import AttemptNote, SiteState
from infra.worker.warm import WarmRoom


class SiteReports:
    """A site's reports. Its methods may be called from several threads.

    Args:
        had_machines: Whether an attempt had machines at any time, or may have had some.
    """

    def __init__(
        self,
        site: str,
        key: Ed25519PrivateKey,
        store: ObjectStore,
        state: SiteState,
        clock: Clock,
        warm: WarmRoom,
        had_machines: Callable[[AttemptNote], bool],
    ) -> None:
        self._site, self._key, self._store, self._state = site, key, store, state
        self._clock, self._warm, self._had_machines = clock, warm, had_machines

    def refuse(self, flow_run_id: str, error: HeadraceError, run_id: str, attempt: int) -> None:
        """Leave a signed note of a refusal; ``run_id`` is empty where no authentic permit names one."""
        refusal = Refusal(self._site, flow_run_id, error.code, str(error), self._clock.now(), run_id, attempt)
        self._state.post(refusal_key(self._site, flow_run_id), sign_refusal(self._key, refusal))
        self.deliver()

    def post(
        self,
        note: AttemptNote,
        kind: ReportKind,
        outcome: ReportOutcome = ReportOutcome.RUNNING,
        exit_code: int | None = None,
        message: str = "",
    ) -> SiteReport:
        """Sign a report and put it into the outbox."""
        lease, left = note.lease, read_outcome(self._state.cache_dir(note.lease.id))
        started_at = lease.opened_at
        ended_at = max(self._warm.charged_until(note, self._clock.now()), note.ready_at or started_at)
        if kind is ReportKind.CLOSED and note.ready_at is None and not self._had_machines(note):
            started_at = ended_at
        report = SiteReport(
            kind=kind,
            run_id=lease.run_id,
            attempt=lease.attempt,
            lease_id=lease.id,
            site=lease.site,
            offer=lease.offer,
            devices=lease.devices,
            outcome=outcome,
            started_at=started_at,
            ended_at=ended_at,
            ready_at=note.ready_at,
            exit_code=exit_code,
            egress_bytes=left.egress_bytes,
            egress_sources=left.egress_sources,
            result_manifest_sha256=left.result_manifest_sha256,
            message=message or left.message,
        )
        self._state.post(report_key(report.run_id, report.attempt, kind), sign_report(self._key, report))
        return report

    def close(self, note: AttemptNote, outcome: ReportOutcome, exit_code: int | None, message: str) -> SiteReport:
        """Say how an attempt ended and what it used, and forget it."""
        report = self.post(note, ReportKind.CLOSED, outcome, exit_code, message)
        faults.passed(Point.REPORT_SIGNED)
        # In this order: a kill in between leaves both, and the recovery sees that the report is there.
        self._state.forget(note.lease.id)
        self.deliver()
        return report

    def has_closed(self, note: AttemptNote) -> bool:
        """Whether the worker was killed after it had signed the closing report, which then stays what it is."""
        key = report_key(note.lease.run_id, note.lease.attempt, ReportKind.CLOSED)
        try:
            return self._state.holds(key) or self._store.exists(key)
        except Exception:
            # A store that does not answer has not been given the report after the outbox lost it, either.
            return False

    def deliver(self) -> int:
        """Send what waits in the outbox; returns how many reports still wait."""
        return self._state.deliver(self._store)

"""EC2 as a cluster provider: each lease gets an ephemeral TLS Dask cluster of machines with private addresses.

The lease is written before the first call, and everything that is made carries its tags, so that whoever comes after a
kill finds all of it. A machine ends when the lease is closed, when its scheduler was idle for long, when the keeper
sees that the lease's opener is gone, at its own hard end, and by the reaper, whichever is first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infra.adapters.certificates import ClusterIdentity, issue_identity
from infra.adapters.cloud.ec2_fleet import LEASE, OWNER, CloudMachine, Ec2Fleet, cloud_environment, owner_of
from infra.adapters.cloud.ec2_records import note_ends
from infra.adapters.cloud.kept import CERTIFICATE_LEEWAY_S, KeptClusters
from infra.adapters.local_cloud.environment import machine_environment
from infra.adapters.local_cloud.reaping import reap_reason
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.canonical import plain
from infra.core.errors import InputError, UnavailableError
from infra.core.inventory import Offer, Purchase, Site
from infra.ports import Lease, Reaped, ReapReason

HARD_END_MARGIN_S = 30.0
"""How long after its lease's end a machine ends by itself, when nobody else has ended it."""

FIRST_LOOK_S = 90.0
"""How old a machine must be before the reaper ends it for want of a lease's record."""


class Ec2Cloud(KeptClusters):
    """Cluster provider on AWS EC2. Safe to use from several threads.

    Args:
        state_dir: The site's state directory.
        idle_timeout_s: A cluster without work ends itself after this time.
        start_timeout_s: How long a start may take beyond the offer's boot time.
        warm: Whether to start the host at once and not with the first lease.
        environ: Where credentials and endpoints are found; they stay in keepers and never reach machines.
        clock: Seconds since the epoch.
    """

    kind = "ec2"
    keeper_module = "infra.adapters.cloud.ec2_keeper"
    close_patience_s = 25.0

    def __init__(
        self,
        state_dir: Path,
        *,
        idle_timeout_s: float = 300.0,
        start_timeout_s: float = 240.0,
        warm: bool = False,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._idle_timeout_s, self._environ = idle_timeout_s, dict(environ)
        variables = machine_environment(Path(state_dir).absolute(), cloud_environment(environ))
        super().__init__(state_dir, variables, start_timeout_s, (), warm, clock)
        self._fleets: dict[str, Ec2Fleet] = {}

    def _order(self, lease: Lease, offer: Offer, site: Site, now_at: float) -> dict[str, Any]:
        settings = next((pool.ec2 for pool in site.pools if pool.name == lease.pool), None)
        if settings is None or offer.instance_type is None:
            raise InputError(
                "CONTRADICTORY_POOL", "it has no settings of ec2", f"pool {lease.pool}", "add them to the site's file"
            )
        return {
            "settings": plain(settings),
            "owner": owner_of(self._state_dir),
            "instance_type": offer.instance_type,
            "spot": offer.purchase is Purchase.SPOT,
            "idle_timeout_s": self._idle_timeout_s,
            "machine_ends_at": lease.ends_at + HARD_END_MARGIN_S,
            "serve_timeout_s": offer.boot_s + self._start_timeout_s / 2,
        }

    def _issue(self, lease: Lease, directory: LeaseDirectory) -> ClusterIdentity:
        workers = tuple(f"worker-{index}" for index in range(lease.devices))
        ends_at = lease.ends_at + CERTIFICATE_LEEWAY_S
        return issue_identity(directory.tls, lease.id, self._clock(), ends_at, workers)

    def leases(self) -> tuple[str, ...]:
        """Ids of leases for which something still exists, machines of closed ones among them.

        When the cloud does not answer, an open lease counts until its machines' hard end.
        """
        open_ones = set(super().leases())
        for directory in self._directories():
            lease = directory.lease()
            if lease is None or lease.id in open_ones:
                continue
            recent = self._clock() < lease.ends_at + HARD_END_MARGIN_S
            if directory.closed and not recent:
                continue
            try:
                exists = any(machine.alive for machine in self._machines(directory))
            except UnavailableError:
                exists = not directory.closed and recent
            if exists:
                open_ones.add(lease.id)
        return tuple(sorted(open_ones))

    def reap(self, now_at: float, grace_s: float, dry_run: bool) -> list[Reaped]:
        """End machines that no lease of this site justifies: compare what is tagged with what is written down.

        Raises:
            UnavailableError: ``CLOUD_UNREACHABLE`` when a region does not answer; the others were looked at.
        """
        known = {lease.id: found for found in self._directories() if (lease := found.lease()) is not None}
        reaped: dict[str, Reaped] = {}
        unreachable: UnavailableError | None = None
        machines: dict[str, list[CloudMachine]] = {}
        fleets = self._known_fleets()
        for fleet in fleets:
            try:
                for machine in fleet.find({OWNER: owner_of(self._state_dir)}):
                    if machine.alive:
                        machines.setdefault(machine.lease_id, []).append(machine)
            except UnavailableError as problem:
                unreachable = problem
        for lease_id in sorted({*machines, *(key for key, found in known.items() if not found.closed)}):
            directory, mine = known.get(lease_id), machines.get(lease_id, [])
            reason = self._reason(directory, mine, now_at, grace_s)
            if reason is None:
                continue
            lease = directory.lease() if directory is not None else None
            processes = tuple(directory.running()) if directory is not None else ()
            if not dry_run:
                if directory is not None:
                    directory.end(reason.value, now_at)
                for fleet in fleets:
                    fleet.end(machine for machine in mine if machine.region == fleet.region)
            overdue_s = now_at - lease.ends_at if lease is not None else 0.0
            ids = tuple(machine.id for machine in mine)
            reaped[lease_id] = Reaped(lease_id, reason, processes, (), overdue_s, ids)
        if unreachable is not None and not reaped:
            raise unreachable
        return list(reaped.values())

    def add_region(self, region: str) -> None:
        """Let the reaper look there as well, though no lease of it is written down."""
        self._fleet(region)

    @staticmethod
    def _reason(
        directory: LeaseDirectory | None, machines: list[CloudMachine], now_at: float, grace_s: float
    ) -> ReapReason | None:
        lease = directory.lease() if directory is not None else None
        if directory is not None and lease is not None and not directory.closed:
            return reap_reason(directory, lease.ends_at, now_at, grace_s)
        # Records are written first, but when one is missing, a machine is given the time that clocks may differ.
        strange = [found for found in machines if directory is not None or now_at - found.launched_at > FIRST_LOOK_S]
        return ReapReason.NO_LEASE if strange else None

    def _end(self, directory: LeaseDirectory, why: str) -> None:
        try:
            machines = self._machines(directory)
            self._fleet_of(directory).end(machines)
            note_ends(directory, self._machines(directory))
        except UnavailableError as problem:
            # The lease is closed all the same. Its machines end by themselves, or the reaper finds them by their tags.
            (directory.path / "unreachable.txt").write_text(f"{problem}\n")
        directory.end(why, self._clock())

    def _directories(self) -> list[LeaseDirectory]:
        return [found for found in LeaseDirectory.all(self._state_dir) if found.document().get("provider") == self.kind]

    def _machines(self, directory: LeaseDirectory) -> list[CloudMachine]:
        lease = directory.lease()
        tags = {OWNER: owner_of(self._state_dir), LEASE: lease.id if lease is not None else ""}
        return self._fleet_of(directory).find(tags)

    def _fleet_of(self, directory: LeaseDirectory) -> Ec2Fleet:
        return self._fleet(directory.document()["order"]["settings"]["region"])

    def _known_fleets(self) -> list[Ec2Fleet]:
        for directory in self._directories():
            self._fleet_of(directory)
        return list(self._fleets.values())

    def _fleet(self, region: str) -> Ec2Fleet:
        with self._lock:
            return self._fleets.setdefault(region, Ec2Fleet(region, self._environ))

"""Providers whose machines or jobs are found by their tags, whoever started them: what their reapers share.

The lease is written before the first call, and everything that is made carries its tags, so that whoever comes after a
kill finds all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

from infra.adapters.cloud.kept import UNREACHABLE_FILE, KeptClusters
from infra.adapters.cloud.tags import LEASE, OWNER, owner_of
from infra.adapters.local_cloud.reaping import reap_reason
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.errors import InputError, UnavailableError
from infra.core.inventory import Site
from infra.ports import Lease, Reaped, ReapReason

FIRST_LOOK_S = 90.0
"""How old a machine must be before the reaper ends it for want of a lease's record."""


class Tagged(Protocol):
    """A machine or a job.

    Attributes:
        launched_at: When it was asked for, seconds since the epoch.
        alive: Whether it uses something or may yet.
    """

    @property
    def id(self) -> str: ...
    @property
    def launched_at(self) -> float: ...
    @property
    def lease_id(self) -> str: ...
    @property
    def alive(self) -> bool: ...


Machine = TypeVar("Machine", bound=Tagged)


class Fleet(Protocol[Machine]):
    """All machines of one place, or all jobs of one queue. Both methods raise UnavailableError CLOUD_UNREACHABLE."""

    def find(self, tags: Mapping[str, str]) -> list[Machine]:
        """Those with all of these tags, ended ones too for as long as the place remembers them."""

    def end(self, machines: Iterable[Machine]) -> None:
        """End those that are alive."""


class TaggedClusters(KeptClusters):
    """Base of providers whose machines live on when their keeper is killed, until they are found by their tags.

    Attributes:
        hard_end_margin_s: How long after its lease's end a machine ends by itself, when nobody else has ended it.
    """

    hard_end_margin_s = 30.0

    def _fleet_of(self, directory: LeaseDirectory) -> Fleet[Any]:
        """Where the machines of a lease are."""
        raise NotImplementedError

    def _known_fleets(self) -> list[Fleet[Any]]:
        """Everywhere that machines of this site may be."""
        raise NotImplementedError

    def add_place(self, settings: Any) -> None:
        """Let the reaper look where a pool's settings point as well, though no lease of it is written down."""

    def _settings(self, site: Site, lease: Lease) -> Any:
        """Settings of the lease's pool.

        Raises:
            InputError: ``CONTRADICTORY_POOL`` when it has none for this provider.
        """
        settings = next((getattr(pool, self.kind) for pool in site.pools if pool.name == lease.pool), None)
        if settings is None:
            raise self._without_settings(lease)
        return settings

    def _without_settings(self, lease: Lease) -> InputError:
        problem = f"it has no settings of {self.kind}"
        return InputError("CONTRADICTORY_POOL", problem, f"pool {lease.pool}", "add them to the site's file")

    def _note_ends(self, directory: LeaseDirectory, machines: Iterable[Any]) -> None:
        """Write down which of the lease's machines have ended, and those that nobody wrote down."""
        raise NotImplementedError

    def leases(self) -> tuple[str, ...]:
        """Ids of leases for which something still exists, machines of closed ones among them.

        When the cloud does not answer, an open lease counts until its machines' hard end.
        """
        open_ones = set(super().leases())
        for directory in self._directories():
            lease = directory.lease()
            if lease is None or lease.id in open_ones:
                continue
            recent = self._clock() < lease.ends_at + self.hard_end_margin_s
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
            UnavailableError: ``CLOUD_UNREACHABLE`` when a place does not answer; the others were looked at.
        """
        known = {lease.id: found for found in self._directories() if (lease := found.lease()) is not None}
        reaped: dict[str, Reaped] = {}
        unreachable: UnavailableError | None = None
        machines: dict[str, list[tuple[Fleet[Any], Any]]] = {}
        for fleet in self._known_fleets():
            try:
                for machine in fleet.find({OWNER: owner_of(self._state_dir)}):
                    if machine.alive:
                        machines.setdefault(machine.lease_id, []).append((fleet, machine))
            except UnavailableError as problem:
                unreachable = problem
        for lease_id in sorted({*machines, *(key for key, found in known.items() if not found.closed)}):
            directory, mine = known.get(lease_id), machines.get(lease_id, [])
            reason = self._reason(directory, [machine for _, machine in mine], now_at, grace_s)
            if reason is None:
                continue
            lease = directory.lease() if directory is not None else None
            processes = tuple(directory.running()) if directory is not None else ()
            if not dry_run:
                if directory is not None:
                    directory.end(reason.value, now_at)
                for fleet in dict.fromkeys(fleet for fleet, _ in mine):
                    fleet.end([machine for owner, machine in mine if owner is fleet])
            overdue_s = now_at - lease.ends_at if lease is not None else 0.0
            ids = tuple(machine.id for _, machine in mine)
            reaped[lease_id] = Reaped(lease_id, reason, processes, (), overdue_s, ids)
        if unreachable is not None and not reaped:
            raise unreachable
        return list(reaped.values())

    @staticmethod
    def _reason(
        directory: LeaseDirectory | None, machines: list[Any], now_at: float, grace_s: float
    ) -> ReapReason | None:
        lease = directory.lease() if directory is not None else None
        if directory is not None and lease is not None and not directory.closed:
            return reap_reason(directory, lease.ends_at, now_at, grace_s)
        # Records are written first, but when one is missing, a machine is given the time that clocks may differ.
        strange = [found for found in machines if directory is not None or now_at - found.launched_at > FIRST_LOOK_S]
        return ReapReason.NO_LEASE if strange else None

    def _end(self, directory: LeaseDirectory, why: str) -> None:
        try:
            self._fleet_of(directory).end(self._machines(directory))
            self._note_ends(directory, self._machines(directory))
        except UnavailableError as problem:
            # The lease is closed all the same. Its machines end by themselves, or the reaper finds them by their tags.
            (directory.path / UNREACHABLE_FILE).write_text(f"{problem}\n")
        directory.end(why, self._clock())

    def _directories(self) -> list[LeaseDirectory]:
        return [found for found in LeaseDirectory.all(self._state_dir) if found.document().get("provider") == self.kind]

    def _machines(self, directory: LeaseDirectory) -> list[Any]:
        lease = directory.lease()
        tags = {OWNER: owner_of(self._state_dir), LEASE: lease.id if lease is not None else ""}
        return self._fleet_of(directory).find(tags)

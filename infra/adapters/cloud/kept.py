"""Providers whose clusters are held by keeper processes, one for each lease.

dask-cloudprovider allows one cluster in a process, so each has a keeper, forked by a host that has imported Dask
already. A keeper ends its cluster when the process that opened the lease is gone, whatever killed it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra import faults
from infra.adapters.certificates import ClusterIdentity
from infra.adapters.local_cloud.host import Host, KeeperHandle
from infra.adapters.local_cloud.records import LeaseDirectory, read_json
from infra.core.errors import InputError, UnavailableError
from infra.core.inventory import Offer, Site
from infra.faults import Point
from infra.ports import ClusterAddress, Lease

CERTIFICATE_LEEWAY_S = 60.0

UNREACHABLE_FILE = "unreachable.txt"
"""Beside a lease that was closed while its cloud did not answer: what it has there is not known."""


class KeptClusters:
    """Base of cluster providers with keepers. Safe to use from several threads.

    Leases that another process opened on the same state directory can be listed, metered and closed as well.

    Args:
        state_dir: The site's state directory.
        environment: All of the keepers' environment.
        start_timeout_s: How long a start may take beyond the offer's boot time.
        preload: Modules that keepers shall have imported already.
        warm: Whether to start the host at once and not with the first lease.
        clock: Seconds since the epoch.
    """

    kind: str
    keeper_module: str
    close_patience_s = 10.0
    """How long a keeper may take to close its cluster in order, before all of it is ended from outside."""

    def __init__(
        self,
        state_dir: Path,
        environment: dict[str, str],
        start_timeout_s: float,
        preload: tuple[str, ...],
        warm: bool,
        clock: Callable[[], float],
    ) -> None:
        self._state_dir = Path(state_dir).absolute()
        self._state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._environment, self._start_timeout_s, self._preload = environment, start_timeout_s, preload
        self._clock = clock
        self._lock = threading.Lock()
        self._keepers: dict[str, KeeperHandle] = {}
        self._starting: set[str] = set()
        self._host_lock = threading.Lock()
        self._host: Host | None = None
        if warm:
            self._usable_host()

    def _order(self, lease: Lease, offer: Offer, site: Site, now_at: float) -> dict[str, Any]:
        """What the keeper is told, besides the lease. JSON, no secrets."""
        raise NotImplementedError

    def _issue(self, lease: Lease, directory: LeaseDirectory) -> ClusterIdentity:
        """Make the cluster's certificates."""
        raise NotImplementedError

    def _refusal(self, offer: Offer) -> str | None:
        """Why no machine of the offer can be had, when that is known beforehand."""
        return None

    def _end(self, directory: LeaseDirectory, why: str) -> None:
        """End whatever exists for the lease, from outside, and mark it closed."""
        directory.end(why, self._clock())

    def open(self, lease: Lease, offer: Offer, site: Site) -> ClusterAddress:
        """Start the lease's machines and block until all its Dask workers are up.

        Raises:
            ConflictError: ``LEASE_EXISTS`` when this lease was opened before.
            InputError: ``LEASE_ENDED`` when it has ended already.
            UnavailableError: ``CLUSTER_START_FAILED``; everything that was started is gone again.
        """
        now_at = self._clock()
        if lease.ends_at <= now_at:
            raise InputError("LEASE_ENDED", "it ends before it begins", f"lease {lease.id}", "open it with time left")
        directory = LeaseDirectory.of(self._state_dir, lease.id)
        order = self._order(lease, offer, site, now_at)
        order["start_deadline_at"] = now_at + offer.boot_s + self._start_timeout_s
        directory.begin(lease, now_at, {"provider": self.kind, "site": site.name, "order": order})
        with self._lock:
            self._starting.add(lease.id)
        faults.passed(Point.CLUSTER_ASKED)
        try:
            refusal = self._refusal(offer)
            if refusal is not None:
                raise self._failed(lease, directory, refusal)
            return self._start(lease, directory, offer)
        except BaseException as error:
            self.close(lease.id)
            if isinstance(error, OSError | ValueError):
                raise self._failed(lease, directory, str(error)) from error
            raise

    def close(self, lease_id: str) -> None:
        """End the lease's cluster, up or on its way up. Safe to repeat; an unknown lease is no error."""
        directory = LeaseDirectory.of(self._state_dir, lease_id)
        with self._lock:
            # A start that has no keeper yet sees by this that it is no longer wanted.
            self._starting.discard(lease_id)
            keeper = self._keepers.pop(lease_id, None)
        if keeper is not None:
            keeper.end(self.close_patience_s)
        # A start that was under way when the lease was closed may have brought up a process since.
        if directory.path.exists() and (not directory.closed or directory.running()):
            self._end(directory, "closed")

    def leases(self) -> tuple[str, ...]:
        """Ids of leases for which something still exists."""
        now_at = self._clock()
        mine = (found for found in LeaseDirectory.all(self._state_dir) if found.document().get("provider") == self.kind)
        return tuple(
            sorted(lease.id for directory in mine if (lease := directory.lease()) and directory.in_use(now_at))
        )

    def had_machines(self, lease_id: str) -> bool:
        """Whether the lease had a machine with a device at any time; ``True`` also where the cloud could not be asked.

        A lease that is not written down here was never asked machines for.
        """
        directory = LeaseDirectory.of(self._state_dir, lease_id)
        workers = [record for record in directory.machines().values() if record["role"] == "worker"]
        return bool(workers) or (directory.path / UNREACHABLE_FILE).exists()

    def usage(self, lease_id: str) -> dict[str, float]:
        """Real seconds that the lease's machines existed, from when they were asked for, so far or in all.

        Returns:
            ``machine_s`` summed over the machines with a device (the scheduler's has none), ``boot_s`` from the
            request until the cluster was usable, ``ready_at`` (seconds since the epoch, 0 when it never was) and
            ``reclaimed``, the number of machines that the cloud took back. All 0 for an unknown lease.
        """
        directory = LeaseDirectory.of(self._state_dir, lease_id)
        now_at = self._clock()
        requested_at = directory.document().get("requested_at", 0.0)
        ready_at = (read_json(directory.path / "opened.json") or {}).get("ready_at", 0.0)
        machine_s, reclaimed = 0.0, 0
        for path, record in directory.machines().items():
            if record["role"] != "worker":
                continue
            ended_at = record["ended_at"]
            if ended_at is None:
                ended_at = self._lives_until(path, now_at)
            machine_s += max(0.0, ended_at - record["started_at"])
            reclaimed += record["why"] == "reclaimed"
        boot_s = max(0.0, ready_at - requested_at) if ready_at else 0.0
        return {"machine_s": machine_s, "boot_s": boot_s, "ready_at": ready_at, "reclaimed": reclaimed}

    def _lives_until(self, path: Path, now_at: float) -> float:
        """Until when a machine without a written end is known to have lived."""
        return now_at

    def host_pid(self) -> int | None:
        """Process number of the host, the one process that stays while no lease is open."""
        with self._host_lock:
            return self._host.process.pid if self._host is not None and self._host.usable() else None

    def shutdown(self) -> None:
        """Close every lease that this object opened, and end the host."""
        with self._lock:
            mine = {*self._keepers, *self._starting}
        for lease_id in mine:
            self.close(lease_id)
        with self._host_lock:
            host, self._host = self._host, None
        if host is not None:
            host.end()

    def _start(self, lease: Lease, directory: LeaseDirectory, offer: Offer) -> ClusterAddress:
        identity = self._issue(lease, directory)
        # The keeper has the same deadline and tells what went wrong, so it gets a little longer.
        patience_s = offer.boot_s + self._start_timeout_s + self.close_patience_s / 2
        deadline = time.monotonic() + patience_s
        keeper = self._usable_host().start_keeper(directory.path, patience_s)
        with self._lock:
            wanted = lease.id in self._starting
            self._starting.discard(lease.id)
            if wanted:
                self._keepers[lease.id] = keeper
        if not wanted:
            keeper.end(self.close_patience_s)
        answer = keeper.answer(deadline) if wanted else {"problem": "it was closed while it started"}
        if "problem" in answer:
            raise self._failed(lease, directory, answer["problem"])
        directory.opened(self._clock(), answer)
        return self._address(identity, answer)

    def _usable_host(self) -> Host:
        with self._host_lock:
            if self._host is None or not self._host.usable():
                log = self._state_dir / "keepers.log"
                self._host = Host(self._preload, self._environment, log, self.keeper_module)
            return self._host

    @staticmethod
    def _address(identity: ClusterIdentity, answer: dict[str, Any]) -> ClusterAddress:
        return ClusterAddress(
            scheduler=answer["scheduler"],
            ca_file=identity.ca_file,
            cert_file=identity.cert_file("client"),
            key_file=identity.key_file("client"),
            workers=tuple(answer["workers"]),
        )

    @staticmethod
    def _failed(lease: Lease, directory: LeaseDirectory, problem: str) -> UnavailableError:
        return UnavailableError(
            "CLUSTER_START_FAILED",
            problem,
            f"site {lease.site}, lease {lease.id}",
            f"try again; the machines' own words are in {directory.path}",
        )

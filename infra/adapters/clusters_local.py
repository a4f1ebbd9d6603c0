"""The simulated cloud as a cluster provider: each lease gets an ephemeral TLS Dask cluster of processes.

A lease's cluster is held by a keeper process (see ``local_cloud.keeper``), because dask-cloudprovider allows one
cluster in a process. Keepers are forked by a host that has imported Dask already, so that a start costs little more
than the offer's boot time. Nothing here outlives its lease: the keeper ends with this process, the machines end with
the keeper, each machine ends itself at the lease's end, and the reaper checks all of it from outside.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infra import faults
from infra.adapters.certificates import ClusterIdentity, issue_identity
from infra.adapters.local_cloud.environment import machine_environment
from infra.adapters.local_cloud.faults import CloudFaults
from infra.adapters.local_cloud.host import Host, KeeperHandle
from infra.adapters.local_cloud.records import LeaseDirectory, read_json
from infra.core.errors import InputError, UnavailableError
from infra.core.inventory import Offer, Site
from infra.faults import Point
from infra.ports import ClusterAddress, Lease

CERTIFICATE_LEEWAY_S = 60.0
CLOSE_PATIENCE_S = 10.0
"""How long a keeper may take to close its cluster in order, before all of it is killed."""

Reclaims = Callable[[Lease, Offer, int], float | None]


def draw_reclaim_s(lease: Lease, offer: Offer, index: int) -> float | None:
    """After how many seconds of service the cloud takes a machine back; ``None`` for never.

    Times between reclaims are exponential with the offer's rate. The draw depends on the lease's id and the machine's
    position alone, so a run can be repeated.
    """
    if offer.interruptions_per_hour <= 0:
        return None
    drawn = hashlib.sha256(f"reclaim:{lease.id}:{index}".encode()).digest()
    uniform = (int.from_bytes(drawn[:8], "big") + 1) / (2**64 + 1)
    return -math.log(uniform) * 3600.0 / offer.interruptions_per_hour


class LocalCloud:
    """Cluster provider whose virtual machines are processes on this computer.

    Safe to use from several threads. Leases that another process opened on the same state directory can be listed,
    metered and closed as well.

    Args:
        state_dir: The site's state directory.
        idle_timeout_s: A cluster without work ends itself after this time.
        start_timeout_s: How long a start may take beyond the offer's boot time.
        preload: Modules that machines shall have imported already, for example ``torch``.
        warm: Whether to start the host at once and not with the first lease.
        environment: Variables that the machines get besides the short default list.
        reclaims: After how many seconds of service each machine is taken back; see :func:`draw_reclaim_s`.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        idle_timeout_s: float = 300.0,
        start_timeout_s: float = 60.0,
        preload: tuple[str, ...] = (),
        warm: bool = False,
        environment: Mapping[str, str] | None = None,
        reclaims: Reclaims = draw_reclaim_s,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state_dir = Path(state_dir).absolute()
        self._state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._idle_timeout_s, self._start_timeout_s = idle_timeout_s, start_timeout_s
        self._preload = preload
        self._environment = machine_environment(self._state_dir, environment)
        self._reclaims, self._clock = reclaims, clock
        self._lock = threading.Lock()
        self._keepers: dict[str, KeeperHandle] = {}
        self._starting: set[str] = set()
        self._host_lock = threading.Lock()
        self._host: Host | None = None
        if warm:
            self._usable_host()

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
        order = {
            "boot_s": offer.boot_s,
            "start_deadline_at": now_at + offer.boot_s + self._start_timeout_s,
            "idle_timeout_s": self._idle_timeout_s,
            "reclaim_after_s": self._reclaim_after_s(lease, offer),
        }
        directory.begin(lease, now_at, {"provider": "local", "site": site.name, "order": order})
        with self._lock:
            self._starting.add(lease.id)
        faults.passed(Point.CLUSTER_ASKED)
        try:
            refusal = CloudFaults.of(self._state_dir).refusal(offer.name)
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
            keeper.end(CLOSE_PATIENCE_S)
        # A start that was under way when the lease was closed may have brought up a process since.
        if directory.path.exists() and (not directory.closed or directory.running()):
            directory.end("closed", self._clock())

    def leases(self) -> tuple[str, ...]:
        """Ids of leases for which something still exists."""
        now_at = self._clock()
        return tuple(
            sorted(
                lease.id
                for directory in LeaseDirectory.all(self._state_dir)
                if (lease := directory.lease()) and directory.in_use(now_at)
            )
        )

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
                # A machine that was killed cannot say when; it lived until its last sign of life at least.
                ended_at = min(now_at, path.stat().st_mtime + 2.0)
            machine_s += max(0.0, ended_at - record["started_at"])
            reclaimed += record["why"] == "reclaimed"
        boot_s = max(0.0, ready_at - requested_at) if ready_at else 0.0
        return {"machine_s": machine_s, "boot_s": boot_s, "ready_at": ready_at, "reclaimed": reclaimed}

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
        identity = issue_identity(directory.tls, lease.id, self._clock(), lease.ends_at + CERTIFICATE_LEEWAY_S)
        # The keeper has the same deadline and tells what went wrong, so it gets a little longer.
        patience_s = offer.boot_s + self._start_timeout_s + 5.0
        deadline = time.monotonic() + patience_s
        keeper = self._usable_host().start_keeper(directory.path, patience_s)
        with self._lock:
            wanted = lease.id in self._starting
            self._starting.discard(lease.id)
            if wanted:
                self._keepers[lease.id] = keeper
        if not wanted:
            keeper.end(CLOSE_PATIENCE_S)
        answer = keeper.answer(deadline) if wanted else {"problem": "it was closed while it started"}
        if "problem" in answer:
            raise self._failed(lease, directory, answer["problem"])
        directory.opened(self._clock(), answer)
        return self._address(identity, answer)

    def _reclaim_after_s(self, lease: Lease, offer: Offer) -> list[float | None]:
        """After how long each of the lease's machines is taken back."""
        ordered = CloudFaults.of(self._state_dir).reclaim.get(offer.name)
        return [ordered or self._reclaims(lease, offer, index) for index in range(lease.devices)]

    def _usable_host(self) -> Host:
        with self._host_lock:
            if self._host is None or not self._host.usable():
                self._host = Host(self._preload, self._environment, self._state_dir / "keepers.log")
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

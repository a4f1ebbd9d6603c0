"""The simulated cloud as a cluster provider: each lease gets an ephemeral TLS Dask cluster of processes.

A lease's cluster is held by a keeper process (see ``local_cloud.keeper``), because dask-cloudprovider allows one
cluster in a process. One spare keeper that has imported Dask already waits for the next lease, so that a start costs
little more than the offer's boot time. Nothing here outlives its lease: the keeper ends with this process, the
machines end with the keeper, each machine ends itself at the lease's end, and the reaper checks all of it from outside.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.adapters.certificates import ClusterIdentity, issue_identity
from infra.adapters.local_cloud.environment import machine_environment
from infra.adapters.local_cloud.records import LeaseDirectory, read_json
from infra.core.errors import InputError, UnavailableError
from infra.core.inventory import Offer, Site
from infra.ports import ClusterAddress, Lease

CERTIFICATE_LEEWAY_S = 60.0
Reclaims = Callable[[Lease, Offer, int], float | None]


def draw_reclaim_s(lease: Lease, offer: Offer, index: int) -> float | None:
    """After how many seconds from the end of its boot the cloud takes a machine back; ``None`` for never.

    Times between reclaims are exponential with the offer's rate. The draw depends on the lease's id and the machine's
    position alone, so a run can be repeated.
    """
    if offer.interruptions_per_hour <= 0:
        return None
    drawn = hashlib.sha256(f"reclaim:{lease.id}:{index}".encode()).digest()
    uniform = (int.from_bytes(drawn[:8], "big") + 1) / (2**64 + 1)
    return -math.log(uniform) * 3600.0 / offer.interruptions_per_hour


@dataclass(slots=True)
class _Keeper:
    """A keeper process and the pipes to it; closing its standard input ends it and its cluster."""

    process: subprocess.Popen[bytes]

    def usable(self) -> bool:
        return self.process.poll() is None

    def assign(self, directory: LeaseDirectory) -> None:
        self.process.stdin.write(json.dumps({"directory": str(directory.path)}).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, deadline: float) -> dict[str, Any]:
        """Its one line of answer; a problem when it ends or ``deadline`` (monotonic) passes without one."""
        received = b""
        while not received.endswith(b"\n"):
            left_s = deadline - time.monotonic()
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, left_s))
            if not readable:
                return {"problem": "it did not answer in time"}
            part = os.read(self.process.stdout.fileno(), 65536)
            if not part:
                return {"problem": "its keeper ended"}
            received += part
        return json.loads(received)

    def end(self, patience_s: float) -> None:
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class LocalCloud:
    """Cluster provider whose virtual machines are processes on this computer.

    Safe to use from several threads. Leases that another process opened on the same state directory can be listed,
    metered and closed as well.

    Args:
        state_dir: The site's state directory.
        idle_timeout_s: A cluster without work ends itself after this time.
        start_timeout_s: How long a start may take beyond the offer's boot time.
        preload: Modules that machines shall have imported already, for example ``torch``.
        warm: Whether to keep one spare keeper waiting.
        environment: Variables that the machines get besides the short default list.
        reclaims: After how many seconds each machine is taken back; see :func:`draw_reclaim_s`.
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
        self._preload, self._warm = preload, warm
        self._environment = machine_environment(self._state_dir, environment)
        self._reclaims, self._clock = reclaims, clock
        self._lock = threading.Lock()
        self._keepers: dict[str, _Keeper] = {}
        self._spare = self._new_keeper() if warm else None

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
        drawn = [self._reclaims(lease, offer, index) for index in range(lease.devices)]
        order = {
            "boot_s": offer.boot_s,
            "start_deadline_at": now_at + offer.boot_s + self._start_timeout_s,
            "idle_timeout_s": self._idle_timeout_s,
            "reclaim_at": [None if after_s is None else now_at + offer.boot_s + after_s for after_s in drawn],
        }
        directory.begin(lease, now_at, {"provider": "local", "site": site.name, "order": order})
        try:
            return self._start(lease, directory, offer)
        except BaseException as error:
            self.close(lease.id)
            if isinstance(error, OSError | ValueError):
                raise self._failed(lease, directory, str(error)) from error
            raise

    def close(self, lease_id: str) -> None:
        """End the lease's cluster. Safe to repeat; an unknown lease is no error."""
        directory = LeaseDirectory.of(self._state_dir, lease_id)
        with self._lock:
            keeper = self._keepers.pop(lease_id, None)
        if keeper is not None:
            keeper.end(patience_s=10.0)
        if directory.path.exists() and not directory.closed:
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

    def shutdown(self) -> None:
        """Close every lease that this object opened, and the spare keeper."""
        with self._lock:
            spare, self._spare, self._warm = self._spare, None, False
            mine = list(self._keepers)
        for lease_id in mine:
            self.close(lease_id)
        if spare is not None:
            spare.end(patience_s=5.0)

    def _start(self, lease: Lease, directory: LeaseDirectory, offer: Offer) -> ClusterAddress:
        identity = issue_identity(directory.tls, lease.id, self._clock(), lease.ends_at + CERTIFICATE_LEEWAY_S)
        keeper = self._take_keeper()
        with self._lock:
            self._keepers[lease.id] = keeper
        keeper.assign(directory)
        # The keeper has the same deadline and tells what went wrong, so it gets a little longer.
        answer = keeper.answer(time.monotonic() + offer.boot_s + self._start_timeout_s + 5.0)
        if "problem" in answer:
            raise self._failed(lease, directory, answer["problem"])
        directory.opened(self._clock(), answer)
        if self._warm:
            with self._lock:
                if self._spare is None:
                    self._spare = self._new_keeper()
        return self._address(identity, answer)

    def _take_keeper(self) -> _Keeper:
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None and spare.usable():
            return spare
        if spare is not None:
            spare.end(patience_s=0.0)
        return self._new_keeper()

    def _new_keeper(self) -> _Keeper:
        command = [sys.executable, "-m", "infra.adapters.local_cloud.keeper"]
        for module in self._preload:
            command += ["--preload", module]
        with open(self._state_dir / "keepers.log", "ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                cwd=self._state_dir,
                start_new_session=True,
            )
        return _Keeper(process)

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

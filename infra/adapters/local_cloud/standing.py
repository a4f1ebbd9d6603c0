"""A standing cluster: one TLS scheduler and a fixed number of one-core workers, supervised.

The supervisor forks its machines and forks a new one whenever one is gone, whoever killed it, so that ending a
worker is the ordinary way to get a clean one. The scheduler keeps its port over restarts. When the supervisor's parent
is gone it ends, and whatever kills the supervisor ends its machines through their lifeline.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import secrets
import shutil
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

from infra.adapters.certificates import issue_identity
from infra.adapters.clusters_attached import end_expired_leases
from infra.adapters.local_cloud.machine import MachineSpec, Role, machine_is_ready
from infra.adapters.local_cloud.nursery import Nursery, name_process
from infra.adapters.local_cloud.records import ProcessIdentity, read_json, write_json
from infra.core.errors import ConflictError

CERTIFICATE_LIFE_S = 90 * 86_400.0
"""A standing cluster gets new certificates whenever it is started."""

TICK_S = 0.2
SLOWEST_RESTART_S = 5.0
LEASE_CHECK_S = 0.5
LOCK_PATIENCE_S = 3.0
"""A former supervisor that was just told to end gets this much time to do so."""


def standing_worker_names(site: str, devices: int) -> tuple[str, ...]:
    return tuple(f"{site}-{index}" for index in range(devices))


def run_standing_cluster(site: str, devices: int, state_dir: Path, preload: tuple[str, ...] = ()) -> None:
    """Run the cluster in this process until SIGTERM, SIGINT or the end of the parent; then nothing of it is left.

    ``<state_dir>/cluster.json`` appears when all of it is up, names the address, the TLS files and the workers, and
    is removed at the end. Call it from a process with one thread and no event loop.

    Args:
        preload: Modules that the workers shall have imported already, for example ``torch``.

    Raises:
        ConflictError: ``STANDING_CLUSTER_RUNS`` when another process runs one on this state directory.
    """
    for module in ("distributed", *preload):
        importlib.import_module(module)
    name_process("headrace-site")
    parent = os.getppid()
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    cluster = _StandingCluster(site, devices, Path(state_dir).absolute())
    try:
        cluster.start()
        while os.getppid() == parent:
            received = signal.sigtimedwait(signals, TICK_S)
            if received is not None and received.si_signo != signal.SIGCHLD:
                break
            cluster.tick()
    finally:
        cluster.end()


class _StandingCluster:
    """The supervisor's state: which machines should be there, and when the missing ones may be started again."""

    def __init__(self, site: str, devices: int, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._directory = state_dir / "cluster"
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _only_one(state_dir / "cluster.lock", site)
        now_at = time.time()
        # One directory per start: machines of a former start that are still ending write into theirs.
        incarnation = self._directory / f"{int(now_at)}-{secrets.token_hex(4)}"
        self._identity = issue_identity(incarnation / "tls", f"standing:{site}", now_at, now_at + CERTIFICATE_LIFE_S)
        self._site = site
        self._nursery = Nursery()
        self._nursery.keep_private(lock)
        self._port = _free_port()
        self._address = f"tls://127.0.0.1:{self._port}"
        scheduler = MachineSpec(
            name="scheduler",
            role=Role.SCHEDULER,
            directory=str(incarnation),
            tls_directory=str(incarnation / "tls"),
            requested_at=now_at,
            port=self._port,
            tags={"site": site},
        )
        worker = replace(scheduler, role=Role.WORKER, port=0, scheduler=self._address)
        workers = [replace(worker, name=name) for name in standing_worker_names(site, devices)]
        self._specs = {spec.name: spec for spec in (scheduler, *workers)}
        self._failures = dict.fromkeys(self._specs, 0)
        self._due: dict[str, float] = {}
        self._announced = False
        self._next_check_at = 0.0

    def start(self) -> None:
        for path in self._directory.iterdir():
            if str(path) != self._specs["scheduler"].directory:
                shutil.rmtree(path, ignore_errors=True)  # files of a former start
        for name in self._specs:
            self._start_machine(name)

    def tick(self) -> None:
        """Take back ended leases' workers, bury and restart machines, and announce the cluster once all of it serves."""
        now_at = time.time()
        if now_at >= self._next_check_at:
            end_expired_leases(self._state_dir, now_at)
            self._next_check_at = now_at + LEASE_CHECK_S
        for spec in self._nursery.bury():
            lived_s = now_at - spec.requested_at
            self._failures[spec.name] = 0 if lived_s > SLOWEST_RESTART_S else self._failures[spec.name] + 1
            # The first restart is immediate; one that fails again and again is tried ever more slowly.
            wait_s = (
                min(SLOWEST_RESTART_S, 0.1 * 2 ** self._failures[spec.name]) if self._failures[spec.name] > 2 else 0
            )
            self._due[spec.name] = now_at + wait_s
        for name in [name for name, due_at in self._due.items() if due_at <= now_at]:
            del self._due[name]
            self._start_machine(name)
        if not self._announced and all(machine_is_ready(spec.record_path) for spec in self._specs.values()):
            self._announce(now_at)

    def end(self) -> None:
        path = self._state_dir / "cluster.json"
        supervisor = ProcessIdentity.read((read_json(path) or {}).get("supervisor"))
        if supervisor == ProcessIdentity.of():
            path.unlink(missing_ok=True)
        self._nursery.end()

    def _start_machine(self, name: str) -> None:
        self._nursery.start(replace(self._specs[name], requested_at=time.time()))

    def _announce(self, now_at: float) -> None:
        workers = [spec for spec in self._specs.values() if spec.role is Role.WORKER]
        document = {
            "site": self._site,
            "scheduler": self._address,
            "directory": self._specs["scheduler"].directory,
            "tls": str(self._identity.directory),
            "workers": [spec.name for spec in workers],
            "supervisor": ProcessIdentity.of().as_dict(),
            "ready_at": now_at,
        }
        write_json(self._state_dir / "cluster.json", document)
        self._announced = True


def _only_one(path: Path, site: str) -> int:
    """Hold the lock file for as long as this process lives."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(descriptor)
                remedy = "use that one, or end it first: headrace down"
                raise ConflictError(
                    "STANDING_CLUSTER_RUNS", "another process runs it", f"site {site}", remedy
                ) from None
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

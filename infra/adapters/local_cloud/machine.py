"""One machine: a process that boots, runs a Dask scheduler or worker, and has a life of its own.

It ends by itself at the hard end of its lease, when it is reclaimed, when whoever holds its cluster is gone, when
its scheduler was idle too long and when it loses its scheduler. That is watched by a thread and not by Dask's event
loop, so that work which blocks the loop cannot prolong it; should even that thread be held up, an alarm of the
operating system ends the process shortly after the hard end. It writes its own life down in its record.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

from infra.adapters.certificates import ClusterIdentity
from infra.adapters.cloud.reclaim_notice import announce, leave
from infra.adapters.local_cloud.records import ProcessIdentity, read_json, write_json

SIGN_OF_LIFE_S = 1.0
"""How often a machine touches its record."""

ALARM_AFTER_S = 2.0
"""How long after its hard end a machine that did not manage to end itself is ended by the operating system."""


SAME_END_S = 0.5
"""A keeper that closes its cluster so long before a machine's hard end, or later, does so because the lease ends."""


NOTICE_S = 2.0
"""How long before it takes a machine back this cloud says so. Real ones give minutes, for work that takes hours."""


class Role(StrEnum):
    SCHEDULER = "scheduler"
    WORKER = "worker"


class End(StrEnum):
    """Why a machine ended."""

    CLOSED = "closed"
    LEASE_ENDED = "lease_ended"
    RECLAIMED = "reclaimed"
    IDLE = "idle"
    KEEPER_LOST = "keeper_lost"
    SCHEDULER_LOST = "scheduler_lost"
    FAILED = "failed"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """What a machine is told when it is made. All JSON, no secrets.

    Attributes:
        name: Unique in its cluster; a worker's Dask name.
        directory: Where its record ``vm-<name>.json``, its log and its scratch space go.
        requested_at: From when on it exists for the bill.
        boot_until: It behaves as if it were booting until then.
        ends_at: Hard end of its life, or ``None`` for a standing machine.
        reclaim_after_s: How long after it began to serve the cloud takes it back, or ``None``.
        scheduler: Address that a worker connects to.
        port: Port that a scheduler listens on; 0 for any free one.
        idle_timeout_s: A scheduler without work ends its cluster after this time; ``None`` for never.
        tags: Whose it is: lease, run, attempt.
    """

    name: str
    role: Role
    directory: str
    tls_directory: str
    requested_at: float
    boot_until: float = 0.0
    ends_at: float | None = None
    reclaim_after_s: float | None = None
    scheduler: str | None = None
    port: int = 0
    idle_timeout_s: float | None = None
    tags: dict[str, Any] = field(default_factory=dict)

    @property
    def record_path(self) -> Path:
        return Path(self.directory) / f"vm-{self.name}.json"

    def first_record(self) -> dict[str, Any]:
        """The record as it is before the process exists."""
        return {
            "name": self.name,
            "role": self.role.value,
            "tags": self.tags,
            "pid": None,
            "started_at": self.requested_at,
            "ready_at": None,
            "ended_at": None,
            "why": None,
            "address": None,
        }


class Life:
    """Writes the record of this process and watches over its end."""

    def __init__(self, spec: MachineSpec, lifeline: int) -> None:
        self._spec = spec
        self._lifeline = lifeline
        self._reclaim_at: float | None = None
        self._lock = threading.Lock()
        self._record = spec.first_record() | ProcessIdentity.of().as_dict()
        write_json(spec.record_path, self._record)
        if spec.ends_at is not None:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, spec.ends_at + ALARM_AFTER_S - time.time()))
        threading.Thread(target=self._watch, name="life", daemon=True).start()

    def ready(self, address: str) -> None:
        now_at = time.time()
        with self._lock:
            self._record |= {"ready_at": now_at, "address": address}
            write_json(self._spec.record_path, self._record)
        if self._spec.reclaim_after_s is not None:
            self._reclaim_at = now_at + self._spec.reclaim_after_s

    @property
    def reclaim_at(self) -> float | None:
        """When the cloud takes this machine back; ``None`` for never, and before it serves."""
        return self._reclaim_at

    def end(self, why: End, detail: str = "") -> NoReturn:
        """Write why, and leave at once: a machine that goes takes its unfinished work with it."""
        ends_at = self._spec.ends_at
        if why is End.CLOSED and ends_at is not None and time.time() >= ends_at - SAME_END_S:
            why = End.LEASE_ENDED
        with self._lock:
            write_json(
                self._spec.record_path,
                self._record | {"ended_at": time.time(), "why": why.value, "detail": detail[:2000]},
            )
            os._exit(0 if why is not End.FAILED else 1)

    def _watch(self) -> NoReturn:
        while True:
            now_at = time.time()
            if self._spec.ends_at is not None and now_at >= self._spec.ends_at:
                self.end(End.LEASE_ENDED)
            reclaim_at = self._reclaim_at
            if reclaim_at is not None and now_at >= reclaim_at:
                self.end(End.RECLAIMED)
            due = [at for at in (self._spec.ends_at, reclaim_at) if at is not None]
            wait_s = min([SIGN_OF_LIFE_S, *(at - now_at for at in due)])
            readable, _, _ = select.select([self._lifeline], [], [], max(0.0, wait_s))
            if readable:
                self.end(End.KEEPER_LOST)
            self._touch()

    def _touch(self) -> None:
        try:
            os.utime(self._spec.record_path)
        except FileNotFoundError:
            # Its lease's files were removed, so nobody knows of this machine any more.
            os._exit(1)


def live(spec: MachineSpec, lifeline: int) -> None:
    """Be the machine, in a process that was just forked; never returns.

    Args:
        lifeline: Read end of a pipe whose write end is held by the machine's holder; its end is the machine's end.
    """
    os.setsid()
    _standard_streams(Path(spec.directory) / f"vm-{spec.name}.log")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    life = Life(spec, lifeline)
    _fresh_randomness()
    try:
        asyncio.run(_serve_and_end(spec, life))
    except BaseException as error:  # whatever it was, the record must say so before the process is gone
        detail = f"{type(error).__name__}: {error}"
        print(detail, file=sys.stderr, flush=True)
        life.end(End.FAILED, detail)


async def _serve_and_end(spec: MachineSpec, life: Life) -> None:
    # The end is written while the loop still takes signals: after it a second request to end would kill at once.
    life.end(await _serve(spec, life))


async def _serve(spec: MachineSpec, life: Life) -> End:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if await _within(stop, spec.boot_until - time.time()):
        return End.CLOSED
    server = await (_scheduler(spec) if spec.role is Role.SCHEDULER else _worker(spec))
    life.ready(server.address)
    if life.reclaim_at is not None and spec.role is Role.WORKER:
        server.headrace_notice = asyncio.ensure_future(_give_notice(server, life.reclaim_at))
    stopped, finished = asyncio.ensure_future(stop.wait()), asyncio.ensure_future(server.finished())
    await asyncio.wait([stopped, finished], return_when=asyncio.FIRST_COMPLETED)
    if stopped.done():
        return End.CLOSED
    if spec.role is Role.WORKER:
        return End.SCHEDULER_LOST
    idle_timeout_s, idle_since = spec.idle_timeout_s, getattr(server, "idle_since", None)
    idle = idle_timeout_s and idle_since and time.time() >= idle_since + idle_timeout_s
    return End.IDLE if idle else End.CLOSED


async def _give_notice(worker: Any, ends_at: float) -> None:
    await asyncio.sleep(ends_at - NOTICE_S - time.time())
    announce(worker, ends_at)
    await leave(worker)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event came within this time."""
    try:
        await asyncio.wait_for(event.wait(), max(0.0, seconds))
    except TimeoutError:
        return False
    return True


async def _scheduler(spec: MachineSpec) -> Any:
    from distributed import Scheduler

    return await Scheduler(
        host="127.0.0.1",
        port=spec.port,
        protocol="tls",
        security=_security(spec),
        dashboard=False,
        dashboard_address="127.0.0.1:0",
        idle_timeout=spec.idle_timeout_s,
    )


async def _worker(spec: MachineSpec) -> Any:
    from distributed import Worker

    return await Worker(
        spec.scheduler,
        name=spec.name,
        nthreads=1,
        host="127.0.0.1",
        protocol="tls",
        security=_security(spec),
        dashboard=False,
        dashboard_address="127.0.0.1:0",
        local_directory=str(Path(spec.directory) / "scratch" / spec.name),
        death_timeout=30,
    )


def _security(spec: MachineSpec) -> Any:
    """The machine's own role only, and nothing that is older than TLS 1.3."""
    import ssl

    import dask.config
    from distributed.security import Security

    # The small HTTP servers of Dask have no encryption and no password: they get no pages.
    dask.config.set(
        {
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
            "distributed.comm.require-encryption": True,
            "temporary-directory": str(Path(spec.directory) / "scratch"),
        }
    )
    identity = ClusterIdentity(spec.name, Path(spec.tls_directory))
    return Security(**identity.security_arguments((spec.role.value,)), tls_min_version=ssl.TLSVersion.TLSv1_3)


def _fresh_randomness() -> None:
    """Forked machines must not all draw the same numbers; Python's own generator sees to itself."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        numpy.random.seed()
    if torch is not None:
        torch.seed()


def _standard_streams(log: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(written, 1)
    os.dup2(written, 2)
    os.close(nothing)
    os.close(written)


def machine_is_ready(path: Path) -> bool:
    """Whether the machine of this record serves now."""
    record = read_json(path) or {}
    identity = ProcessIdentity.read(record)
    serves = record.get("ready_at") is not None and record.get("ended_at") is None
    return serves and identity is not None and identity.alive()

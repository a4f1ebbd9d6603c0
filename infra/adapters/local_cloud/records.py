"""What is written down about leases and machines, so that after any kill somebody else can finish the work.

A site's state directory::

    leases/<lease>/lease.json      written before anything starts: whose, what for, until when, opened by which process
    leases/<lease>/keeper.json     the process that holds the cluster (simulated cloud only)
    leases/<lease>/vm-<id>.json    one machine: which process, started, ready, ended and why; its modification time is
                                   the machine's last sign of life
    leases/<lease>/opened.json     the cluster was usable from then on
    leases/<lease>/closed.json     nothing of it exists any more
    claims/<worker>.json           which lease holds a worker of the standing cluster

Every file is replaced as a whole. A process is only ever ended when its number *and* its start time are those that
were written down: numbers are used again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.adapters.certificates import forget_keys
from infra.core.canonical import run_key
from infra.core.errors import ConflictError, InputError
from infra.ports import Lease

_LEASE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:@-]{0,199}")
_SAME_START_S = 1.5
"""Start times are derived from the computer's boot time, which may be re-estimated by about a second."""


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace the file as a whole; readable by its owner alone."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as stream:
            json.dump(value, stream, sort_keys=True)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The file's content, or ``None`` when there is no such file or it is no JSON object."""
    try:
        value = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    started_at: float

    @classmethod
    def of(cls, pid: int | None = None) -> ProcessIdentity:
        """This process, or a running one by its number.

        Raises:
            psutil.NoSuchProcess: When it does not run.
        """
        process = psutil.Process(pid)
        return cls(process.pid, process.create_time())

    @classmethod
    def read(cls, value: Any) -> ProcessIdentity | None:
        if isinstance(value, dict) and isinstance(value.get("pid"), int) and "process_started_at" in value:
            return cls(value["pid"], float(value["process_started_at"]))
        return None

    def as_dict(self) -> dict[str, Any]:
        return {"pid": self.pid, "process_started_at": self.started_at}

    def process(self) -> psutil.Process | None:
        """The running process, or ``None`` when it is gone, is a zombie, or the number now belongs to another one."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_at) < _SAME_START_S
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None

    def alive(self) -> bool:
        return self.process() is not None


def end_processes(identities: Iterable[ProcessIdentity], patience_s: float) -> None:
    """Ask the processes to end, wait, and kill those that did not within ``patience_s`` seconds."""
    running = [process for identity in identities if (process := identity.process()) is not None]
    for process in running:
        with suppress(psutil.NoSuchProcess):
            process.terminate() if patience_s > 0 else process.kill()
    _, stubborn = _wait_gone(running, patience_s)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _wait_gone(stubborn, 5.0)


def _wait_gone(processes: list[psutil.Process], timeout_s: float) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """As ``psutil.wait_procs``, but a zombie counts as gone: its parent may be slow to bury it."""
    until = time.monotonic() + timeout_s
    while True:
        left = [process for process in processes if _runs(process)]
        if not left or time.monotonic() >= until:
            return [process for process in processes if process not in left], left
        time.sleep(0.01)


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@dataclass(frozen=True, slots=True)
class LeaseDirectory:
    """The files of one lease."""

    path: Path

    @classmethod
    def of(cls, state_dir: Path, lease_id: str) -> LeaseDirectory:
        """The directory of a lease, whether it exists or not.

        Raises:
            InputError: ``BAD_LEASE_ID`` when the id cannot be the name of a file.
        """
        if not _LEASE_ID.fullmatch(lease_id):
            raise InputError("BAD_LEASE_ID", f"{lease_id!r}", "lease: id", "use letters, digits and . _ : @ -")
        return cls(Path(state_dir) / "leases" / run_key(lease_id))

    @classmethod
    def all(cls, state_dir: Path) -> Iterator[LeaseDirectory]:
        """Directories of all leases that were ever written, oldest id first."""
        for path in sorted((Path(state_dir) / "leases").glob("*/lease.json")):
            yield cls(path.parent)

    def begin(self, lease: Lease, requested_at: float, details: dict[str, Any]) -> None:
        """Write the lease down, with this process as its opener, before anything is started for it.

        Raises:
            ConflictError: ``LEASE_EXISTS`` when it was opened before.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            raise ConflictError(
                "LEASE_EXISTS", f"{lease.id} was opened before", str(self.path), "use a new lease for each attempt"
            ) from None
        fields = {name: getattr(lease, name) for name in Lease.__dataclass_fields__}
        opener = ProcessIdentity.of().as_dict()
        write_json(
            self.path / "lease.json", {"lease": fields, "opener": opener, "requested_at": requested_at, **details}
        )

    def document(self) -> dict[str, Any]:
        """``lease.json``; empty when it is missing or broken."""
        return read_json(self.path / "lease.json") or {}

    def lease(self) -> Lease | None:
        fields = self.document().get("lease")
        try:
            return Lease(**fields) if isinstance(fields, dict) else None
        except TypeError:
            return None

    def require_lease(self) -> Lease:
        """The lease, where there must be one.

        Raises:
            ValueError: There is none.
        """
        lease = self.lease()
        if lease is None:
            raise ValueError(f"{self.path} holds no lease")
        return lease

    @property
    def closed(self) -> bool:
        return (self.path / "closed.json").exists()

    @property
    def tls(self) -> Path:
        return self.path / "tls"

    def opener(self) -> ProcessIdentity | None:
        return ProcessIdentity.read(self.document().get("opener"))

    def keeper(self) -> ProcessIdentity | None:
        return ProcessIdentity.read(read_json(self.path / "keeper.json"))

    def nursery(self) -> ProcessIdentity | None:
        return ProcessIdentity.read((read_json(self.path / "keeper.json") or {}).get("nursery"))

    def machines(self) -> dict[Path, dict[str, Any]]:
        """Records of the lease's machines by their file."""
        found = {path: read_json(path) for path in sorted(self.path.glob("vm-*.json"))}
        return {path: record for path, record in found.items() if record is not None}

    def opened(self, at: float, details: dict[str, Any]) -> None:
        write_json(self.path / "opened.json", {"ready_at": at, **details})

    def in_use(self, now_at: float) -> bool:
        """Whether something of the lease still exists or may still come into being."""
        if self.closed:
            return False
        lease, opener = self.lease(), self.opener()
        may_start = lease is not None and now_at < lease.ends_at and opener is not None and opener.alive()
        return may_start or bool(self.running())

    def running(self) -> list[ProcessIdentity]:
        """Processes that exist for this lease now: keeper, nursery, machines."""
        holders = [identity for identity in (self.keeper(), self.nursery()) if identity is not None]
        return [identity for identity in [*holders, *self._machine_processes()] if identity.alive()]

    def end(self, why: str, at: float, patience_s: float = 1.0) -> list[ProcessIdentity]:
        """End whatever still runs for this lease, finish its records, forget its keys and mark it closed.

        Returns:
            The processes that were still alive.
        """
        running = self.running()
        end_processes(running, patience_s)
        # A keeper may have started one more machine while it was being ended.
        late = [identity for identity in self._machine_processes() if identity.alive()]
        end_processes(late, 0.0)
        for path, record in self.machines().items():
            finish_record(path, record, "killed")
        forget_keys(self.tls)
        shutil.rmtree(self.path / "scratch", ignore_errors=True)
        if not self.closed:
            write_json(self.path / "closed.json", {"closed_at": at, "why": why})
        return [*running, *late]

    def _machine_processes(self) -> list[ProcessIdentity]:
        identities = [ProcessIdentity.read(record) for record in self.machines().values()]
        return [identity for identity in identities if identity is not None]


def finish_record(path: Path, record: dict[str, Any], why: str) -> None:
    """Write the end of a machine that could not write it itself: its last sign of life, and ``why``."""
    if record.get("ended_at") is None:
        write_json(path, record | {"ended_at": max(record["started_at"], path.stat().st_mtime), "why": why})

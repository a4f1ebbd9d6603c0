"""Processes on one Linux machine: whose they are, whether they still are, and how they end.

A process is identified by its pid *and* the instant it started, so that a recycled pid is never mistaken for an old
process, not even after a reboot. Ending goes through a pidfd for the same reason.

``tied(command)`` prefixes a command so that the kernel signals the new process when the one that started it dies,
however it dies. Run as ``python -m infra.processes`` this module is that prefix: it asks the kernel, checks that its
parent is still there, and then becomes the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.core.errors import ConflictError, UnavailableError

PLATFORM_MARK = "HEADRACE_PLATFORM"
"""Environment variable that every process of one running platform carries, with the platform's id as its value."""
READY_FILE = "HEADRACE_READY_FILE"
"""Environment variable with the file that a component touches when it is ready (see :func:`notify_ready`)."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STATE, _PARENT, _STARTED = 0, 1, 19  # fields of /proc/<pid>/stat, counted from behind the command's name


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that cannot be confused with a later one of the same pid.

    Attributes:
        started: Boot id and start time in clock ticks since that boot.
    """

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """Identify a running process; ``None`` when there is none or it is a zombie."""
        fields = _stat(pid)
        if fields is None or fields[_STATE] in ("Z", "X"):
            return None
        return cls(pid, f"{_boot_id()}:{fields[_STARTED]}")

    @property
    def alive(self) -> bool:
        return ProcessIdentity.of(self.pid) == self

    def send(self, signum: int) -> bool:
        """Signal exactly this process; False when it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(handle, signum)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)

    def wait(self, timeout_s: float) -> bool:
        """Block until the process has ended or the time is over; True when it has ended."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive:
                return True
            poller = select.poll()
            poller.register(handle, select.POLLIN)
            return bool(poller.poll(max(0, int(timeout_s * 1000)))) or not self.alive
        finally:
            os.close(handle)


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def descendants(pid: int) -> list[ProcessIdentity]:
    """All living processes below ``pid``, parents before their children."""
    children: dict[int, list[int]] = {}
    for candidate in _all_pids():
        if (fields := _stat(candidate)) is not None:
            children.setdefault(int(fields[_PARENT]), []).append(candidate)
    found: list[ProcessIdentity] = []
    queue = list(children.get(pid, ()))
    while queue:
        current = queue.pop(0)
        queue.extend(children.get(current, ()))
        if (identity := ProcessIdentity.of(current)) is not None:
            found.append(identity)
    return found


def marked(value: str) -> list[ProcessIdentity]:
    """Living processes (but this one) whose environment at their start carried ``HEADRACE_PLATFORM=value``."""
    wanted = f"{PLATFORM_MARK}={value}".encode()
    found = []
    for pid in _all_pids():
        if pid == os.getpid():
            continue
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # gone meanwhile, or somebody else's
        if wanted in environment and (identity := ProcessIdentity.of(pid)) is not None:
            found.append(identity)
    return found


def stop(identities: Iterable[ProcessIdentity], grace_s: float = 5.0) -> list[ProcessIdentity]:
    """Ask processes to end (SIGTERM), wait together for ``grace_s`` seconds, then kill the rest.

    Returns:
        Those that had to be killed.
    """
    asked = [identity for identity in identities if identity.send(signal.SIGTERM)]
    deadline = time.monotonic() + grace_s
    stubborn = [identity for identity in asked if not identity.wait(deadline - time.monotonic())]
    for identity in stubborn:
        identity.send(signal.SIGKILL)
    for identity in stubborn:
        identity.wait(5.0)
    return stubborn


def _prctl(option: int, argument: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl")


def die_with_parent(parent_pid: int, signum: int = signal.SIGTERM) -> None:
    """From now on, let the kernel send ``signum`` to this process when its parent ends.

    The kernel watches the *thread* that started this process: start tied processes from a thread that lives as long
    as the tie should. When the parent died before the call, this process ends at once.
    """
    _prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signum)


def adopt_orphans() -> None:
    """Make this process the parent of all descendants whose own parents die, so that none escapes."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def tied(command: Sequence[str], signum: int = signal.SIGTERM, parent_pid: int | None = None) -> list[str]:
    """The command with a prefix that ties the new process's life to this one's (see :func:`die_with_parent`)."""
    parent = str(parent_pid or os.getpid())
    return [sys.executable, "-m", "infra.processes", parent, str(int(signum)), *command]


def notify_ready() -> None:
    """Tell the supervisor that this component is ready. Does nothing when nobody asked."""
    if path := os.environ.get(READY_FILE):
        Path(path).touch(mode=0o600)


@contextlib.contextmanager
def locked(path: Path, timeout_s: float | None = None) -> Iterator[None]:
    """Hold an exclusive lock between processes; the kernel frees it however its holder ends.

    Args:
        timeout_s: How long to wait for it; 0 not at all, ``None`` without end.

    Raises:
        ConflictError: ``LOCKED`` when another process holds it for longer than that.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(path, "a", encoding="ascii") as handle:
        os.chmod(path, 0o600)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if deadline is None else fcntl.LOCK_NB))
                break
            except BlockingIOError:
                if time.monotonic() >= (deadline or 0):
                    raise ConflictError("LOCKED", "another process holds it", str(path), "wait for it to end") from None
                time.sleep(0.05)
        yield


def write_private(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, readable by its owner alone; its folder is made if it is not there.

    Raises:
        UnavailableError: As :func:`write_whole`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _not_written(path, error) from error
    write_whole(path, data, 0o600)


def write_whole(path: Path, data: bytes, mode: int) -> None:
    """Write a file at once: whoever reads it sees the old one or the new one.

    Raises:
        UnavailableError: ``WRITE_FAILED`` when the disk is full or the place is not writable; the old file is as it was.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as handle:
            os.fchmod(handle.fileno(), mode)  # whatever the process's mask is
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(draft, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> UnavailableError:
    remedy = "free some space, or make the directory writable"
    return UnavailableError("WRITE_FAILED", error.strerror or str(error), str(path), remedy)


def _become(arguments: list[str]) -> None:
    parent_pid, signum, *command = arguments
    die_with_parent(int(parent_pid), int(signum))
    os.execvp(command[0], command)  # noqa: S606 - no shell, and the command is our own argument list


if __name__ == "__main__":
    _become(sys.argv[1:])

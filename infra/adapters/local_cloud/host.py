"""The host: a process that has imported Dask and whatever else machines need, and forks a keeper for each lease.

Importing costs seconds of computing, a fork milliseconds, so a provider starts one host and uses it for all its
leases. The host has one thread and no event loop, which makes forking safe, holds no cluster and no secret, and ends
when its provider does. Keepers do not depend on it once they are forked.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

ACKNOWLEDGED = b"."
BURY_EVERY_S = 1.0


@dataclass(slots=True)
class KeeperHandle:
    """A provider's two pipes to one keeper. Closing the first, in whatever way, ends the keeper and its cluster."""

    lifeline: int
    answers: int
    _reading: threading.Lock = field(default_factory=threading.Lock)
    _closing: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, deadline: float) -> dict[str, Any]:
        """Its one line of answer; a problem when it ends or ``deadline`` (monotonic) passes without one."""
        received = b""
        with self._reading:
            while not received.endswith(b"\n"):
                left_s = max(0.0, deadline - time.monotonic())
                readable, _, _ = select.select([self.answers], [], [], left_s)
                if not readable:
                    return {"problem": "it did not answer in time"}
                part = os.read(self.answers, 65536)
                if not part:
                    return {"problem": "its keeper ended"}
                received += part
        return json.loads(received)

    def end(self, patience_s: float) -> None:
        """End the keeper and wait until it is gone, but no longer than ``patience_s``."""
        until = time.monotonic() + patience_s
        with self._closing:
            if self.lifeline >= 0:
                os.close(self.lifeline)
                self.lifeline = -1
        # A thread that still waits for the answer gets one now, for the keeper is ending.
        if not self._reading.acquire(timeout=patience_s):
            return
        try:
            while self.answers >= 0:
                readable, _, _ = select.select([self.answers], [], [], max(0.0, until - time.monotonic()))
                if not readable or not os.read(self.answers, 65536):
                    os.close(self.answers)
                    self.answers = -1
        finally:
            self._reading.release()


class Host:
    """A provider's side of the host.

    Args:
        preload: Modules that it imports besides Dask.
        log: File that its error output is appended to.
        keeper: Module whose ``keep`` a forked process runs; it must leave one thread and no event loop behind.
    """

    def __init__(
        self,
        preload: tuple[str, ...],
        environment: dict[str, str],
        log: Path,
        keeper: str = "infra.adapters.local_cloud.keeper",
    ) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        command = [sys.executable, "-m", "infra.adapters.local_cloud.host", "--control", str(theirs.fileno())]
        command += ["--keeper", keeper]
        for module in preload:
            command += ["--preload", module]
        with open(log, "ab") as written, theirs:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                env=environment,
                cwd=log.parent,
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )

    def usable(self) -> bool:
        return self.process.poll() is None

    def start_keeper(self, directory: Path, timeout_s: float) -> KeeperHandle:
        """Fork a keeper for the lease of this directory.

        Raises:
            OSError: When the host is gone or does not answer in time.
        """
        lifeline, kept = os.pipe()
        answers, answering = os.pipe()
        try:
            with self._lock:
                self._control.settimeout(timeout_s)
                socket.send_fds(self._control, [json.dumps(str(directory)).encode()], [lifeline, answering])
                if self._control.recv(1) != ACKNOWLEDGED:
                    raise ConnectionResetError("the host that starts keepers is gone")
        except BaseException:
            os.close(kept)
            os.close(answers)
            raise
        finally:
            os.close(lifeline)
            os.close(answering)
        return KeeperHandle(kept, answers)

    def end(self, patience_s: float = 5.0) -> None:
        self._control.close()
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def main(arguments: list[str] | None = None) -> int:
    """Serve one provider until it is gone."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--control", required=True, type=int, help="descriptor of the socket to the provider")
    parser.add_argument("--keeper", required=True, help="module that holds a lease's cluster")
    parser.add_argument("--preload", action="append", default=[], help="a module to import before forking")
    options = parser.parse_args(arguments)
    control = socket.socket(fileno=options.control)
    keeper = importlib.import_module(options.keeper)
    for module in options.preload:
        importlib.import_module(module)
    from infra.adapters.local_cloud.nursery import name_process

    name_process("headrace-host")
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        readable, _, _ = select.select([control], [], [], BURY_EVERY_S)
        if not readable:
            continue
        try:
            message, descriptors, _, _ = socket.recv_fds(control, 4096, 2)
        except ConnectionError:
            return 0
        if not message:
            return 0
        if os.fork() == 0:
            _become_keeper(keeper.keep, control, Path(json.loads(message)), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(ACKNOWLEDGED)


def _become_keeper(
    keep: Callable[[Path, int], None], control: socket.socket, directory: Path, lifeline: int, answers: int
) -> NoReturn:
    status = 1
    try:
        control.close()
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.dup2(lifeline, 0)
        os.close(lifeline)
        keep(directory, answers)
        status = 0
    except BaseException as error:  # nothing may return into the host's loop in this process
        print(f"keeper of {directory}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    os._exit(status)


if __name__ == "__main__":
    raise SystemExit(main())

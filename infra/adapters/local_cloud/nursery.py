"""Forks machines from a process that has already imported Dask, so that one starts in milliseconds.

Forking is safe only while a process has one Python thread and no event loop, so the process that forks does nothing
else. The keeper of a simulated cloud runs an event loop and therefore makes a :class:`Nursery` process of its own
before that (:func:`start_nursery_process`) and talks to it in lines of JSON over a socket; a standing cluster's
supervisor has no loop and forks by itself.

All machines hold the read end of one pipe, their lifeline, whose write end only the nursery has. Whatever kills the
nursery ends its machines; and the nursery ends when the socket to its keeper does.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from infra.adapters.local_cloud.machine import MachineSpec, Role, live
from infra.adapters.local_cloud.records import ProcessIdentity, finish_record, read_json, write_json

PATIENCE_S = 2.0
"""How long machines have to end when they are asked to, before they are killed."""


@dataclass(slots=True)
class Nursery:
    """Parent of machines; use it from a process with one thread and no event loop."""

    specs: dict[int, MachineSpec] = field(default_factory=dict)
    _lifeline: tuple[int, int] = field(default_factory=os.pipe)
    _private: list[int] = field(default_factory=list)

    def keep_private(self, descriptor: int) -> None:
        """Machines shall not inherit this descriptor."""
        self._private.append(descriptor)

    def start(self, spec: MachineSpec) -> int:
        """Fork the machine and return its process number. Its record exists before it does."""
        spec.record_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(spec.record_path, spec.first_record())
        pid = os.fork()
        if pid == 0:
            os.close(self._lifeline[1])
            for descriptor in self._private:
                os.close(descriptor)
            live(spec, self._lifeline[0])
        self.specs[pid] = spec
        return pid

    def bury(self) -> list[MachineSpec]:
        """Collect the machines that ended, and finish the records of those that could not do it themselves."""
        ended = []
        for pid in list(self.specs):
            found, _ = os.waitpid(pid, os.WNOHANG)
            if found:
                spec = self.specs.pop(pid)
                record = read_json(spec.record_path)
                if record is not None:
                    finish_record(spec.record_path, record, "killed")
                ended.append(spec)
        return ended

    def stop(self, name: str, with_signal: int = signal.SIGTERM) -> None:
        """Ask a machine to end; no error when it has."""
        for pid, spec in self.specs.items():
            if spec.name == name:
                # Children that were not buried yet keep their number, so this cannot hit a stranger.
                os.kill(pid, with_signal)

    def end(self, patience_s: float = PATIENCE_S) -> None:
        """End all machines in order; who does not go in time is killed."""
        for pid in self.specs:
            os.kill(pid, signal.SIGTERM)
        self._until_empty(patience_s)
        self.abandon(0.0)

    def abandon(self, patience_s: float = PATIENCE_S) -> None:
        """Cut the lifeline, as if this process had been killed, and kill who does not go in time."""
        with suppress(OSError):
            os.close(self._lifeline[1])
        self._until_empty(patience_s)
        for pid in self.specs:
            os.kill(pid, signal.SIGKILL)
        self._until_empty(5.0)

    def _until_empty(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while self.bury() is not None and self.specs and time.monotonic() < until:
            time.sleep(0.01)


def start_nursery_process(private: tuple[int, ...]) -> tuple[socket.socket, ProcessIdentity]:
    """Fork a nursery process off this one, which must have a single thread yet.

    Args:
        private: Descriptors that neither the nursery nor its machines shall hold.

    Returns:
        The socket to it (see :class:`NurseryClient`) and who it is.
    """
    mine, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        mine.close()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in private:
            os.dup2(nothing, descriptor)
        _serve(theirs)
    theirs.close()
    return mine, ProcessIdentity.of(pid)


def _serve(control: socket.socket) -> NoReturn:
    status = 1
    try:
        # Signals to the keeper are the keeper's business; this process ends when the keeper does.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        name_process("headrace-nursery")
        nursery = Nursery()
        nursery.keep_private(control.fileno())
        in_order = _answer(nursery, control)
        nursery.end() if in_order else nursery.abandon()
        status = 0
    except BaseException as error:  # nothing may return into the keeper's code in this process
        print(f"nursery: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    os._exit(status)


def _answer(nursery: Nursery, control: socket.socket) -> bool:
    """Serve requests until the keeper asks for the end (True) or is gone (False)."""
    buffer = b""
    while True:
        nursery.bury()
        readable, _, _ = select.select([control], [], [], 0.05 if nursery.specs else None)
        if not readable:
            continue
        try:
            received = control.recv(65536)
        except ConnectionError:
            return False
        if not received:
            return False
        *lines, buffer = (buffer + received).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if request["do"] == "start":
                pid = nursery.start(MachineSpec(**request["spec"] | {"role": Role(request["spec"]["role"])}))
                control.sendall(json.dumps({"pid": pid}).encode() + b"\n")
            elif request["do"] == "stop":
                nursery.stop(request["name"])
                control.sendall(b"{}\n")
            else:
                return True


class NurseryClient:
    """The keeper's side of the socket. Calls block for the milliseconds that a fork takes."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._control.settimeout(10.0)
        self._stream = control.makefile("rb")

    def start(self, spec: MachineSpec) -> int:
        """Returns the machine's process number. Raises OSError when the nursery is gone."""
        return self._ask({"do": "start", "spec": asdict(spec)})["pid"]

    def stop(self, name: str) -> None:
        self._ask({"do": "stop", "name": name})

    def close(self) -> None:
        """End the nursery and with it all its machines, and wait for that."""
        with suppress(OSError):
            self._control.sendall(b'{"do": "end"}\n')
            self._stream.readline()
        self._stream.close()
        self._control.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._control.sendall(json.dumps(request).encode() + b"\n")
        line = self._stream.readline()
        if not line:
            raise ConnectionResetError("the nursery is gone")
        return json.loads(line)


def name_process(name: str) -> None:
    """Give this process a name that ``ps`` and ``top`` show; a forked one would carry its parent's."""
    set_name = 15  # PR_SET_NAME of prctl(2), Linux only
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(set_name, name.encode()[:15], 0, 0, 0)

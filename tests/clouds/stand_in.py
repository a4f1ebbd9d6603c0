"""Stand-ins for GCP, Azure and OpenStack: machines are processes with loopback addresses of their own.

The folder ``sdks`` holds modules with the names of those clouds' libraries and as much of them as dask-cloudprovider and
Headrace call. Behind all of them is this one cloud: a folder with one file for each machine. A machine runs the container
of its user-data, powers itself off when that tells it to, and then is *off* and not gone, as on the real ones.
``python -m tests.clouds.stand_in FOLDER NAME`` is one machine.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.clouds.user_data import Container, PowerOff, steps

FOLDER = "HEADRACE_STAND_IN"
SDKS = Path(__file__).parent / "sdks"
REPOSITORY = Path(__file__).resolve().parents[2]
POLL_S = 0.05


class Refused(Exception):
    """What the cloud says when it does not do what it is asked."""


class StandIn:
    """The cloud in a folder, from any process."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder or os.environ[FOLDER])
        self.folder.mkdir(parents=True, exist_ok=True)

    def faults(self, **told: Any) -> None:
        """``refuse``: the text with which machines are refused; ``after``: from so many on; ``unreachable``: nothing answers;
        ``lost``: off at once."""
        temporary = self.folder / ".faults"
        temporary.write_text(json.dumps(told))
        temporary.rename(self.folder / "faults")  # keepers read it at any time

    def _fault(self, name: str) -> Any:
        path = self.folder / "faults"
        return json.loads(path.read_text()).get(name) if path.exists() else None

    def asked(self, call: str, told: Any = None) -> None:
        """Note a call; every one of them passes here."""
        with self._locked(), open(self.folder / "calls", "a") as stream:
            stream.write(json.dumps([call, told]) + "\n")
        if self._fault("unreachable"):
            raise ConnectionError("the cloud does not answer")

    def calls(self, name: str) -> list[Any]:
        """What was told with each call of this name."""
        path = self.folder / "calls"
        with self._locked():
            lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [told for call, told in lines if call == name]

    def create(self, name: str, user_data: str, **details: Any) -> dict[str, Any]:
        """Make a machine.

        Raises:
            Refused: As the faults say.
        """
        refusal = self._fault("refuse")
        if refusal and len(list(self.folder.glob("*.address"))) >= (self._fault("after") or 0):
            raise Refused(refusal)
        machine = {"name": name, "state": "running", "user_data": user_data, "created_at": time.time(), **details}
        with self._locked():  # whoever deletes it meanwhile must find its process
            machine["address"] = self._address(2 + len(list(self.folder.glob("*.address"))))
            (self.folder / f"{name}.address").touch()
            self._write(machine)
            self._write(machine | {"pid": self._start(name)})
        return machine

    def _start(self, name: str) -> int:
        """The machine's process, which reads in the folder what it is."""
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
        environment["TMPDIR"] = str(self.folder)
        with open(self.folder / f"{name}.log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.clouds.stand_in", str(self.folder), name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
                start_new_session=True,
            ).pid

    def machines(self) -> list[dict[str, Any]]:
        """All that exist, off ones too."""
        found = []
        for path in sorted(self.folder.glob("*.machine")):
            try:
                machine = json.loads(path.read_text())
            except FileNotFoundError:
                continue
            off = (self.folder / f"{machine['name']}.off").exists() or bool(self._fault("lost"))
            found.append(machine | ({"state": "off"} if off else {}))
        return found

    def get(self, name: str) -> dict[str, Any]:
        """One machine."""
        return next(machine for machine in self.machines() if machine["name"] == name)

    def delete(self, name: str) -> None:
        """End a machine; no error when there is none."""
        with self._locked():
            for machine in self.machines():
                if machine["name"] == name:
                    with suppress(ProcessLookupError):
                        os.killpg(machine["pid"], signal.SIGKILL)
                    (self.folder / f"{name}.machine").unlink(missing_ok=True)

    def _address(self, number: int) -> str:
        """One out of a range that is the folder's: all schedulers have one port, and clouds run beside one another."""
        high, low = hashlib.sha256(str(self.folder.resolve()).encode()).digest()[:2]
        return f"127.{1 + high % 254}.{low}.{number}"

    def _write(self, machine: dict[str, Any]) -> None:
        temporary = self.folder / f".{machine['name']}"
        temporary.write_text(json.dumps(machine))
        temporary.rename(self.folder / f"{machine['name']}.machine")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self.folder / "lock", "a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def main(folder: str, name: str) -> None:
    """Be a machine: run its user-data to the end, and be off."""
    cloud = StandIn(folder)
    machine = cloud.get(name)
    off_at: list[float] = []
    for step in steps(base64.b64encode(machine["user_data"].encode())):
        if isinstance(step, PowerOff):
            off_at += [at for at in (step.at, None if step.after_s is None else time.time() + step.after_s) if at]
        elif isinstance(step, Container):
            command = [sys.executable if word == "python" else word for word in step.command]
            if "distributed.cli.dask_scheduler" in command:
                command += ["--host", machine["address"]]  # a machine of its own has no other address
            environment = {**os.environ, "OMP_NUM_THREADS": "1", **step.environment}
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)
            while process.poll() is None and not (off_at and time.time() >= min(off_at)):
                time.sleep(POLL_S)
            process.kill()
            process.wait()
        if off_at and time.time() >= min(off_at):
            break
    (cloud.folder / f"{name}.off").touch()


if __name__ == "__main__":
    main(*sys.argv[1:])

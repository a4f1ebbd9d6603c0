"""One machine: boots in its own namespace, does what its user-data says, and goes off when that says so."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.clouds.metadata import Metadata
from tests.clouds.network import Network, Wire
from tests.clouds.user_data import Container, PowerOff, steps

REPOSITORY = Path(__file__).resolve().parents[2]
POLL_S = 0.05
SHUTDOWN_S = 1.0


@dataclass(frozen=True)
class Facts:
    """What the cloud knows about an instance when it is made."""

    id: str
    region: str
    address: str
    instance_type: str
    user_data: str | None
    tokens_required: bool
    spot: bool
    tags: dict[str, str] = field(default_factory=dict)


class Machine(threading.Thread):
    """A thread that lives as long as the machine does; it and its processes are in the machine's namespace.

    Args:
        directory: Its console log and its containers' working directory.
        boot_s: Time until its user-data is run.
        went_off: Called when it has powered itself off.
    """

    def __init__(
        self, facts: Facts, network: Network, directory: Path, boot_s: float, went_off: Callable[[Facts], None]
    ) -> None:
        super().__init__(name=f"machine {facts.id}", daemon=True)
        self.facts, self.directory = facts, directory
        self._network, self._boot_s, self._went_off = network, boot_s, went_off
        self._ended = threading.Event()
        self._off_at: list[float] = []
        self.wire: Wire | None = None
        self.metadata: Metadata | None = None

    @property
    def console(self) -> str:
        """What it has printed."""
        path = self.directory / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def end(self) -> None:
        """Cut its power. Returns at once; :meth:`join` waits until nothing of it is left."""
        self._ended.set()

    def run(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            self.wire = self._network.attach(self.facts.id, self.facts.region, self.facts.address)
            self.wire.enter()
            self.metadata = Metadata(self._entries(), self.facts.tokens_required)
            if not self._wait(self._boot_s) and self._work():
                self._went_off(self.facts)
        except Exception as problem:  # a machine that breaks is off, and its console says why
            self._say(f"{type(problem).__name__}: {problem}")
            if not self._ended.is_set():
                self._went_off(self.facts)
        finally:
            if self.metadata is not None:
                self.metadata.close()
            if self.wire is not None:
                self.wire.leave()  # whoever kills all that is inside must not be inside
                self.wire.kill()

    def _work(self) -> bool:
        """Run the user-data; whether the machine then is off, and not cut off from outside."""
        for step in steps(self.facts.user_data):
            self._say(f"runcmd: {type(step).__name__}")
            if isinstance(step, PowerOff):
                now_at = time.time()
                self._off_at += [at for at in (step.at, None if step.after_s is None else now_at + step.after_s) if at]
            elif isinstance(step, Container):
                self._contain(step)
            else:
                self._say(f"not emulated: {step.text}")
            if self._ended.is_set() or self._off:
                break
        while not self._wait(POLL_S) and not self._off:
            pass
        return not self._ended.is_set()

    @property
    def _off(self) -> bool:
        return bool(self._off_at) and time.time() >= min(self._off_at)

    def _contain(self, container: Container) -> None:
        """Run the image's command until it ends or the machine does. Any image is this repository and its Python."""
        root = self.directory / "root"
        root.mkdir(exist_ok=True)
        # The folder of the interpreter as it was called: resolved, it would be that outside the virtual environment.
        path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
        environment = {
            "PATH": path,
            "HOME": str(root),
            "TMPDIR": str(root),
            "PYTHONPATH": str(REPOSITORY),
            "LANG": "C.UTF-8",
        }
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        command = ["setpriv", "--pdeathsig", "KILL", "--", *container.command]
        with open(self.directory / "console.log", "ab") as console:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=environment | container.environment,
                cwd=root,
                start_new_session=True,
            )
        while process.poll() is None and not self._off and not self._wait(POLL_S):
            pass
        if process.returncode is None:
            # As an operating system that is told to go off: processes are asked, and soon not asked any more.
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(SHUTDOWN_S)
            process.kill()
            process.wait()
        self._say(f"the container ended with status {process.returncode}")

    def _wait(self, seconds: float) -> bool:
        """Whether the machine was ended meanwhile."""
        return self._ended.wait(seconds)

    def _entries(self) -> dict[str, str]:
        facts = self.facts
        return {
            "meta-data/instance-id": facts.id,
            "meta-data/instance-type": facts.instance_type,
            "meta-data/instance-life-cycle": "spot" if facts.spot else "on-demand",
            "meta-data/local-ipv4": facts.address,
            "meta-data/placement/region": facts.region,
        }

    def _say(self, text: str) -> None:
        with open(self.directory / "console.log", "a") as console:
            console.write(f"[{time.time():.3f}] {text}\n")

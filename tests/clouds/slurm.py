"""A real Slurm on one machine: munged, slurmctld and slurmd in a directory of their own, on free ports.

Needs root and Debian's packages ``slurm-wlm`` and ``munge``; :func:`missing` says why it cannot run here. The one node
claims more cores than the machine has, and devices ``accel:sim`` that are only counted.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
START_TIMEOUT_S = 30.0
DEVICES = 6
PARTITION = "main"

_CONF = """\
ClusterName=headrace
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
MpiDefault=none
ReturnToService=2
MailProg=/bin/true
MinJobAge=60
KillWait=2
GresTypes=accel
NodeName={host} NodeAddr=127.0.0.1 Port={node_port} CPUs=16 RealMemory=64000 Gres=accel:sim:{devices} State=UNKNOWN
PartitionName={partition} Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why it cannot run here; empty when it can."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    return f"not installed: {', '.join(absent)} (apt-get install slurm-wlm munge)" if absent else ""


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Slurm:
    """Runs while the context is entered; afterwards no process and no file of it is left."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-slurm-"))
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._environ = {"PATH": _path(), "SLURM_CONF": str(self.folder / "slurm.conf"), "LC_ALL": "C"}

    def environment(self) -> dict[str, str]:
        """Variables that a site's worker needs to find it."""
        return dict(self._environ)

    def __enter__(self) -> Slurm:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def _start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)  # munged refuses a socket that others cannot reach
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        host = socket.gethostname().partition(".")[0]
        control_port, node_port = _free_ports(2)
        told = {"host": host, "folder": self.folder, "control_port": control_port, "node_port": node_port}
        (self.folder / "slurm.conf").write_text(_CONF.format(devices=DEVICES, partition=PARTITION, **told))
        (self.folder / "gres.conf").write_text(f"NodeName={host} Name=accel Type=sim Count={DEVICES}\n")
        files = {"key-file": key, "socket": self.folder / "munge.socket", "seed-file": self.folder / "munge.seed"}
        files |= {"pid-file": self.folder / "munge.pid", "log-file": self.folder / "munge.log"}
        self._daemon("munged", "--foreground", *(f"--{name}={path}" for name, path in files.items()))
        self._until(files["socket"].exists)
        self._daemon("slurmctld", "-D")
        self._daemon("slurmd", "-D", "-N", host)
        self._until(lambda: "idle" in self.call("sinfo", "--noheader", "--format=%t"))

    def call(self, *command: str) -> str:
        """Output of one of Slurm's commands; empty when it failed."""
        done = subprocess.run(command, env=self._environ, cwd=self.folder, capture_output=True, text=True, timeout=30)
        return done.stdout if done.returncode == 0 else ""

    def jobs(self) -> list[str]:
        """Numbers of all jobs that are in the queue."""
        return self.call("squeue", "--noheader", "--format=%i").split()

    def set_node(self, state: str) -> None:
        """``drain`` the node, so that jobs wait, or ``resume`` it."""
        host = socket.gethostname().partition(".")[0]
        self.call("scontrol", "update", f"NodeName={host}", f"State={state}", "Reason=test")

    def set_control(self, running: bool) -> None:
        """Stop the controller's process, or let it go on: its commands get no answer meanwhile."""
        os.kill(self._daemons[1].pid, signal.SIGCONT if running else signal.SIGSTOP)

    def stop(self) -> None:
        if len(self._daemons) > 1 and self._daemons[1].poll() is None:
            self.set_control(True)
            self.call("scancel", "--quiet", "--user=root")
            end = time.monotonic() + START_TIMEOUT_S
            while self.jobs() and time.monotonic() < end:
                time.sleep(0.1)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _daemon(self, *command: str) -> None:
        with open(self.folder / f"{command[0]}.out", "ab") as written:
            self._daemons.append(
                subprocess.Popen(
                    command,
                    env=self._environ,
                    stdin=subprocess.DEVNULL,
                    stdout=written,
                    stderr=written,
                    cwd=self.folder,
                )
            )

    def _until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + START_TIMEOUT_S
        while not condition():
            ended = [daemon.args for daemon in self._daemons if daemon.poll() is not None]
            if ended or time.monotonic() > end:
                said = "".join(path.read_text(errors="replace")[-1500:] for path in sorted(self.folder.glob("*.*g")))
                raise RuntimeError(f"Slurm did not start ({ended}): {said}")
            time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()

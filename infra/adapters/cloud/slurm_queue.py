"""Finds and ends jobs in Slurm's queue by the tags in their comments, whoever submitted them."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from infra.adapters.cloud.tags import LEASE
from infra.core.errors import UnavailableError

CALL_TIMEOUT_S = 15.0
ASKED_TO_END_S = 5.0
"""How long a cancelled job's processes may take before they are killed."""
GONE_TIMEOUT_S = 15.0
POLL_S = 0.1
LONGEST_DETAIL = 500

OVER = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
) | {"REVOKED", "SPECIAL_EXIT"}
"""States of jobs that use nothing and never will again."""

_WHY = {
    "CANCELLED": "closed",
    "COMPLETED": "shut_down",
    "DEADLINE": "lease_ended",
    "PREEMPTED": "reclaimed",
    "TIMEOUT": "lease_ended",
}
_FIELDS = ("%i", "%T", "%V", "%S", "%e", "%r", "%j", "%k")
_PASSED_ON = ("PATH", "SLURM_CONF", "LANG", "LC_ALL")


def slurm_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables with which Slurm's commands find their cluster; none that changes what they do.

    ``HEADRACE_CLOUD_SLURM_CONF`` is taken for ``SLURM_CONF``: `headrace up` passes it on to site workers.
    """
    found = {name: environ[name] for name in _PASSED_ON if name in environ}
    own = environ.get("HEADRACE_CLOUD_SLURM_CONF")
    return found | ({"SLURM_CONF": own} if own else {})


def comment_of(tags: Mapping[str, str]) -> str:
    """A job's comment with its tags, in characters that neither Slurm nor a shell reads as anything else."""
    return ",".join(f"{key}={quote(value, safe='.:@-_')}" for key, value in tags.items())


def tags_of(comment: str) -> dict[str, str]:
    """The tags in a job's comment; none in somebody else's."""
    pairs = (pair.partition("=") for pair in comment.split(","))
    return {key: unquote(value) for key, separator, value in pairs if separator and key.startswith("headrace:")}


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """A job as the queue tells of it.

    Attributes:
        launched_at: When it was submitted.
        started_at: When it began to run; 0 when it has not.
        ended_at: When it ended; 0 while it may still run.
        waits_for: Why it is not running, in Slurm's words.
        why: As :attr:`infra.adapters.cloud.ec2_fleet.CloudMachine.why`, and ``lease_ended``.
    """

    id: str
    state: str
    launched_at: float
    started_at: float
    ended_at: float
    waits_for: str
    why: str
    tags: dict[str, str]

    @property
    def alive(self) -> bool:
        return self.state not in OVER

    @property
    def lease_id(self) -> str:
        return self.tags.get(LEASE, "")

    @classmethod
    def read(cls, line: str) -> SlurmJob | None:
        """The job of one line of ``squeue``; ``None`` for one that Headrace did not submit."""
        parts = line.split("|", len(_FIELDS) - 1)
        tags = tags_of(parts[-1]) if len(parts) == len(_FIELDS) else {}
        if LEASE not in tags:
            return None
        number, state, submitted, started, ended, reason = parts[:6]
        over = state in OVER
        began = "" if state in ("PENDING", "CONFIGURING") else started
        return cls(
            id=number,
            state=state,
            launched_at=_seconds(submitted),
            started_at=_seconds(began),
            ended_at=_seconds(ended) if over else 0.0,
            waits_for=reason if state == "PENDING" else "",
            why=_WHY.get(state, "failed") if over else "",
            tags=tags,
        )


class SlurmQueue:
    """The queue of the cluster that the site's worker belongs to, from any process. Calls block for seconds at most.

    Args:
        environ: Where the commands and their configuration are found, see :func:`slurm_environment`.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        # Times as seconds: the queue tells them in the local time of whoever asks otherwise.
        self._environ = slurm_environment(environ) | {"SLURM_TIME_FORMAT": "%s"}

    def find(self, tags: Mapping[str, str]) -> list[SlurmJob]:
        """Jobs with all of these tags, ended ones too for as long as the controller remembers them.

        Raises:
            UnavailableError: ``CLOUD_UNREACHABLE``.
        """
        return [job for job in self._list() if tags.items() <= job.tags.items()]

    def end(self, machines: Iterable[SlurmJob]) -> None:
        """Cancel those that are alive, and wait until they are gone; what does not go when asked is killed.

        Raises:
            UnavailableError: ``CLOUD_UNREACHABLE``, also when a job stays, as one does whose node does not answer.
        """
        left = [job.id for job in machines if job.alive]
        if not left:
            return
        self._call("scancel", "--quiet", *left, fine=(0, 1))  # 1: some have ended meanwhile
        asked_at = time.monotonic()
        kill_at = asked_at + ASKED_TO_END_S
        while left := [job.id for job in self._list() if job.alive and job.id in left]:
            now = time.monotonic()
            if now >= asked_at + GONE_TIMEOUT_S:
                raise self._unreachable(f"still there after {GONE_TIMEOUT_S:g} s: job {', '.join(left)}")
            if now >= kill_at:
                self._call("scancel", "--quiet", "--signal=KILL", "--full", *left, fine=(0, 1))
                kill_at = now + ASKED_TO_END_S
            time.sleep(POLL_S)

    def _list(self) -> list[SlurmJob]:
        listed = self._call("squeue", "--noheader", "--states=all", f"--format={'|'.join(_FIELDS)}")
        return [job for line in listed.splitlines() if (job := SlurmJob.read(line)) is not None]

    def _call(self, command: str, *arguments: str, fine: tuple[int, ...] = (0,)) -> str:
        try:
            done = subprocess.run(
                [command, *arguments],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=CALL_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise self._unreachable(str(problem)) from problem
        said = done.stderr.strip()
        if done.returncode not in fine or (done.returncode and re.search(r"contact|connect|authenticat", said)):
            raise self._unreachable(f"{command}: {said[:LONGEST_DETAIL] or f'exit status {done.returncode}'}")
        return done.stdout

    @staticmethod
    def _unreachable(problem: str) -> UnavailableError:
        remedy = "its jobs end by themselves; the site's worker needs squeue, sbatch, scancel and Slurm's configuration"
        return UnavailableError("CLOUD_UNREACHABLE", problem, "Slurm", remedy)


def _seconds(text: str) -> float:
    return float(text) if text.isdigit() else 0.0

"""Points of a run's life at which a drill may have the process killed that comes by, to see that nothing is lost by it.

Nothing happens unless ``HEADRACE_FAULTS`` names a directory, which only a drill's own platform has. There
:func:`arm` leaves a file for a point; the first process that passes the point takes the file away, notes that it was here, and is
killed by the kernel like by any other ``kill -9``: no handler runs, no buffer is written.
"""

from __future__ import annotations

import json
import os
import signal
import time
from enum import StrEnum
from pathlib import Path

FAULTS = "HEADRACE_FAULTS"
"""Environment variable with the directory of a drill's armed points."""


class Point(StrEnum):
    """Where in a run's life; in the order in which a run passes them."""

    DECIDED = "decided"
    """Entry flow: decided, nothing claimed or reserved."""
    RESERVED = "reserved"
    """Entry flow: devices and money taken, nothing sent."""
    SENT = "sent"
    """Entry flow: the site's flow run exists, and that is not written down yet."""
    PERMIT_CHECKED = "permit-checked"
    """Site's worker: the permit is good, and not used up yet."""
    PERMIT_USED = "permit-used"
    """Site's worker: the permit is used up, there is no lease."""
    LEASE_WRITTEN = "lease-written"
    """Site's worker: the attempt's note is there, nothing was asked for."""
    CLUSTER_ASKED = "cluster-asked"
    """Site's worker: the lease is with the provider, before its first machine."""
    MACHINES_ASKED = "machines-asked"
    """Keeper of the cluster: the first machine was asked for."""
    CLUSTER_UP = "cluster-up"
    """Site's worker: all machines serve, no work was sent."""
    CONNECTED = "connected"
    """Site's flow: connected to its cluster."""
    RESULT_WRITTEN = "result-written"
    """Site's flow: the result lies in the store, the worker does not know."""
    WORK_ENDED = "work-ended"
    """Site's worker: the flow's process has ended, the cluster is still there."""
    CLUSTER_CLOSED = "cluster-closed"
    """Site's worker: the machines are gone, nothing is reported."""
    REPORT_SIGNED = "report-signed"
    """Site's worker: the closing report is signed and still in the outbox."""
    CONCLUDED = "concluded"
    """Entry flow: the attempt's end is written down, nothing is published."""
    FENCED = "fenced"
    """Entry flow: this attempt may publish and nobody else, and nothing is visible yet."""
    PUBLISHED = "published"
    """Entry flow: the result is visible, nothing is settled."""
    SETTLED = "settled"
    """Entry flow: paid; the flow run has not ended."""


def passed(point: Point) -> None:
    """Called where a run passes a point; returns at once unless a drill armed it."""
    directory = os.environ.get(FAULTS)
    if directory is not None and _taken(Path(directory), point):
        os.kill(os.getpid(), signal.SIGKILL)


def arm(directory: Path, point: Point) -> None:
    """Have the next process that passes the point killed."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    (directory / f"kill-{point}").touch(mode=0o600)


def disarm(directory: Path, point: Point) -> None:
    (directory / f"kill-{point}").unlink(missing_ok=True)


def killed_at(directory: Path, point: Point) -> float | None:
    """When a process was killed at the point last, in seconds since the epoch; ``None`` when none was."""
    try:
        return float(json.loads((directory / f"killed-{point}").read_text(encoding="ascii"))["at"])
    except FileNotFoundError:
        return None


def skew(directory: Path, site: str, seconds: float) -> None:
    """Have the clock of a site's worker be wrong by so many seconds from its next start on; 0 puts it right."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    (directory / f"skew-{site}").write_text(f"{seconds}", encoding="ascii")


def skew_s(site: str) -> float:
    """How far a drill has the clock of this site's worker ahead; 0 where nobody said so."""
    directory = os.environ.get(FAULTS)
    try:
        return float((Path(directory) / f"skew-{site}").read_text(encoding="ascii")) if directory else 0.0
    except FileNotFoundError:
        return 0.0


def _taken(directory: Path, point: Point) -> bool:
    mine = directory / f".{point}.{os.getpid()}"
    try:
        os.rename(directory / f"kill-{point}", mine)
    except FileNotFoundError:
        return False
    mine.write_text(json.dumps({"at": time.time(), "pid": os.getpid()}), encoding="ascii")
    os.rename(mine, directory / f"killed-{point}")
    return True

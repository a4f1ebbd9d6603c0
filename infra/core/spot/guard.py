"""What the deadline still allows, in whole ticks: the guard that no expectation overrules.

Every claim is made for the worst case: spot capacity is gone from the next tick on, and on-demand capacity, which can
always be had, is started then and pays the whole restart overhead. A choice that would leave less than that is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

ROUNDING = 1e-6
"""Share of a tick by which sums of floating-point hours may be off. Every rounding is to the safe side."""


class Choice(StrEnum):
    """What runs in a tick; the values are those that callers of the policy see."""

    SPOT = "spot"
    ON_DEMAND = "on_demand"
    OWNED = "owned"
    PAUSE = "none"


@dataclass(frozen=True, slots=True)
class Job:
    """A checkpointed job with a deadline.

    Attributes:
        total_h: Hours of work on one machine, without overheads.
        deadline_h: Hours after the job's start by which it must be done.
        overhead_h: Hours that each start costs before work goes on: boot, restore, and what was lost.
        tick_h: Hours between two decisions; also what billing is rounded up to.
        unit_h: Real hours in one hour of this job, its standing and its prices. Short work is told in short hours, so that
            it has as many ticks as long work; how long spells last is known in real ones.
    """

    total_h: float
    deadline_h: float
    overhead_h: float
    tick_h: float
    unit_h: float = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job stands at the beginning of a tick, after what was preempted has gone.

    Attributes:
        elapsed_h: Hours since the job's start.
        progress_h: Hours of work done.
        running: What runs now.
        zone: The zone it runs in, for spot.
        pending_h: Overhead of the present start that is not yet paid; 0 when nothing runs.
    """

    elapsed_h: float
    progress_h: float
    running: Choice = Choice.PAUSE
    zone: str = ""
    pending_h: float = 0.0

    def work_left_h(self, job: Job) -> float:
        """Hours of work that are left."""
        return max(0.0, job.total_h - self.progress_h)


def ticks_needed(hours: float, tick_h: float) -> int:
    """Whole ticks in which this many hours certainly fit."""
    return math.ceil(hours / tick_h + ROUNDING) if hours > 0.0 else 0


def ticks_left(job: Job, elapsed_h: float) -> int:
    """Whole ticks that certainly lie before the deadline."""
    return math.floor((job.deadline_h - elapsed_h) / job.tick_h + ROUNDING)


def can_still_wait(job: Job, work_h: float, left: int) -> bool:
    """Whether a tick without any progress leaves enough for a start and the work on on-demand capacity."""
    return ticks_needed(work_h + job.overhead_h, job.tick_h) <= left - 1


def can_risk(job: Job, work_h: float, pending_h: float, left: int) -> bool:
    """Whether a tick on capacity that may be gone after it leaves enough to end on on-demand capacity.

    Args:
        job: The job.
        work_h: Hours of work left before this tick.
        pending_h: Overhead that this tick must pay first; ``job.overhead_h`` for a start.
        left: Whole ticks before the deadline, this one included.
    """
    done_h = max(0.0, job.tick_h - pending_h)
    # Within rounding of the end is not the end: one more tick may be needed.
    after_h = work_h - done_h
    if after_h < -ROUNDING * job.tick_h:
        return left >= 1
    return ticks_needed(after_h + job.overhead_h, job.tick_h) <= left - 1

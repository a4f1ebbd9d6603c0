"""What a search over the plans of a pipeline makes least, and how two plans compare."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import numpy as np
from numba import njit, vectorize

from infra.core.placement.pipelines.schedule import Schedule

TRACE_S = 1e-5
"""Sums of seconds in another order may differ by less than this: no bound on time is trusted to the last digit."""


class Objective(Enum):
    """What is made least; ties go to the other of cost and finish."""

    COST = "cost"
    NEED = "need"
    FINISH = "finish"

    def key(self, cost: float, need: float, end_at: float) -> Key:
        if self is Objective.COST:
            return Key(cost, end_at, False)
        return Key(need, end_at, False) if self is Objective.NEED else Key(end_at, cost, True)

    def of(self, schedule: Schedule) -> Key:
        return self.key(schedule.cost_micro, schedule.needed_micro, schedule.end_at)


class Key(NamedTuple):
    """The two figures of a plan, or bounds of both from below, in the order in which they count.

    Attributes:
        timed: Whether the first one is an instant, rather than the second one.
    """

    first: float
    second: float
    timed: bool

    def may_beat(self, other: Key) -> bool:
        """Whether what has this bound may be better than another plan by more than traces of a second."""
        if self.timed:
            return self.first < other.first - TRACE_S or (
                self.first <= other.first + TRACE_S and self.second < other.second
            )
        return self.first < other.first or (self.first == other.first and self.second < other.second - TRACE_S)

    def is_worse(self, other: Key) -> bool:
        """Whether what has this bound is worse than another plan by more than traces of a second."""
        return is_worse(self.timed, self.first, self.second, other.first, other.second)


@njit("boolean(boolean, float64, float64, float64, float64)", cache=True)
def is_worse(timed: bool, first: float, second: float, other_first: float, other_second: float) -> bool:
    """:meth:`Key.is_worse`, of the figures."""
    if timed:
        return first > other_first + TRACE_S
    return first > other_first or (first == other_first and second > other_second + TRACE_S)


@vectorize(["float64(float64)"], cache=True)
def whole(bound: float) -> float:
    """The least whole micro-dollars at or above a bound, or each of many, that floating-point sums may have raised by a trace."""
    return np.ceil(min(bound * (1.0 - 1e-9), bound * (1.0 + 1e-9)) - 0.01)

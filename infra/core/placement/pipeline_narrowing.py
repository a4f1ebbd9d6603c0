"""Options of stages that cannot be in the best plan, found from bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from infra.core.placement.pipeline_bounds import Bounds
from infra.core.placement.pipeline_objective import TRACE_S, Key, Objective
from infra.core.placement.pipeline_schedule import Limits

_ROUNDS = 2
"""What is left out makes the bounds better, so that more can be left out."""


def narrowed(
    every: Bounds, objective: Objective, limits: Limits, ceiling: Key
) -> tuple[Sequence[Sequence[int]], Bounds] | None:
    """The options of each stage that plans below a ceiling may have, and bounds among them; ``None`` when a stage has none.

    An option may be left for some places of the stage's primary input only: the bounds are infinite for the others.
    """
    deadline_at = math.inf if limits.deadline_at is None else limits.deadline_at
    bounds, before = every, None
    for _ in range(_ROUNDS):
        if math.isinf(bounds.root(bounds.time)):
            return None
        (ready_at, ends), need = bounds.ends(), bounds.totals(bounds.need)
        latest_at, most = deadline_at + TRACE_S, ceiling.first
        if ceiling.timed:
            latest_at, money = min(latest_at, ceiling.first + TRACE_S), None
        else:
            money = need if objective is Objective.NEED else bounds.totals(bounds.cost)
        left = [(end <= latest_at) & (whole(each) <= limits.money_micro) for end, each in zip(ends, need, strict=True)]
        if money is not None:
            for index, (each, end) in enumerate(zip(map(whole, money), ends, strict=True)):
                left[index] &= (each < most) | ((each == most) & (end <= ceiling.second + TRACE_S))
        if not all(each.any() for each in left):
            return None
        count = sum(int(each.sum()) for each in left)
        if count == before:
            break
        before = count
        bounds = bounds.among(left, ready_at, deadline_at)
    return [np.flatnonzero(each.any(axis=1)).tolist() for each in left], bounds


def whole(bound: np.ndarray) -> np.ndarray:
    """The least whole micro-dollars at or above bounds that floating-point sums may have raised by a trace."""
    return np.ceil(bound * (1.0 - 1e-9) - 0.01)

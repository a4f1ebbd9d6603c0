"""Options of stages that cannot be in the best plan, found from bounds and from a plan that is known to be possible."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from infra.core.placement.pipeline_bounds import Bounds
from infra.core.placement.pipeline_objective import TRACE_S, Objective
from infra.core.placement.pipeline_schedule import Limits, Schedule

_ROUNDS = 3
"""What is left out makes the bounds better, so that more can be left out."""


def narrowed(
    bounds: Bounds, objective: Objective, limits: Limits, known: Schedule | None
) -> tuple[Sequence[Sequence[int]], Bounds] | None:
    """The options of each stage that may be in the best plan, and bounds among them; ``None`` when a stage has none.

    An option may be left for some places of the stage's primary input only: the bounds are infinite for the others.

    Args:
        known: A plan within the limits, if there is one. What is worse is left out.
    """
    key = None if known is None else objective.of(known)
    deadline_at = math.inf if limits.deadline_at is None else limits.deadline_at
    before = None
    for _ in range(_ROUNDS):
        (ready_at, ends), need = bounds.ends(), bounds.totals(bounds.need)
        cost = bounds.totals(bounds.cost) if objective is Objective.COST else need
        left = [
            (end <= deadline_at + TRACE_S) & (whole(each) <= limits.money_micro)
            for end, each in zip(ends, need, strict=True)
        ]
        if key is not None and key.timed:
            left = [each & (end <= key.first + TRACE_S) for each, end in zip(left, ends, strict=True)]
        elif key is not None:
            for index, (each, end, money) in enumerate(zip(left, ends, cost, strict=True)):
                money = whole(money)
                tie = (money == key.first) & (end <= key.second + TRACE_S)
                left[index] = each & ((money < key.first) | tie)
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

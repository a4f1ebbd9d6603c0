"""Options of stages that cannot be in the best plan, found from bounds."""

from __future__ import annotations

import math

from infra.core.placement.pipelines.arrays import Flags
from infra.core.placement.pipelines.bounds import Bounds
from infra.core.placement.pipelines.objective import TRACE_S, Key, Objective, whole
from infra.core.placement.pipelines.schedule import Limits
from infra.core.placement.pipelines.tables import Table

_ROUNDS = 2
"""What is left out makes the bounds better, so that more can be left out."""


def narrowed(
    every: Bounds, objective: Objective, limits: Limits, ceiling: Key, priced: Table | None
) -> tuple[Flags, Bounds] | None:
    """The options of each stage that plans below a ceiling may have, ``[stages, choices]``, and bounds among them; ``None`` when a
    stage has none.

    An option may be left for some places of the stage's primary input only: the bounds are infinite for the others.

    Args:
        priced: A table of what is made least that prices time, if there is one.
    """
    deadline_at = math.inf if limits.deadline_at is None else limits.deadline_at
    latest_at = min(deadline_at, ceiling.first if ceiling.timed else math.inf) + TRACE_S
    bounds, before = every, None
    for _ in range(_ROUNDS):
        if math.isinf(bounds.root(bounds.time)):
            return None
        ready_at, ends = bounds.ends()
        left = every.options & (ends <= latest_at)
        if not bounds.plenty(limits.money_micro):
            left &= whole(bounds.totals(bounds.need)) <= limits.money_micro
        if not ceiling.timed:
            money = whole(bounds.totals(bounds.least_of(objective)))
            left &= (money < ceiling.first) | ((money == ceiling.first) & (ends <= ceiling.second + TRACE_S))
            if priced is not None and bounds is every:
                paid = priced.price * (deadline_at - every.now_at)
                left &= whole(every.totals(priced) - paid) <= ceiling.first
        if not left.any(axis=(1, 2)).all():
            return None
        count = int(left.sum())
        if count == before:
            break
        before = count
        bounds = bounds.among(left, ready_at, deadline_at)
    return left.any(axis=2), bounds

"""What a search knows of the rest of a plan, by bounds on the options that are left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infra.core.placement.pipelines.arrays import Flags, Floats, Whole
from infra.core.placement.pipelines.bounds import Bounds
from infra.core.placement.pipelines.columns import Facts, Outlook, Sums
from infra.core.placement.pipelines.objective import TRACE_S, Objective
from infra.core.placement.pipelines.schedule import Limits
from infra.core.placement.pipelines.tables import Table


def outlook_of(
    bounds: Bounds, objective: Objective, limits: Limits, left: Flags, priced: Table | None, priced_need: Table | None
) -> Outlook:
    """The outlook on plans with some options.

    Args:
        left: ``[stages, choices]``.
        priced, priced_need: Tables that price time, of costs and of needs, where there are any.
    """
    facts, table = bounds.facts, bounds.least_of(objective)
    least = np.ascontiguousarray(np.moveaxis(table.here + table.below[:, :, None], 1, 2))
    order = np.argsort(least, axis=2, kind="stable")
    scarce = _scarce(facts, left)
    windowed, slope_micro = _slopes(facts, left)
    by_need = objective is Objective.NEED
    plenty = bounds.plenty(limits.money_micro) and not by_need
    return Outlook(
        timed=objective is Objective.FINISH,
        by_need=by_need,
        trace_s=TRACE_S,
        deadline_at=np.inf if limits.deadline_at is None else float(limits.deadline_at),
        money_micro=float(limits.money_micro),
        scarce=scarce,
        wants=_wanted(facts, scarce),
        left=left.sum(axis=1),
        choices=np.argsort(~left, axis=1, kind="stable"),
        order=order,
        least=np.take_along_axis(least, order, axis=2),
        seconds=bounds.time.here,
        seconds_below=bounds.time.below,
        seconds_left=bounds.time.least,
        fastest=bounds.time.here.min(axis=2),
        sums=_sums(
            [bounds.cost, *([priced] if priced else [])],
            [*([] if plenty else [bounds.need]), *([priced_need] if priced_need else [])],
        ),
        tolls=bounds.tolls,
        windowed=windowed,
        slope_micro=slope_micro,
    )


def _scarce(facts: Facts, left: Flags) -> Flags:
    """Those of the options that are left that a stage and others could together want too many devices of at the same time.

    Args:
        left: ``[stages, choices]``.
    """
    claims = np.zeros((len(facts.devices), len(facts.free)), dtype=np.int64)
    stage, choice = np.nonzero(left)
    claims[stage, facts.rows[stage, choice]] = facts.devices[stage]
    others = facts.rivals.astype(np.int64) @ claims
    crowded = (others > 0) & (facts.devices[:, None] + others > facts.free)
    return left & np.take_along_axis(crowded, facts.rows, axis=1)


def _wanted(facts: Facts, scarce: Flags) -> Flags:
    """Whether a stage has a scarce option at an offer: ``[stages, rows]``."""
    wants = np.zeros((len(facts.devices), len(facts.free)), dtype=np.bool_)
    stage, choice = np.nonzero(scarce)
    wants[stage, facts.rows[stage, choice]] = True
    return wants


def _slopes(facts: Facts, left: Flags) -> tuple[Whole, Floats]:
    """Of the stages from each on: how many may be at a price with windows, and their slopes together: ``[stages + 1]``."""
    steepest = np.where(left, facts.slope, 0.0).max(axis=1)
    return tuple(np.append(np.cumsum(each[::-1])[::-1], 0) for each in (steepest > 0.0, steepest))


def _sums(of_cost: Sequence[Table], of_need: Sequence[Table]) -> Sums:
    tables = [*of_cost, *of_need]
    flow = np.zeros((len(tables), len(tables[0].least) + 1, len(tables[0].least)))
    for at, table in enumerate(tables):
        for (source, child), share in table.flow.items():
            flow[at, source, child] = share  # from nowhere: the last index
    return Sums(
        of_cost=np.arange(len(tables)) < len(of_cost),
        here=np.stack([table.here for table in tables]),
        below=np.stack([table.below for table in tables]),
        least=np.stack([table.least for table in tables]),
        price=np.array([table.price for table in tables]),
        flow=flow,
    )

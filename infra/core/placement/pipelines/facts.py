"""The facts of a problem that the compiled search looks at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infra.core.placement.pipelines.arrays import Floats, Whole
from infra.core.placement.pipelines.columns import Facts
from infra.core.placement.pipelines.forest import Forest
from infra.core.placement.pipelines.problem import OUTSIDE, Problem, Stage
from infra.core.pricing import Price
from infra.core.units import SECONDS_PER_HOUR


def facts_of(problem: Problem, forest: Forest, sites: Whole, seconds: Floats, micro: Floats) -> Facts:
    """The facts of a problem.

    Args:
        sites: Site of each option, ``[stages, choices]``.
        seconds, micro: For a byte, ``[sites, sites]``.
    """
    stages, most = problem.stages, sites.shape[1]
    nothing = [(0, 0.0, 0.0)]
    options = [
        [(option.row, option.free_at, _slope(stage, option.price)) for option in stage.options]
        + nothing * (most - len(stage.options))
        for stage in stages
    ]
    rows, free_at, slope = np.moveaxis(np.array(options, dtype=np.float64), 2, 0)
    sizes = np.zeros((len(stages), len(stages)))
    rivals = np.zeros((len(stages), len(stages)), dtype=np.bool_)
    for stage in stages:
        for parent, size in stage.parents:
            sizes[stage.index, parent] = size
        rivals[stage.index, list(problem.rivals(stage.index))] = True
    releases = [problem.releases(row) for row in range(len(problem.book.rows))]
    runs = max(map(len, releases), default=0)
    padded = [[*each, *[(0.0, 0)] * (runs - len(each))] for each in releases]
    held = np.array(padded, dtype=np.float64).reshape(len(releases), runs, 2)
    return Facts(
        now_at=float(problem.now_at),
        forest=forest,
        sizes=sizes,
        rivals=rivals,
        devices=np.array([stage.devices for stage in stages]),
        latest_at=_or_never([stage.deadline_at for stage in stages]),
        budget_micro=_or_never([stage.budget_micro for stage in stages]),
        punctual=np.array([not stage.may_wait and not stage.parents for stage in stages]),
        sites=sites,
        rows=np.ascontiguousarray(rows, dtype=np.int64),
        free_at=np.ascontiguousarray(free_at),
        windowed=np.array(
            [
                [bool(option.price.windows) for option in stage.options] + [False] * (most - len(stage.options))
                for stage in stages
            ]
        ),
        slope=np.ascontiguousarray(slope),
        groups=_groups(problem),
        free=np.array(problem.free),
        capacity=np.array([row.offer.capacity for row in problem.book.rows]),
        held=np.ascontiguousarray(held[:, :, 1], dtype=np.int64),
        held_until_at=np.ascontiguousarray(held[:, :, 0]),
        seconds=seconds,
        micro=micro,
    )


def _or_never(limits: Sequence[float | None]) -> Floats:
    return np.array([np.inf if limit is None else limit for limit in limits], dtype=np.float64)


def _slope(stage: Stage, price: Price) -> float:
    """Micro-dollars for a second at the dearest instead of at the cheapest time of a day."""
    if not price.windows:
        return 0.0
    factors = [1.0, *(window.factor for window in price.windows)]
    return (max(factors) - min(factors)) * price.micro_per_hour * stage.devices / SECONDS_PER_HOUR


def _groups(problem: Problem) -> Whole:
    """Stages whose results are still to be read, in groups by who reads them; only when the last of a group ends counts."""
    count = len(problem.stages)
    groups = np.full((count + 1, count), OUTSIDE)
    for placed in range(count + 1):
        first: dict[tuple[int, ...], int] = {}
        for source in range(placed):
            readers = tuple([child for child in problem.children[source] if child >= placed])
            if readers:
                groups[placed, source] = first.setdefault(readers, source)
    return groups

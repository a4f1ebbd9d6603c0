"""Labels: plans of the first stages of a pipeline, and what there is to know about taking up the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infra.core.placement.pipelines.bounds import Bounds
from infra.core.placement.pipelines.problem import OUTSIDE, Problem, Stage
from infra.core.placement.pipelines.schedule import Schedule
from infra.core.placement.pipelines.tables import Table
from infra.core.pricing import Price
from infra.core.units import SECONDS_PER_HOUR


@dataclass(slots=True)
class Label:
    """Plans of the first stages.

    Attributes:
        choices, starts, finishes, places, rows: By stage; finishes at the high estimate.
        slips: Whether a stage may have to start later than here, because others may want its devices or because it comes
            after one that may.
        loose: Stages that may slip and whose price has windows: cost and need are the least of all later starts.
        resolved: The whole schedule, when devices were shared out.
    """

    choices: tuple[int, ...]
    starts: tuple[float, ...]
    finishes: tuple[float, ...]
    places: tuple[int, ...]
    rows: tuple[int, ...]
    cost_micro: int
    needed_micro: int
    end_at: float
    slips: tuple[bool, ...]
    loose: tuple[int, ...]
    resolved: Schedule | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """What the flow of a table that prices time does while one stage is taken up.

    Attributes:
        crossing: (stage, share) of the flow from placed stages to others than this one.
        fresh: Flow of first stages that are still to come.
        onward: Flow from this stage to its children.
    """

    crossing: tuple[tuple[int, float], ...]
    fresh: float
    onward: float


@dataclass(frozen=True, slots=True)
class Join:
    """A stage that is to come and has an input that is there and is not its primary one. Options are those that are left.

    Attributes:
        primary: Its primary input if that is there too.
        seconds: Least seconds from its start to the end of the pipeline, by [place of its primary input][option].
        others: Its other inputs that are there: the stage, what moving takes and costs beyond the bounds, by [place][option].
    """

    primary: int
    seconds: list[list[float]]
    others: tuple[tuple[int, list[list[float]], list[list[float]]], ...]


@dataclass(frozen=True, slots=True)
class Depth:
    """What there is to know about taking up one stage.

    Attributes:
        waiting: (stage, primary input) of the other stages that could be next, and of those behind, by their bounds.
        joins: Of stages that are to come and have an input that is there and is not their primary one.
        open: Stages placed before it whose results are still to be read.
        groups: The same in groups that are waited for by the same stages: only when the last of a group ends counts.
        tolls: (stage, toll by place) of inputs that are there and that a later stage than this one reads.
        own_tolls: The same of inputs that this one reads.
        windowed: How many later stages may be at a price with windows.
        slope_micro: How much more all of them together may cost for each second by which they start earlier.
        wanted: Later stages that may want devices of an offer, by its row.
    """

    waiting: tuple[tuple[int, int], ...]
    joins: tuple[Join, ...]
    open: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    tolls: tuple[tuple[int, list[float]], ...]
    own_tolls: tuple[tuple[int, list[float]], ...]
    windowed: int
    slope_micro: float
    wanted: dict[int, list[int]]


def depths_of(
    problem: Problem, bounds: Bounds, choices: Sequence[Sequence[int]], scarce: Sequence[frozenset[int]]
) -> list[Depth]:
    """What there is to know about taking up each stage."""
    found: list[Depth] = []
    wanted: dict[int, list[int]] = {}
    windowed, slope_micro = 0, 0.0
    joining = _Joining(bounds, choices)
    tolled = np.argwhere(bounds.tolls.any(axis=2)).tolist()
    tolls = [(one, reader, bounds.tolls[reader, one].tolist()) for reader, one in tolled]
    for stage in reversed(problem.stages):
        index, options = stage.index, stage.options
        slopes = [_slope(stage, price) for choice in choices[index] if (price := options[choice].price).windows]
        windowed, slope_micro = windowed + any(slopes), slope_micro + max(slopes, default=0.0)
        wanted = dict(wanted)
        for choice in scarce[index]:
            row = options[choice].row
            wanted[row] = [*wanted.get(row, ()), index]
        left = problem.stages[index:]
        joins = [
            each for each in left if any(index > source != bounds.primary[each.index] for source, _ in each.parents)
        ]
        groups = _groups(problem, index)
        found.append(
            Depth(
                waiting=tuple(
                    [(each.index, primary) for each in left[1:] if (primary := bounds.primary[each.index]) < index]
                ),
                joins=tuple([joining.at(each, index) for each in joins]),
                open=tuple(sorted(source for group in groups for source in group)),
                groups=groups,
                tolls=tuple([(one, toll) for one, reader, toll in tolls if one < index < reader]),
                own_tolls=tuple([(one, toll) for one, reader, toll in tolls if reader == index]),
                windowed=windowed,
                slope_micro=slope_micro,
                wanted=wanted,
            )
        )
    return found[::-1]


class _Joining:
    """Says what is known of a stage that is to come when some of its inputs are there."""

    def __init__(self, bounds: Bounds, choices: Sequence[Sequence[int]]) -> None:
        self._bounds, self._choices = bounds, choices
        self._seconds: dict[tuple[int, bool], list[list[float]]] = {}
        self._moving: dict[tuple[int, int], tuple[int, list[list[float]], list[list[float]]]] = {}

    def at(self, stage: Stage, index: int) -> Join:
        """When the stages before an index have their place."""
        reader, primary = stage.index, self._bounds.primary[stage.index]
        known, choices = primary < index, self._choices[stage.index]
        if (reader, known) not in self._seconds:
            self._seconds[reader, known] = self._bounds.seconds_left(reader, choices, known)
        others = [(source, size) for source, size in stage.parents if source < index and source != primary]
        for source, size in others:
            if (source, reader) not in self._moving:
                self._moving[source, reader] = (source, *self._bounds.moving(source, reader, size, choices))
        return Join(
            primary=primary if known else OUTSIDE,
            seconds=self._seconds[reader, known],
            others=tuple([self._moving[source, reader] for source, _ in others]),
        )


def flow_at(problem: Problem, table: Table, index: int) -> Flow:
    flow = table.flow
    return Flow(
        crossing=tuple((source, share) for (source, each), share in flow.items() if OUTSIDE < source < index < each),
        fresh=sum(share for (source, each), share in flow.items() if source == OUTSIDE and each > index),
        onward=sum(flow[index, child] for child in problem.children[index]),
    )


def _slope(stage: Stage, price: Price) -> float:
    """Micro-dollars for a second at the dearest instead of at the cheapest time of a day."""
    factors = [1.0, *(window.factor for window in price.windows)]
    return (max(factors) - min(factors)) * price.micro_per_hour * stage.devices / SECONDS_PER_HOUR


def _groups(problem: Problem, index: int) -> tuple[tuple[int, ...], ...]:
    """Stages before one whose results are still to be read, in groups by who reads them."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for source in range(index):
        readers = tuple([child for child in problem.children[source] if child >= index])
        if readers:
            groups.setdefault(readers, []).append(source)
    return tuple(tuple(group) for group in groups.values())

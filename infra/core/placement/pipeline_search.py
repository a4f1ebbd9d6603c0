"""The cheapest plan of a pipeline: best-first search over its stages in order, with bounds and dominance.

A *label* is a plan of the first stages. Labels are taken up by the least that they can come to (``pipeline_bounds``), so the
first complete one is the best: by the objective, then by the other figure, then by the names of its offers. A label is
dropped when another one with its results at the same places is no dearer and no later. Two cases need care:

* Starts at edges of price windows: to be later can then be cheaper, so only labels that end at the same instants compare.
* Devices that stages of the pipeline could want from each other: the search first lets each stage have them, which can only
  be too cheap and too early. When a complete label turns out to want more devices than there are, its offers are
  kept and all orders of its stages are tried (``pipeline_schedule``); the best goes back among the labels.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from infra.core.placement.pipeline_bounds import Bounds, Table
from infra.core.placement.pipeline_problem import OUTSIDE, Problem, Stage
from infra.core.placement.pipeline_schedule import Limits, Schedule, fits, resolve

MOST_LABELS = 200_000
"""Labels that are taken up before the search gives up its proof."""

_CHEAP_TRIES = 80
"""Labels that are taken up before the deadline is priced: most pipelines need no more."""


_TRACE_S = 1e-5
"""Sums of seconds in another order may differ by less than this: no bound on time is trusted to the last digit."""


class Objective(Enum):
    """What is made least; ties go to the other of cost and finish."""

    COST = "cost"
    NEED = "need"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Found:
    """The best schedule, ``None`` when there is none, and whether that is proven."""

    schedule: Schedule | None
    proven: bool
    labels: int


@dataclass(frozen=True, slots=True)
class _Label:
    """Plans of the first stages.

    Attributes:
        choices, starts, finishes, places: By stage; finishes at the high estimate.
        resolved: The whole schedule, when devices were shared out.
    """

    choices: tuple[int, ...]
    starts: tuple[float, ...]
    finishes: tuple[float, ...]
    places: tuple[int, ...]
    cost_micro: int
    needed_micro: int
    end_at: float
    scarce: bool
    resolved: Schedule | None = None


@dataclass(frozen=True, slots=True)
class _Depth:
    """What there is to know about taking up one stage.

    Attributes:
        waiting: (stage, primary input) of the other stages that could be next, and of those behind, by their bounds.
        late: (stage, input) of inputs that are there and whose stage is not: no start before them.
        crossing: (stage, share) of the flow from placed stages to others than this one.
        fresh: Flow of first stages that are still to come.
        onward: Flow from this stage to its children.
        open: Stages placed before it whose results are still to be read.
        exact: Whether a later stage may wait for price windows.
    """

    waiting: tuple[tuple[int, int], ...]
    late: tuple[tuple[int, int], ...]
    crossing: tuple[tuple[int, float], ...]
    fresh: float
    onward: float
    open: tuple[int, ...]
    exact: bool


_Item = tuple[float, float, int, tuple[int, ...], tuple[float, ...], int, _Label]
"""A label by its key, its depth (deeper first), its offers and starts; and how many of its next offers were tried."""


_FRESH, _WHOLE = -1, -2
"""Instead of a position: a label that was not taken up yet, and one that holds a schedule, which may be like another label."""


@dataclass(slots=True)
class _Ahead:
    """How far a label is taken up: only offers that can still come to ``first`` are tried, cheapest first.

    Attributes:
        first: Before: the label's key. After: the key of what was not tried; infinity when all was.
        position: Of the first offer that was not tried.
    """

    first: float
    ceiling: float
    position: int


class Search:
    """One search. Use :func:`best_schedule`."""

    def __init__(self, problem: Problem, bounds: Bounds, objective: Objective, limits: Limits) -> None:
        self._problem, self._bounds, self._objective, self._limits = problem, bounds, objective, limits
        self._depths = [_depth(problem, bounds, stage) for stage in problem.stages]
        self._orders: dict[tuple[int, int], list[tuple[float, int]]] = {}
        self._priced: Table | None = None
        self._priced_need: Table | None = None
        self._money = limits.money_micro
        self._deadline_at = math.inf if limits.deadline_at is None else limits.deadline_at

    def run(self, known: Schedule | None) -> Found:
        """Search, starting from a schedule that is known to be possible, if any."""
        ceiling = self._key(known.cost_micro, known.needed_micro, known.end_at)[0] if known else math.inf
        found = self._first_complete(ceiling, _CHEAP_TRIES)
        if found is None and self._limits.deadline_at is not None:
            self._priced = self._bounds.priced(False, self._limits.deadline_at)
            if self._limits.money_limited:
                self._priced_need = self._bounds.priced(True, self._limits.deadline_at)
        found = found or self._first_complete(ceiling, MOST_LABELS)
        return found or Found(known, False, MOST_LABELS)

    def _first_complete(self, ceiling: float, most: int) -> Found | None:
        """The best complete label; ``None`` when ``most`` labels were not enough."""
        stages = self._problem.stages
        start = _Label((), (), (), (), 0, 0, self._problem.now_at, False)
        heap: list[_Item] = [(0.0, 0.0, 0, (), (), _FRESH, start)]
        seen: dict[tuple[object, ...], list[tuple[float, ...]]] = {}
        resolved: set[tuple[int, ...]] = set()
        taken = 0
        while heap:
            first, second, *_, position, label = heapq.heappop(heap)
            depth = len(label.choices)
            if label.resolved is not None:
                return Found(label.resolved, True, taken)
            if depth == len(stages):
                schedule = Schedule(label.choices, label.starts, label.finishes, label.cost_micro, label.needed_micro)
                if not label.scarce or fits(self._problem, schedule):
                    return Found(schedule, True, taken)
                if label.choices not in resolved:
                    resolved.add(label.choices)
                    best = self._resolved(label.choices)
                    if best is not None:
                        self._push(heap, best, ceiling)
                continue
            taken += 1  # a label that is taken up again counts again
            if taken > most:
                return None
            if depth and position == _FRESH and self._dominated(label, depth, seen):
                continue
            ahead = _Ahead(first, ceiling, position)
            for child in self._children(stages[depth], label, ahead):
                self._push(heap, child, ceiling)
            if ahead.first <= ceiling and ahead.first < math.inf:
                again = (ahead.first, second, -depth, label.choices, label.starts, ahead.position, label)
                heapq.heappush(heap, again)
        return Found(None, True, taken)

    def _resolved(self, choices: tuple[int, ...]) -> _Label | None:
        schedule = resolve(
            self._problem,
            choices,
            self._limits,
            lambda each: self._key(each.cost_micro, each.needed_micro, each.end_at),
        )
        if schedule is None:
            return None
        return _Label(
            choices,
            schedule.starts,
            schedule.finishes,
            (),
            schedule.cost_micro,
            schedule.needed_micro,
            schedule.end_at,
            True,
            schedule,
        )

    def _push(self, heap: list[_Item], child: _Label | tuple[float, float, _Label], ceiling: float) -> None:
        if isinstance(child, _Label):
            first, second = self._key(child.cost_micro, child.needed_micro, child.end_at)
        else:
            first, second, child = child
        if first <= ceiling:
            position = _FRESH if child.resolved is None else _WHOLE
            heapq.heappush(heap, (first, second, -len(child.choices), child.choices, child.starts, position, child))

    def _key(self, cost: float, need: float, end_at: float) -> tuple[float, float]:
        if self._objective is Objective.COST:
            return cost, end_at
        return (need, end_at) if self._objective is Objective.NEED else (end_at, cost)

    def _dominated(self, label: _Label, depth: int, seen: dict[tuple[object, ...], list[tuple[float, ...]]]) -> bool:
        if label.scarce:
            return False
        facts = self._depths[depth]
        finishes = tuple(label.finishes[index] for index in facts.open)
        key: tuple[object, ...] = (depth, tuple(label.places[index] for index in facts.open))
        if facts.exact:
            key = (*key, finishes)
        figures = (label.cost_micro, label.needed_micro, label.end_at, *finishes)
        others = seen.setdefault(key, [])
        if any(all(a <= b for a, b in zip(other, figures, strict=True)) for other in others):
            return True
        others.append(figures)
        return False

    def _children(self, stage: Stage, label: _Label, ahead: _Ahead) -> Iterator[tuple[float, float, _Label]]:
        """The label with this stage at each offer and start that may still lead to the best schedule."""
        problem, bounds, facts, index = self._problem, self._bounds, self._depths[stage.index], stage.index
        places = tuple(label.places[parent] for parent, _ in stage.parents)
        ready_at = max((label.finishes[parent] for parent, _ in stage.parents), default=problem.now_at)
        primary = bounds.primary[index]
        at = 0 if primary == OUTSIDE else label.places[primary]
        rest = [
            sum(table.least[each][0 if source == OUTSIDE else label.places[source]] for each, source in facts.waiting)
            for table in (bounds.cost, bounds.need)
        ]
        rest_cost, rest_need = rest[0] + label.cost_micro, rest[1] + label.needed_micro
        end_at = self._end_of_others(label, facts)
        limit, ahead.first, position = ahead.first, math.inf, max(0, ahead.position)
        if end_at > self._deadline_at or rest_need + bounds.need.least[index][at] - 1 > self._money:
            return
        priced = [
            (table, *self._priced_rest(table, money, label, facts))
            for table, money in ((self._priced, label.cost_micro), (self._priced_need, label.needed_micro))
            if table is not None
        ]
        below_cost, below_need, below_time = (table.below[index] for table in (bounds.cost, bounds.need, bounds.time))
        least_time = bounds.time.here[index]
        own_deadline_at = self._deadline_at if stage.deadline_at is None else min(self._deadline_at, stage.deadline_at)
        by_need = self._objective is Objective.NEED
        rest_first = rest_need if by_need else rest_cost
        ordered = self._ordered(index, at)
        while position < len(ordered):
            least, choice = ordered[position]
            if self._objective is not Objective.FINISH and _whole(rest_first + least) > limit:
                ahead.first, ahead.position = _whole(rest_first + least), position
                break
            position += 1
            option = stage.options[choice]
            if ready_at + least_time[choice][at] + below_time[choice] - _TRACE_S > self._deadline_at:
                continue
            run = problem.run(stage, choice, places)
            if run is None:
                continue
            for start_at in problem.starts(stage, choice, ready_at):
                finish_at = start_at + run.high_s
                end = max(end_at, finish_at, finish_at + below_time[choice] - _TRACE_S)
                if finish_at > own_deadline_at or end > self._deadline_at:
                    continue
                cost, need = problem.money(stage, choice, run, start_at)
                if stage.budget_micro is not None and need > stage.budget_micro:
                    continue
                least_need = _whole(rest_need + need + below_need[choice])
                if least_need > self._money:
                    continue
                least_cost = _whole(rest_cost + cost + below_cost[choice])
                for table, rest_priced, owed_s in priced:
                    money = cost if table is self._priced else need
                    left_s = owed_s + facts.onward * (self._deadline_at - finish_at)
                    bound = _whole(rest_priced + money + table.below[index][choice] - table.price * left_s)
                    if table is self._priced:
                        least_cost = max(least_cost, bound)
                    else:
                        least_need = max(least_need, bound)
                if least_need > self._money:
                    continue
                child = _Label(
                    (*label.choices, choice),
                    (*label.starts, start_at),
                    (*label.finishes, finish_at),
                    (*label.places, problem.place_of(index, option.site)),
                    label.cost_micro + cost,
                    label.needed_micro + need,
                    max(label.end_at, finish_at),
                    label.scarce or choice in stage.scarce,
                )
                yield (*self._key(least_cost, least_need, end), child)

    def _ordered(self, index: int, at: int) -> list[tuple[float, int]]:
        """The stage's offers by the least that they and everything below come to, with its primary input at a place."""
        table = self._bounds.need if self._objective is Objective.NEED else self._bounds.cost
        key = (index, at)
        if key not in self._orders:
            here, below = table.here[index], table.below[index]
            figures = [
                (row[at if len(row) > 1 else 0] + rest, choice)
                for choice, (row, rest) in enumerate(zip(here, below, strict=True))
            ]
            self._orders[key] = sorted(figures)
        return self._orders[key]

    def _end_of_others(self, label: _Label, facts: _Depth) -> float:
        """When the pipeline ends at the earliest because of what else is placed and of what waits for it."""
        time = self._bounds.time
        ends = []
        for each, source in facts.waiting:
            if source == OUTSIDE:
                ends.append(self._problem.now_at + time.least[each][0])
            else:
                ends.append(label.finishes[source] + time.least[each][label.places[source]])
        ends += [label.finishes[source] + min(time.least[each]) for each, source in facts.late]
        return max(label.end_at, max(ends, default=0.0) - _TRACE_S)

    def _priced_rest(self, table: Table, money: int, label: _Label, facts: _Depth) -> tuple[float, float]:
        """Least priced figure of what waits besides this stage, and the seconds until the deadline to set against it."""
        rest = money + sum(
            table.least[each][0 if source == OUTSIDE else label.places[source]] for each, source in facts.waiting
        )
        owed_s = facts.fresh * (self._deadline_at - self._problem.now_at)
        owed_s += sum(share * (self._deadline_at - label.finishes[source]) for source, share in facts.crossing)
        return rest, owed_s


def _whole(bound: float) -> float:
    """The least whole micro-dollars at or above a bound that floating-point sums may have raised by a trace."""
    return math.ceil(bound - 0.01 - 1e-9 * abs(bound)) if math.isfinite(bound) else bound


def _depth(problem: Problem, bounds: Bounds, stage: Stage) -> _Depth:
    index = stage.index
    later = problem.stages[index + 1 :]
    waiting = tuple(
        (each.index, bounds.primary[each.index])
        for each in later
        if bounds.primary[each.index] == OUTSIDE or bounds.primary[each.index] < index
    )
    late = tuple((each.index, source) for each in later for source, _ in each.parents if source < index)
    share = bounds.share
    return _Depth(
        waiting=waiting,
        late=late,
        crossing=tuple(
            (source, share[source, each.index]) for each in later for source, _ in each.parents if source < index
        ),
        fresh=sum(bounds.flow[each.index] for each in later if not each.parents),
        onward=sum(share[index, child] for child in problem.children[index]),
        open=tuple(sorted({source for each in problem.stages[index:] for source, _ in each.parents if source < index})),
        exact=any(option.edges for each in problem.stages[index:] for option in each.options),
    )


def best_schedule(
    problem: Problem, bounds: Bounds, objective: Objective, limits: Limits, known: Schedule | None = None
) -> Found:
    """The best schedule within the limits.

    Args:
        known: A schedule within the limits, if one is known: what is worse is not looked at.
    """
    if any(not stage.options for stage in problem.stages):
        return Found(None, True, 0)
    return Search(problem, bounds, objective, limits).run(known)

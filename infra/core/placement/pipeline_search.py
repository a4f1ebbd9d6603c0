"""The cheapest plan of a pipeline: best-first search over its stages in order, with bounds and dominance.

A *label* is a plan of the first stages. Labels are taken up by the least that they can come to (``pipeline_bounds``), so the
first complete one is the best: by the objective, then by the other figure, then by the names of its offers. A label is
dropped when another one with its results at the same places is no dearer and no later. Two cases need care:

* Prices with windows: to be later can then be cheaper, so an earlier label must be cheaper by what that can be worth.
* Devices that stages of the pipeline could want from each other: the search first lets each stage have them, which can only
  be too cheap and too early. When a complete label turns out to want more devices than there are, its offers are
  kept and all orders of its stages are tried (``pipeline_sharing``); the best goes back among the labels. Until then, labels
  compare only when the stages that are in each other's way are the same and have the same offers.

Most pipelines need a few dozen labels. When one needs more, the options that cannot be in the best plan are left out
(``pipeline_narrowing``), and what is left is searched again with the bounds and the dominance that this makes possible.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add

from infra.core.placement.pipeline_bounds import Bounds, Table
from infra.core.placement.pipeline_devices import Devices
from infra.core.placement.pipeline_narrowing import narrowed
from infra.core.placement.pipeline_objective import TRACE_S, Key, Objective, whole
from infra.core.placement.pipeline_problem import OUTSIDE, Problem, Stage, scarce_among
from infra.core.placement.pipeline_schedule import Limits, Schedule, in_order, one_after_the_other
from infra.core.placement.pipeline_sharing import Sharing, crowds, fits
from infra.core.pricing import Price
from infra.core.units import SECONDS_PER_HOUR

MOST_LABELS = 200_000
"""Labels that are taken up before the search gives up its proof."""

_CHEAP_TRIES = 40
"""Labels that are taken up before anything is left out: most pipelines need no more."""


_STEPS = (0.0, 0.05, 0.25, math.inf)
"""By how much more than the least the plans may come to that are looked for, one after the other."""

_ROUNDING_MICRO = 20
"""Bounds are a few micro-dollars below what they bound, where amounts are rounded up or prices have windows."""

_AMPLE = 2.0
"""So many times the least that a plan needs is enough for most plans."""

_HIGHEST = Key(math.inf, math.inf, False)


@dataclass(frozen=True, slots=True)
class Found:
    """The best schedule, ``None`` when there is none, and whether that is proven."""

    schedule: Schedule | None
    proven: bool
    labels: int


@dataclass(slots=True)
class _Label:
    """Plans of the first stages.

    Attributes:
        choices, starts, finishes, places, rows: By stage; finishes at the high estimate.
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
    resolved: Schedule | None = None


@dataclass(frozen=True, slots=True)
class _Flow:
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
class _Join:
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
class _Depth:
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
    joins: tuple[_Join, ...]
    open: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    tolls: tuple[tuple[int, list[float]], ...]
    own_tolls: tuple[tuple[int, list[float]], ...]
    windowed: int
    slope_micro: float
    wanted: dict[int, list[int]]


_Item = tuple[float, float, int, tuple[int, ...], tuple[float, ...], int, _Label]
"""A label by its key, its depth (deeper first), its offers and starts; and how many of its next offers were tried."""


_Taken = tuple[int, int, tuple[float, ...]]
"""Cost, need and instants of a label that was taken up."""

_FRESH, _CROWDED, _WHOLE = -1, -2, -3
"""Instead of a position: a label that was not taken up yet, a complete one whose stages are known to be in each other's way,
and one that holds a schedule, which may be like another label."""


@dataclass(slots=True)
class _Ahead:
    """How far a label is taken up: only offers that can still come to ``first`` are tried, cheapest first.

    Attributes:
        first: Before: the label's key. After: the key of what was not tried; infinity when all was.
        position: Of the first offer that was not tried.
    """

    first: float
    position: int


class Search:
    """One search. Use :func:`best_schedule`."""

    def __init__(self, problem: Problem, bounds: Bounds, objective: Objective, limits: Limits) -> None:
        self._problem, self._bounds, self._objective, self._limits = problem, bounds, objective, limits
        self._priced: Table | None = None
        self._priced_need: Table | None = None
        self._flows: list[tuple[Table, list[_Flow]]] = []
        self._money = limits.money_micro
        self._deadline_at = math.inf if limits.deadline_at is None else limits.deadline_at
        self._devices: dict[int, Devices] = {}
        self._shared: dict[tuple[int, ...], Schedule] = {}
        self._among([range(len(stage.options)) for stage in problem.stages], [stage.scarce for stage in problem.stages])

    def _among(self, choices: Sequence[Sequence[int]], scarce: Sequence[frozenset[int]]) -> None:
        """Search among these options of each stage only."""
        self._choices, self._scarce = choices, scarce
        self._orders: dict[tuple[int, int], list[tuple[float, int]]] = {}
        self._depths = _depths(self._problem, self._bounds, choices, scarce)

    def run(self) -> Found:
        """Search; when that takes long, search among what can still be the best plan.

        Most plans come to no more than the bounds say. So plans that come to just that are looked for first, then those that
        come to a little more, and so on: the lower the ceiling, the more options are left out, and the better the bounds
        of what is left.
        """
        if self._objective is not Objective.FINISH:
            found = self._first_complete(_CHEAP_TRIES, None)
            if found is not None:
                return found
        self._bounds = every = self._bounds.with_tolls()
        self._price()
        least = self._least()
        if math.isinf(least):
            return Found(None, True, 0)
        known = self._known()
        for step in range(len(_STEPS)):
            ceiling = Key(self._raised(least, step), math.inf, self._objective is Objective.FINISH)
            # Without a plan there may be none at all: then the second look is the last one.
            last = (known is None and step > 0) or (known is not None and self._objective.of(known) <= ceiling)
            if last:
                ceiling = _HIGHEST if known is None else self._objective.of(known)
            left = narrowed(every, self._objective, self._limits, ceiling)
            if left is not None:
                choices, self._bounds = left
                self._price()
                self._among(choices, scarce_among(self._problem, choices))
                found = self._first_complete(MOST_LABELS, ceiling)
                if found is None:
                    return Found(known, False, MOST_LABELS)
                if found.schedule is not None:
                    return found
            if last:
                break
        return Found(known, True, 0)

    def _least(self) -> float:
        """The least that any plan comes to, as far as the bounds say."""
        bounds = self._bounds
        table = _tables(bounds, self._objective)[0]
        if self._objective is Objective.FINISH:
            return self._problem.now_at + bounds.root(table)
        least = bounds.root(table)
        priced = self._priced_need if self._objective is Objective.NEED else self._priced
        if priced is not None:
            least = max(least, bounds.root(priced) - priced.price * (self._deadline_at - self._problem.now_at))
        return whole(least)

    def _raised(self, least: float, step: int) -> float:
        """The ceiling of a step."""
        if self._objective is Objective.FINISH:
            return least + _STEPS[step] * max(1.0, least - self._problem.now_at)
        return whole(least * (1.0 + _STEPS[step])) + _ROUNDING_MICRO if step + 1 < len(_STEPS) else math.inf

    def _price(self) -> None:
        """Make the tables that price time, if there is a deadline."""
        if self._limits.deadline_at is None:
            return
        bounds, deadline_at, by_need = self._bounds, self._limits.deadline_at, self._objective is Objective.NEED
        # What the plan needs is priced when the money that there is may well be too little for it.
        scarce = self._money < _AMPLE * bounds.root(bounds.need)
        self._priced = None if by_need else bounds.priced(False, deadline_at)
        self._priced_need = bounds.priced(True, deadline_at) if by_need or scarce else None
        self._flows = [
            (table, [_flow(self._problem, table, index) for index in range(len(self._problem.stages))])
            for table in (self._priced, self._priced_need)
            if table is not None
        ]

    def _known(self) -> Schedule | None:
        """The best of some plans that are quickly found, if any is within the limits."""
        problem, limits = self._problem, self._limits
        tables = [*_tables(self._bounds, self._objective), self._priced, self._priced_need]
        order = range(len(problem.stages))
        plans = {self._bounds.best_options(table) for table in tables if table is not None}
        found = [in_order(problem, choices, order, limits) for choices in sorted(plans)]
        possible = [each for each in (*found, *self._shared.values()) if each is not None]
        if not possible:
            greedy, placed = one_after_the_other(problem, limits)
            return greedy if placed == len(problem.stages) else None
        return min(possible, key=self._objective.of)

    def _first_complete(self, most: int, ceiling: Key | None) -> Found | None:
        """The best complete label, none worse than the ceiling; ``None`` when ``most`` labels were not enough."""
        stages = self._problem.stages
        start = _Label((), (), (), (), (), 0, 0, self._problem.now_at)
        heap: list[_Item] = [(0.0, 0.0, 0, (), (), _FRESH, start)]
        seen: dict[tuple[object, ...], list[_Taken]] = {}
        waiting: set[tuple[int, ...]] = set()
        taken = 0
        while heap:
            first, second, *_, position, label = heapq.heappop(heap)
            depth = len(label.choices)
            if label.resolved is not None:
                return Found(label.resolved, True, taken)
            if depth == len(stages):
                crowded = crowds(self._problem, label.choices)
                schedule = Schedule(label.choices, label.starts, label.finishes, label.cost_micro, label.needed_micro)
                if not crowded or fits(self._problem, schedule, crowded):
                    return Found(schedule, True, taken)
                if position == _FRESH and label.choices in waiting:
                    continue
                waiting.add(label.choices)
                sharing = Sharing(self._problem, label.choices, crowded, self._limits, self._objective)
                if position == _FRESH:
                    key = self._objective.key(label.cost_micro, label.needed_micro, sharing.least_end_at() - TRACE_S)
                    if (key.first, key.second) > (first, second):
                        heapq.heappush(
                            heap, (key.first, key.second, -depth, label.choices, label.starts, _CROWDED, label)
                        )
                        continue
                best = self._shared.get(label.choices) or sharing.best(ceiling)
                if best is not None:
                    self._shared[label.choices] = best
                    key = self._objective.of(best)
                    ceiling = key if ceiling is None else min(key, ceiling)
                    label.resolved = best
                    heapq.heappush(heap, (key.first, key.second, -depth, label.choices, best.starts, _WHOLE, label))
                continue
            taken += 1  # a label that is taken up again counts again
            if taken > most:
                return None
            if depth and position == _FRESH and self._dominated(label, depth, seen):
                continue
            timed = self._objective is Objective.FINISH
            left_micro = math.inf if ceiling is None or timed else ceiling.first - first
            end_at = self._end_of_others(label, self._depths[depth], left_micro + 1.0)
            if end_at == math.inf:
                continue
            if position == _FRESH and end_at > (first if timed else second):
                key = (end_at, second) if timed else (first, end_at)
                if ceiling is None or not Key(*key, ceiling.timed).is_worse(ceiling):
                    heapq.heappush(heap, (*key, -depth, label.choices, label.starts, 0, label))
                continue
            ahead = _Ahead(first, position)
            for key, child in self._children(stages[depth], label, ahead, end_at):
                if ceiling is None or not key.is_worse(ceiling):
                    heapq.heappush(
                        heap, (key.first, key.second, -depth - 1, child.choices, child.starts, _FRESH, child)
                    )
            if ahead.first < math.inf and (ceiling is None or ahead.first <= ceiling.first):
                heapq.heappush(heap, (ahead.first, second, -depth, label.choices, label.starts, ahead.position, label))
        return Found(None, True, taken)

    def _dominated(self, label: _Label, depth: int, seen: dict[tuple[object, ...], list[_Taken]]) -> bool:
        facts, stages = self._depths[depth], self._problem.stages
        tied = self._tied(label, depth)
        key: tuple[object, ...] = (depth, tuple([label.places[index] for index in facts.open]))
        ends = [
            max([label.finishes[each] for each in group if each not in tied], default=0.0) for group in facts.groups
        ]
        for index in tied:
            stage, choice = stages[index], label.choices[index]
            key = (*key, index, choice, tuple([label.places[parent] for parent, _ in stage.parents]))
            if stage.options[choice].price.windows:
                ready_at = max([label.finishes[parent] for parent, _ in stage.parents], default=0.0)
                key = (*key, label.starts[index], ready_at)
        times = (label.end_at, *[label.starts[index] for index in tied], *ends)
        others = seen.setdefault(key, [])
        for cost_micro, needed_micro, other in others:
            if cost_micro > label.cost_micro or needed_micro > label.needed_micro:
                continue
            earlier_s = 0.0
            for place, (one, own) in enumerate(zip(other, times, strict=True)):
                if one > own:
                    break
                if place and own - one > earlier_s:
                    earlier_s = own - one
            else:
                # Who comes earlier may miss a cheaper window: by at most that much.
                less = math.ceil(facts.slope_micro * earlier_s) + facts.windowed if facts.windowed and earlier_s else 0
                if cost_micro + less <= label.cost_micro and needed_micro + 2 * less <= label.needed_micro:
                    return True
        others.append((label.cost_micro, label.needed_micro, times))
        return False

    def _tied(self, label: _Label, depth: int) -> list[int]:
        """Placed stages that may yet have to start later because of others that want their devices, or because they come
        after one that may."""
        tied: list[int] = []
        stages, wanted = self._problem.stages, self._depths[depth].wanted
        for index, choice in enumerate(label.choices):
            stage = stages[index]
            if choice in self._scarce[index]:
                row, rivals = label.rows[index], self._problem.rivals(index)
                others = sum(
                    [stages[each].devices for each, at in enumerate(label.rows) if at == row and each in rivals]
                ) + sum([stages[each].devices for each in wanted.get(row, ()) if each in rivals])
                if others and stage.devices + others > self._problem.free[row]:
                    tied.append(index)
                    continue
            if tied and any(parent in tied for parent, _ in stage.parents):
                tied.append(index)
        return tied

    def _children(self, stage: Stage, label: _Label, ahead: _Ahead, end_at: float) -> list[tuple[Key, _Label]]:
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
        tolls = sum([toll[label.places[source]] for source, toll in facts.tolls])
        rest_cost, rest_need = rest[0] + label.cost_micro + tolls, rest[1] + label.needed_micro + tolls
        own_tolls = sum([toll[label.places[source]] for source, toll in facts.own_tolls])
        limit, ahead.first, position = ahead.first, math.inf, max(0, ahead.position)
        if end_at > self._deadline_at or rest_need + own_tolls + bounds.need.least[index][at] - 1 > self._money:
            return []
        children: list[tuple[Key, _Label]] = []
        scarce = self._scarce[index]
        priced = [
            (table, flows[index].onward, *self._priced_rest(table, flows[index], facts, label))
            for table, flows in self._flows
        ]
        below_cost, below_need, below_time = (table.below[index] for table in (bounds.cost, bounds.need, bounds.time))
        least_time = bounds.time.here[index]
        own_deadline_at = self._deadline_at if stage.deadline_at is None else min(self._deadline_at, stage.deadline_at)
        by_finish = self._objective is Objective.FINISH
        rest_first = rest_need if self._objective is Objective.NEED else rest_cost
        ordered = self._ordered(index, at)
        while position < len(ordered):
            least, choice = ordered[position]
            at_least = max(end_at, ready_at + least - TRACE_S) if by_finish else whole(rest_first + own_tolls + least)
            if at_least > limit:
                ahead.first, ahead.position = at_least, position
                break
            position += 1
            option = stage.options[choice]
            least_end_at = ready_at + least_time[choice][at] + below_time[choice]
            if least_end_at - TRACE_S > self._deadline_at or least_end_at == math.inf:
                continue
            run = problem.run(stage, choice, places)
            if run is None:
                continue
            for start_at in problem.starts(stage, choice, ready_at):
                finish_at = start_at + run.high_s
                end = max(end_at, finish_at, finish_at + below_time[choice] - TRACE_S)
                if finish_at > own_deadline_at or end > self._deadline_at:
                    continue
                cost, need = problem.money(stage, choice, run, start_at)
                if stage.budget_micro is not None and need > stage.budget_micro:
                    continue
                least_need = whole(rest_need + need + below_need[choice])
                if least_need > self._money:
                    continue
                least_cost = whole(rest_cost + cost + below_cost[choice])
                for table, onward, rest_priced, owed_s in priced:
                    money = cost if table is self._priced else need
                    left_s = owed_s + onward * (self._deadline_at - finish_at)
                    bound = whole(rest_priced + money + table.below[index][choice] - table.price * left_s)
                    if table is self._priced:
                        least_cost = max(least_cost, bound)
                    else:
                        least_need = max(least_need, bound)
                if least_need > self._money:
                    continue
                if choice in scarce and option.row in label.rows:
                    end = max(end, self._crowded_end(label, stage, choice, start_at, finish_at) - TRACE_S)
                    if end > self._deadline_at:
                        continue
                child = _Label(
                    (*label.choices, choice),
                    (*label.starts, start_at),
                    (*label.finishes, finish_at),
                    (*label.places, problem.place_of(index, option.site)),
                    (*label.rows, option.row),
                    label.cost_micro + cost,
                    label.needed_micro + need,
                    max(label.end_at, finish_at),
                )
                children.append((self._objective.key(least_cost, least_need, end), child))
        return children

    def _crowded_end(self, label: _Label, stage: Stage, choice: int, start_at: float, finish_at: float) -> float:
        """When the pipeline ends at the earliest because of what its stages want of the devices of one offer."""
        problem, below, row = self._problem, self._bounds.time.below, stage.options[choice].row
        wanted = [(start_at, finish_at, stage.devices, below[stage.index][choice])]
        for index, at in enumerate(label.rows):
            if at == row:
                after_s = below[index][label.choices[index]]
                wanted.append((label.starts[index], label.finishes[index], problem.stages[index].devices, after_s))
        if sum([devices for _, _, devices, _ in wanted]) <= problem.free[row]:
            return 0.0
        if row not in self._devices:
            self._devices[row] = Devices(problem, stage, choice)
        wanted.sort(reverse=True)
        end_at, work, least_after_s = 0.0, 0.0, math.inf
        for begin_at, done_at, devices, after_s in wanted:
            work += devices * (done_at - begin_at)
            least_after_s = min(least_after_s, after_s)
            end_at = max(end_at, self._devices[row].done_at(begin_at, work) + least_after_s)
        return end_at

    def _ordered(self, index: int, at: int) -> list[tuple[float, int]]:
        """The stage's offers by the least that they and everything below come to, with its primary input at a place."""
        table = _tables(self._bounds, self._objective)[0]
        key = (index, at)
        if key not in self._orders:
            here, below = table.here[index], table.below[index]
            figures = [
                (here[choice][at if len(here[choice]) > 1 else 0] + below[choice], choice)
                for choice in self._choices[index]
            ]
            self._orders[key] = sorted(figures)
        return self._orders[key]

    def _end_of_others(self, label: _Label, facts: _Depth, left_micro: float) -> float:
        """When the pipeline ends at the earliest because of what else is placed and of what waits for it.

        Args:
            left_micro: By how much the label may still become dearer.
        """
        time = self._bounds.time
        ends = []
        for each, source in facts.waiting:
            if source == OUTSIDE:
                ends.append(self._problem.now_at + time.least[each][0])
            else:
                ends.append(label.finishes[source] + time.least[each][label.places[source]])
        for join in facts.joins:
            seconds = join.seconds[0 if join.primary == OUTSIDE else label.places[join.primary]]
            more_micro = [0.0] * len(seconds)
            ready_at = 0.0 if join.primary == OUTSIDE else label.finishes[join.primary]
            for source, moving_s, egress in join.others:
                place = label.places[source]
                ready_at = max(ready_at, label.finishes[source])
                seconds = list(map(add, seconds, moving_s[place]))
                more_micro = list(map(add, more_micro, egress[place]))
            ends.append(
                ready_at
                + min(
                    [at for at, more in zip(seconds, more_micro, strict=True) if more <= left_micro], default=math.inf
                )
            )
        return max(label.end_at, max(ends, default=0.0) - TRACE_S)

    def _priced_rest(self, table: Table, flow: _Flow, facts: _Depth, label: _Label) -> tuple[float, float]:
        """Least priced figure of what waits besides this stage, and the seconds until the deadline to set against it."""
        rest = label.cost_micro if table is self._priced else label.needed_micro
        rest += sum(
            [table.least[each][0 if source == OUTSIDE else label.places[source]] for each, source in facts.waiting]
        )
        rest += sum([toll[label.places[source]] for source, toll in facts.tolls])
        owed_s = flow.fresh * (self._deadline_at - self._problem.now_at)
        owed_s += sum([share * (self._deadline_at - label.finishes[source]) for source, share in flow.crossing])
        return rest, owed_s


def _tables(bounds: Bounds, objective: Objective) -> tuple[Table, Table]:
    """What is made least, and what goes into the limits."""
    if objective is Objective.FINISH:
        return bounds.time, bounds.need
    return (bounds.need if objective is Objective.NEED else bounds.cost), bounds.time


def _depths(
    problem: Problem, bounds: Bounds, choices: Sequence[Sequence[int]], scarce: Sequence[frozenset[int]]
) -> list[_Depth]:
    """What there is to know about taking up each stage."""
    found: list[_Depth] = []
    wanted: dict[int, list[int]] = {}
    windowed, slope_micro = 0, 0.0
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
            _Depth(
                waiting=tuple(
                    [(each.index, primary) for each in left[1:] if (primary := bounds.primary[each.index]) < index]
                ),
                joins=tuple([_join(bounds, each, index, choices[each.index]) for each in joins]),
                open=tuple(sorted(source for group in groups for source in group)),
                groups=groups,
                tolls=tuple(
                    [(one, toll.tolist()) for (one, reader), toll in bounds.tolls.items() if one < index < reader]
                ),
                own_tolls=tuple(
                    [(one, toll.tolist()) for (one, reader), toll in bounds.tolls.items() if reader == index]
                ),
                windowed=windowed,
                slope_micro=slope_micro,
                wanted=wanted,
            )
        )
    return found[::-1]


def _join(bounds: Bounds, stage: Stage, index: int, choices: Sequence[int]) -> _Join:
    primary = bounds.primary[stage.index]
    return _Join(
        primary=primary if primary < index else OUTSIDE,
        seconds=bounds.seconds_left(stage.index, choices, primary < index),
        others=tuple(
            (source, *bounds.moving(source, stage.index, size, choices))
            for source, size in stage.parents
            if source < index and source != primary
        ),
    )


def _flow(problem: Problem, table: Table, index: int) -> _Flow:
    flow = table.flow
    return _Flow(
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


def best_schedule(problem: Problem, bounds: Bounds, objective: Objective, limits: Limits) -> Found:
    """The best schedule within the limits."""
    return Search(problem, bounds, objective, limits).run()

"""The cheapest plan of a pipeline: best-first search over its stages in order, with bounds and dominance.

A *label* is a plan of the first stages. Labels are taken up by the least that they can come to (``bounds``), so the
first complete one is the best: by the objective, then by the other figure, then by the names of its offers. A label is
dropped when another one with its results at the same places is no dearer and no later. Two cases need care:

* Prices with windows: to be later can then be cheaper, so an earlier label must be cheaper by what that can be worth.
* Devices that stages of the pipeline could want from each other: the search first lets each stage have them, at the least price
  of any later start, which can only be too cheap and too early. When a complete label turns out to want more devices than
  there are, or has such a price, its offers are kept and all orders of its stages are tried (``sharing``); the best goes
  back among the labels. Until then, labels compare only when the stages in question are the same and have the same offers.

Most pipelines need a few dozen labels. When one needs more, the options that cannot be in the best plan are left out
(``narrowing``), and what is left is searched again with the bounds and the dominance that this makes possible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from heapq import heappop, heappush

from infra.core.placement.pipelines.bounds import Bounds
from infra.core.placement.pipelines.dominance import Dominance
from infra.core.placement.pipelines.growth import Ahead, Growth
from infra.core.placement.pipelines.labels import Label, depths_of
from infra.core.placement.pipelines.narrowing import narrowed
from infra.core.placement.pipelines.objective import TRACE_S, Key, Objective, whole
from infra.core.placement.pipelines.problem import Problem, scarce_among
from infra.core.placement.pipelines.schedule import Limits, Schedule, in_order, one_after_the_other
from infra.core.placement.pipelines.sharing import TURNS_AT_WINDOWS, Sharing, crowds, fits
from infra.core.placement.pipelines.tables import Table

MOST_LABELS = 200_000
"""Labels that are taken up before the search gives up its proof."""

MOST_TURNS = 1_000_000
"""Turns of stages that want each other's devices that are tried, in all, before the search gives up its proof."""

CHEAP_TRIES = 30
"""Labels that are taken up before anything is left out: most pipelines need no more."""


_STEPS = (0.0, 0.1, 0.5, math.inf)
"""By how much more than the least the plans may come to that are looked for, one after the other."""

_ROUNDING_MICRO = 20
"""Bounds are a few micro-dollars below what they bound, where amounts are rounded up or prices have windows."""


@dataclass(frozen=True, slots=True)
class Found:
    """The best schedule, ``None`` when there is none, and whether that is proven."""

    schedule: Schedule | None
    proven: bool
    labels: int


_Item = tuple[float, float, int, tuple[int, ...], tuple[float, ...], int, Label]
"""A label by its key, its depth (deeper first), its offers and starts; and how many of its next offers were tried."""

_FRESH, _CROWDED, _WHOLE = -1, -2, -3
"""Instead of a position: a label that was not taken up yet, a complete one whose stages are known to be in each other's way,
and one that holds a schedule, which may be like another label."""


class Search:
    """One search. Use :func:`best_schedule`."""

    def __init__(
        self, problem: Problem, bounds: Bounds, objective: Objective, limits: Limits, given: Schedule | None
    ) -> None:
        self._given = given
        self._problem, self._bounds, self._objective, self._limits = problem, bounds, objective, limits
        self._timed = objective is Objective.FINISH
        self._priced: tuple[Table | None, Table | None] = (None, None)
        self._shared: dict[tuple[int, ...], Schedule] = {}
        self._turns_left = MOST_TURNS
        self._among([range(len(stage.options)) for stage in problem.stages], [stage.scarce for stage in problem.stages])

    def _among(self, choices: Sequence[Sequence[int]], scarce: Sequence[frozenset[int]]) -> None:
        """Search among these options of each stage only."""
        problem, bounds, limits = self._problem, self._bounds, self._limits
        depths = depths_of(problem, bounds, choices, scarce)
        self._growth = Growth(problem, bounds, self._objective, limits, choices, scarce, depths, *self._priced)
        self._dominance_of = partial(Dominance, problem, depths, scarce)

    def run(self) -> Found:
        """Search; when that takes long, search among what can still be the best plan.

        Most plans come to no more than the bounds say. So plans that come to just that are looked for first, then those that
        come to a little more, and so on: the lower the ceiling, the more options are left out, and the better the bounds
        of what is left.
        """
        if not self._timed:
            found = self._first_complete(CHEAP_TRIES, None)
            if found is not None:
                return found
        self._bounds = every = self._bounds.with_tolls()
        self._price()
        least = self._least()
        if math.isinf(least):
            return Found(None, True, 0)
        known, priced = self._known(), self._priced[self._objective is Objective.NEED]
        for step in range(len(_STEPS)):
            ceiling = Key(self._raised(least, step), math.inf, self._timed)
            last = step + 1 == len(_STEPS)
            if known is not None and self._objective.of(known) <= ceiling:
                ceiling, last = self._objective.of(known), True
            left = narrowed(every, self._objective, self._limits, ceiling, priced)
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
        bounds, objective = self._bounds, self._objective
        least = bounds.root(bounds.least_of(objective))
        if self._timed:
            return self._problem.now_at + least
        priced = self._priced[objective is Objective.NEED]
        if priced is not None and self._limits.deadline_at is not None:
            left_s = self._limits.deadline_at - self._problem.now_at
            least = max(least, bounds.root(priced) - priced.price * left_s)
        return whole(least)

    def _raised(self, least: float, step: int) -> float:
        """The ceiling of a step."""
        if self._timed:
            return least + _STEPS[step] * max(1.0, least - self._problem.now_at)
        return whole(least * (1.0 + _STEPS[step])) + _ROUNDING_MICRO if step + 1 < len(_STEPS) else math.inf

    def _price(self) -> None:
        """Make the tables that price time, if there is a deadline."""
        if self._limits.deadline_at is None:
            return
        bounds, deadline_at, by_need = self._bounds, self._limits.deadline_at, self._objective is Objective.NEED
        # What the plan needs is priced when the money that there is may well be too little for it.
        short = not bounds.plenty(self._limits.money_micro)
        self._priced = (
            None if by_need else bounds.priced(False, deadline_at),
            bounds.priced(True, deadline_at) if by_need or short else None,
        )

    def _known(self) -> Schedule | None:
        """The best of some plans that are quickly found, if any is within the limits."""
        problem, limits = self._problem, self._limits
        bounds = self._bounds
        tables = [bounds.least_of(self._objective), bounds.need if self._timed else bounds.time, *self._priced]
        order = range(len(problem.stages))
        plans = {bounds.best_options(table) for table in tables if table is not None}
        found = [in_order(problem, choices, order, limits) for choices in sorted(plans)]
        possible = [each for each in (self._given, *found, *self._shared.values()) if each is not None]
        if not possible:
            greedy, placed = one_after_the_other(problem, limits)
            return greedy if placed == len(problem.stages) else None
        return min(possible, key=self._objective.of)

    def _first_complete(self, most: int, ceiling: Key | None) -> Found | None:
        """The best complete label, none worse than the ceiling; ``None`` when ``most`` labels were not enough."""
        problem, objective, timed = self._problem, self._objective, self._timed
        dominance, whole_depth = self._dominance_of(), len(problem.stages)
        start = Label((), (), (), (), (), 0, 0, problem.now_at, (), ())
        heap: list[_Item] = [(0.0, 0.0, 0, (), (), _FRESH, start)]
        waiting: set[tuple[int, ...]] = set()
        taken = 0
        while heap:
            first, second, *_, position, label = heappop(heap)
            depth = len(label.choices)
            if label.resolved is not None:
                return Found(label.resolved, True, taken)
            if depth == whole_depth:
                crowded = crowds(problem, label.choices)
                schedule = Schedule(label.choices, label.starts, label.finishes, label.cost_micro, label.needed_micro)
                if not label.loose and (not crowded or fits(problem, schedule, crowded)):
                    return Found(schedule, True, taken)
                if position == _FRESH and label.choices in waiting:
                    continue
                waiting.add(label.choices)
                sharing = Sharing(problem, label.choices, crowded, self._limits, objective)
                if position == _FRESH:
                    key = objective.key(label.cost_micro, label.needed_micro, sharing.least_end_at() - TRACE_S)
                    if (key.first, key.second) > (first, second):
                        heappush(heap, (key.first, key.second, -depth, label.choices, label.starts, _CROWDED, label))
                        continue
                best = self._shared.get(label.choices) or self._share(sharing, ceiling)
                # What is worse than the ceiling need not be the best of its kind: the search for it was cut short.
                if best is not None and (ceiling is None or not objective.of(best).is_worse(ceiling)):
                    key = objective.of(best)
                    self._shared[label.choices] = best
                    ceiling = key if ceiling is None else min(key, ceiling)
                    label.resolved = best
                    heappush(heap, (key.first, key.second, -depth, label.choices, best.starts, _WHOLE, label))
                continue
            taken += 1  # a label that is taken up again counts again
            if taken > most:
                return None
            if position == _FRESH and dominance.drops(label):
                continue
            left_micro = math.inf if ceiling is None or timed else ceiling.first - first + 1.0
            end_at = self._growth.end_of(label, left_micro)
            if end_at == math.inf:
                continue
            if position == _FRESH and end_at > (first if timed else second):
                key = Key(end_at, second, True) if timed else Key(first, end_at, False)
                if ceiling is None or not key.is_worse(ceiling):
                    heappush(heap, (key.first, key.second, -depth, label.choices, label.starts, 0, label))
                continue
            ahead = Ahead(first, position)
            for key, child in self._growth.children(label, ahead, end_at, ceiling):
                heappush(heap, (key.first, key.second, -depth - 1, child.choices, child.starts, _FRESH, child))
            if ahead.first < math.inf and (ceiling is None or ahead.first <= ceiling.first):
                heappush(heap, (ahead.first, second, -depth, label.choices, label.starts, ahead.position, label))
        return Found(None, True, taken)

    @property
    def tried_all(self) -> bool:
        """Whether all orders of stages that want each other's devices were tried that might have been better."""
        return self._turns_left > 0

    def _share(self, sharing: Sharing, ceiling: Key | None) -> Schedule | None:
        # When no more may be tried, the first order that comes to mind still is better than none.
        shared = sharing.best(ceiling, max(self._turns_left, TURNS_AT_WINDOWS * (len(self._problem.stages) + 1)))
        self._turns_left -= shared.turns
        return shared.schedule


def best_schedule(
    problem: Problem, bounds: Bounds, objective: Objective, limits: Limits, known: Schedule | None = None
) -> Found:
    """The best schedule within the limits.

    Args:
        known: A schedule within the limits, if there is one at hand.
    """
    search = Search(problem, bounds, objective, limits, known)
    found = search.run()
    return found if search.tried_all else replace(found, proven=False)

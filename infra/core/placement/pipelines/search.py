"""The cheapest plan of a pipeline: best-first search over its stages in order, with bounds and dominance.

A *label* is a plan of the first stages. Labels are taken up by the least that they can come to (``bounds``), so the
first complete one is the best: by the objective, then by the other figure. A label is dropped when another one with its results
at the same places is no dearer and no later. So of plans that are equal in both figures not always the first by the names of its
offers is left, but always the same one. Two cases need care:

* Prices with windows: to be later can then be cheaper, so an earlier label must be cheaper by what that can be worth.
* Devices that stages of the pipeline could want from each other: the search first lets each stage have them, at the least price
  of any later start, which can only be too cheap and too early. When a complete label turns out to want more devices than
  there are, or has such a price, its offers are kept and all orders of its stages are tried (``sharing``); the best goes
  back among the labels. Until then, labels compare only when the stages in question are the same and have the same offers.

Most pipelines need a few dozen labels. When a hundred are not enough, the options that cannot be in the best plan are left out
(``narrowing``), and what is left is searched again with the bounds and the dominance that this makes possible.

What is done for each label is compiled: its bounds (``least``), the next labels (``growth``), their order (``labels``), and
dominance. ``labelling`` stands between that and the estimates and prices, which are those of single runs and are not compiled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from infra.core.placement.pipelines.arrays import Flags
from infra.core.placement.pipelines.bounds import Bounds
from infra.core.placement.pipelines.labelling import Labelling
from infra.core.placement.pipelines.narrowing import narrowed
from infra.core.placement.pipelines.objective import TRACE_S, Key, Objective, whole
from infra.core.placement.pipelines.outlook import outlook_of
from infra.core.placement.pipelines.problem import Problem
from infra.core.placement.pipelines.schedule import Limits, Schedule, in_order, one_after_the_other
from infra.core.placement.pipelines.sharing import TURNS_AT_WINDOWS, Sharing, crowds, fits
from infra.core.placement.pipelines.tables import Table

MOST_LABELS = 200_000
"""Labels that are taken up before the search gives up its proof."""

MOST_TURNS = 1_000_000
"""Turns of stages that want each other's devices that are tried, in all, before the search gives up its proof."""

CHEAP_TRIES = 100
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
        self._reached = -math.inf
        self._among(bounds.options[:, :, 0])

    def _among(self, left: Flags) -> None:
        """Search among these options of each stage only: ``[stages, choices]``."""
        self._outlook = outlook_of(self._bounds, self._objective, self._limits, left, *self._priced)

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
            return Found(None, True)
        known, priced = self._known(), self._priced[self._objective is Objective.NEED]
        for step in range(len(_STEPS)):
            ceiling = Key(self._raised(least, step), math.inf, self._timed)
            last = step + 1 == len(_STEPS)
            if known is not None and self._objective.of(known) <= ceiling:
                ceiling, last = self._objective.of(known), True
            narrow = narrowed(every, self._objective, self._limits, ceiling, priced)
            if narrow is not None:
                left, self._bounds = narrow
                self._price()
                self._among(left)
                found = self._first_complete(MOST_LABELS, ceiling)
                if found is None:
                    return Found(self._any() if known is None else known, False)
                if found.schedule is not None:
                    return found
            if last:
                break
        return Found(known, True)

    def _least(self) -> float:
        """The least that any plan comes to, as far as the bounds and the labels say."""
        bounds, objective = self._bounds, self._objective
        least = bounds.root(bounds.least_of(objective))
        if self._timed:
            return max(self._reached, self._problem.now_at + least)
        priced = self._priced[objective is Objective.NEED]
        if priced is not None and self._limits.deadline_at is not None:
            left_s = self._limits.deadline_at - self._problem.now_at
            least = max(least, bounds.root(priced) - priced.price * left_s)
        return max(self._reached, whole(least))

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
        return min(possible, key=self._objective.of, default=None)

    def _any(self) -> Schedule | None:
        """Instead of the best plan, when it takes too long to find: one stage after the other."""
        greedy, placed = one_after_the_other(self._problem, self._limits)
        return greedy if placed == len(self._problem.stages) else None

    def _first_complete(self, most: int, ceiling: Key | None) -> Found | None:
        """The best complete label, none worse than the ceiling; ``None`` when ``most`` labels were not enough."""
        problem, objective, facts = self._problem, self._objective, self._bounds.facts
        labelling = Labelling(problem, self._bounds, self._outlook, ceiling, most)
        shared: dict[int, Schedule] = {}
        waiting: dict[tuple[int, ...], Sharing] = {}
        put_back: dict[int, Schedule] = {}
        for label in labelling.complete():
            if label in shared:
                return Found(shared[label], True)
            schedule = put_back.get(label)
            if schedule is None:
                schedule = labelling.schedule(label)
                crowded = crowds(problem, schedule.choices)
                if not labelling.is_loose() and (not crowded or fits(problem, schedule, crowded)):
                    return Found(schedule, True)
                if schedule.choices in waiting:
                    continue
                sharing = Sharing(problem, facts, schedule.choices, crowded, self._limits, objective)
                waiting[schedule.choices] = sharing
                end_at = sharing.least_end_at() - TRACE_S
                key = objective.key(schedule.cost_micro, schedule.needed_micro, end_at)
                if key[:2] > labelling.least(label):
                    put_back[label] = schedule
                    labelling.put_back(label, key)
                    continue
            sharing = waiting[schedule.choices]
            best = self._shared.get(schedule.choices) or self._share(sharing, ceiling)
            # What is worse than the ceiling need not be the best of its kind: the search for it was cut short.
            if best is not None and (ceiling is None or not objective.of(best).is_worse(ceiling)):
                key = objective.of(best)
                self._shared[schedule.choices] = shared[label] = best
                ceiling = key if ceiling is None else min(key, ceiling)
                labelling.lower(ceiling)
                labelling.put_back(label, key)
        if not labelling.gave_up:
            return Found(None, True)
        self._reached = max(self._reached, labelling.reached())
        return None

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

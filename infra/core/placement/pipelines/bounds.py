"""What the rest of a pipeline costs and takes at least, once some of its stages have their place.

Each stage with inputs is charged for the way from one of them, its *primary* input. Then every stage depends on one place
only, and the least cost of all that hangs below a place is a sum over a forest, found from its leaves up. The bound is exact for
chains and trees without windows, deadlines and budgets.

The egress of the other inputs depends on two places. Each site has a *toll* for such an input, between nothing and what its
egress would be there: the stage that makes it pays the toll of the place where it lies, and the stage that reads it gets back the
toll of its own site. Both together are never more than what is paid: nothing at the same site, and at another one at
most the egress of the first. Tolls are chosen by looking at each site where the reader could be: no toll there, all elsewhere.

A deadline makes cheap and slow offers useless, which the sum does not see. So a second table prices time as well
(Lagrangian relaxation): send one unit of flow through the pipeline from its first stages to its last. The
stages on every path together fit between the start and the deadline, so for any price ``p`` of a second and flow ``f`` of
a stage the least of ``cost + p · f · time``, less ``p`` times what is left until the deadline, is a lower bound too.
The best ``p`` is found by a line search, as the bound is concave in it; the flow starts even and moves towards the paths that
take longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np

from infra.core.placement.pipelines.arrays import Flags, Floats, Whole
from infra.core.placement.pipelines.facts import facts_of
from infra.core.placement.pipelines.figures import Figures, Links, figures_of, sites_of
from infra.core.placement.pipelines.forest import (
    Forest,
    best_options,
    best_price,
    earliest,
    root,
    totals,
    upwards,
)
from infra.core.placement.pipelines.objective import TRACE_S, Objective
from infra.core.placement.pipelines.problem import OUTSIDE, Problem
from infra.core.placement.pipelines.runs import RunTable
from infra.core.placement.pipelines.tables import Flow, Table, even_flow, primary_of, through_of

_COARSE, _FINE = np.arange(-3.0, 6.0), np.arange(-0.75, 1.0, 0.25)
"""Prices of a second that are tried, as powers of four: around the mean price of a second, then around the best."""


_PLENTY = 10.0
"""So many times the least that any plan needs is more than enough."""

_FLOWS = 4
"""Flows that are tried to price time."""


class Bounds:
    """Tables of least cost, need and time for one problem, and the flow that prices time.

    Attributes:
        primary: Index of each stage's primary input, or ``OUTSIDE``.
        options: Which options there are, ``[stages, choices, 1] bool``: stages have fewer than the one with the most.
        tolls: Of inputs that are not primary, micro-dollars as ``[stage that reads, stage that makes, places] float64``.
        facts: Of the problem.
        runs: Those that are known of it.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem, self._links, self.now_at = problem, Links(problem), problem.now_at
        self.primary = [primary_of(stage) for stage in problem.stages]
        counts = np.array([len(stage.options) for stage in problem.stages])
        self.options: Flags = (np.arange(counts.max()) < counts[:, None])[:, :, None]
        self._sites = sites_of(problem, self.options.shape[1])
        self._forest = _forest_of(problem, self.primary, self._sites)
        self.facts = facts_of(problem, self._forest, self._sites, self._links.seconds, self._links.micro)
        self.runs = RunTable(len(counts))
        self._forks = any(len(each) > 1 for each in problem.children)
        self._hints: dict[bool, tuple[Flow, float]] = {}
        self.tolls: Floats = np.zeros((len(counts), len(counts), len(problem.sites)))
        self._work_out(figures_of(problem, self._forest, self._sites, self._links))
        self._least_need_micro = self.root(self.need)

    def _work_out(self, figures: Figures) -> None:
        self._figures = figures
        self._priced: dict[tuple[bool, float], Table | None] = {}
        self._money: dict[bool, Table] = {}
        self.time = Table(figures.time, *upwards(self._forest, figures.time, self.tolls, False))

    def plenty(self, money_micro: float) -> bool:
        """Whether there is so much more money than any plan needs at least that bounds on needs are not worth their time."""
        return money_micro > _PLENTY * self._least_need_micro

    @property
    def cost(self) -> Table:
        """Least costs."""
        return self._of_money(False)

    @property
    def need(self) -> Table:
        """Least needs."""
        return self._of_money(True)

    def _of_money(self, of_need: bool) -> Table:
        if of_need not in self._money:
            here = self._tolled(of_need, self.tolls)
            self._money[of_need] = Table(here, *upwards(self._forest, here, self.tolls, True))
        return self._money[of_need]

    def _tolled(self, of_need: bool, tolls: Floats) -> Floats:
        """Costs or needs less the tolls that each stage gets back."""
        money = self._figures.need if of_need else self._figures.cost
        return money - np.take_along_axis(tolls.sum(axis=1), self._sites, axis=1)[:, :, None]

    def among(self, left: Flags, ready_at: Floats, deadline_at: float) -> Bounds:
        """Bounds for plans with these options only, where no stage starts before its inputs can be there or too late.

        Args:
            left: ``[stages, choices, places]``, for each stage and each place that is left to its primary input at least one true.
            ready_at: From :meth:`ends`.
        """
        below = self.time.below
        latest_at = deadline_at - np.where(np.isfinite(below), below, 0.0) + TRACE_S
        found = copy(self)
        found._work_out(self._figures.among(self._problem, left, ready_at, latest_at))
        return found

    def with_tolls(self) -> Bounds:
        """The same with the tolls that make the least cost of the whole pipeline highest; the same object if none do."""
        best, highest, most = self.tolls, self.root(self.cost), self._links.micro.max(axis=0)
        left = np.isfinite(self._figures.cost).any(axis=2)
        for stage in self._problem.stages:
            index, others = stage.index, [each for each in stage.parents if each[0] != self.primary[stage.index]]
            if not any(size for _, size in others):
                continue
            before = best
            for site in np.unique(self._sites[index][left[index]]).tolist():
                tolls = before.copy()
                for parent, size in others:
                    tolls[index, parent] = size * most
                    tolls[index, parent, site] = 0.0
                _, least = upwards(self._forest, self._tolled(False, tolls), tolls, True)
                bound = root(self._forest, least)
                if bound > highest:
                    best, highest = tolls, bound
        if best is self.tolls:
            return self
        tolled = copy(self)
        tolled.tolls = best
        tolled._work_out(self._figures)
        return tolled

    def best_options(self, table: Table) -> tuple[int, ...]:
        """The options that come to the least figure of the whole pipeline; of equal ones the fastest."""
        return tuple(best_options(self._forest, table.here, table.below, self.time.here).tolist())

    def priced(self, of_need: bool, deadline_at: float) -> Table | None:
        """The table whose price of a second makes the bound of the whole pipeline highest; ``None`` when none helps."""
        key = (of_need, deadline_at)
        if key not in self._priced:
            self._priced[key] = self._best_priced(of_need, deadline_at)
        return self._priced[key]

    def _best_priced(self, of_need: bool, deadline_at: float) -> Table | None:
        """Prices by the flow that was best among more options, at first the even one; then, as long as that helps, by more flow
        along the plan's longest path."""
        forest, time = self._forest, self.time.here
        money = self._tolled(of_need, self.tolls)
        seconds = np.where(np.isfinite(time), time, 0.0)
        left_s = deadline_at - self._problem.now_at
        highest, best = self.root(self.need if of_need else self.cost), None
        mean = max(1.0, highest) / max(1.0, left_s)
        flow, price = self._hints.get(of_need, (even_flow(self._problem), 0.0))
        for step in range(_FLOWS if self._forks else 1):
            flowing = np.array(through_of(self._problem, flow))[:, None, None] * seconds
            for grid in (_COARSE, _FINE) if not price else (_FINE,):
                prices = (price or mean) * 4.0**grid
                bound, place = best_price(forest, money, flowing, self.tolls, prices, left_s)
                price = float(prices[place])
            here = money + price * flowing
            below, least = upwards(forest, here, self.tolls, True)
            if bound > highest:
                highest, best = bound, Table(here, below, least, price, flow)
            elif step:
                break
            longest, share = self._longest_path(best_options(forest, here, below, time).tolist()), 1.0 / (step + 2)
            flow = {arc: (1.0 - share) * each + share * (arc in longest) for arc, each in flow.items()}
        if best is not None:
            self._hints = {**self._hints, of_need: (best.flow, best.price)}
        return best

    def _longest_path(self, choices: Sequence[int]) -> set[tuple[int, int]]:
        """The arcs (stage, child), and (``OUTSIDE``, first stage), along which a plan takes longest."""
        ends: list[float] = []
        before: list[int] = []
        for stage, choice, primary in zip(self._problem.stages, choices, self.primary, strict=True):
            last = max([parent for parent, _ in stage.parents], key=ends.__getitem__, default=OUTSIDE)
            place = 0 if primary == OUTSIDE else int(self._forest.kept[primary, choices[primary]])
            before.append(last)
            ends.append(
                (0.0 if last == OUTSIDE else ends[last]) + float(self._figures.time[stage.index, choice, place])
            )
        path, at = set(), ends.index(max(ends))
        while at != OUTSIDE:
            path.add((before[at], at))
            at = before[at]
        return path

    def least_of(self, objective: Objective) -> Table:
        """The table of what is made least."""
        if objective is Objective.FINISH:
            return self.time
        return self.need if objective is Objective.NEED else self.cost

    def root(self, table: Table) -> float:
        """Least figure of the whole pipeline."""
        return root(self._forest, table.least)

    def totals(self, table: Table) -> Floats:
        """Least figure of the whole pipeline with a stage at each option and its primary input at each place:
        ``[stages, choices, places]``."""
        return totals(self._forest, table.here, table.below, table.least)

    def ends(self) -> tuple[Floats, Floats]:
        """When the inputs of each stage are there at the earliest, ``[stages]``, and when the pipeline ends at the earliest with
        the stage at each of its options and its primary input at each place: ``[stages, choices, places]``."""
        return earliest(self._forest, self.time.here, self.time.below, self.now_at)


def _forest_of(problem: Problem, primary: Sequence[int], sites: Whole) -> Forest:
    kept = np.array([stage.kept for stage in problem.stages])[:, None]
    waits = np.zeros((len(primary), len(primary)), dtype=np.bool_)
    for stage in problem.stages:
        waits[stage.index, [parent for parent, _ in stage.parents]] = True
    return Forest(np.array(primary, dtype=np.int64), np.where(kept == OUTSIDE, sites, kept), waits)

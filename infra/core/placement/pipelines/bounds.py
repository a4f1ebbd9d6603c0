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

from collections.abc import Mapping, Sequence
from copy import copy

import numpy as np

from infra.core.placement.pipelines.figures import Figures, Flags, Floats, Links, figures_of
from infra.core.placement.pipelines.objective import TRACE_S, Objective
from infra.core.placement.pipelines.problem import OUTSIDE, Problem
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
        tolls: Of inputs that are not primary, as (stage that makes it, stage that reads it): micro-dollars by site.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem, links, self.now_at = problem, Links(problem), problem.now_at
        self.primary = [primary_of(stage) for stage in problem.stages]
        self._kept = [
            np.array([problem.place_of(stage.index, option.site) for option in stage.options], dtype=np.intp)
            for stage in problem.stages
        ]
        self._sites = [np.array([option.site for option in stage.options], dtype=np.intp) for stage in problem.stages]
        self._links = links
        self._forks = any(len(each) > 1 for each in problem.children)
        self._hints: dict[bool, tuple[Flow, float]] = {}
        self.tolls: dict[tuple[int, int], Floats] = {}
        self._work_out(
            [
                figures_of(problem, stage, primary, links)
                for stage, primary in zip(problem.stages, self.primary, strict=True)
            ]
        )
        self._least_need_micro = self.root(self.need)

    def _work_out(self, figures: list[Figures]) -> None:
        self._figures = figures
        self._priced: dict[tuple[bool, float], Table | None] = {}
        self._money: dict[bool, Table] = {}
        self.time = self._table([each.time for each in figures], sums=False)

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
            money = [each.need if of_need else each.cost for each in self._figures]
            self._money[of_need] = self._table(self._tolled(money, self.tolls), sums=True)
        return self._money[of_need]

    def among(self, left: Sequence[Flags], ready_at: Sequence[float], deadline_at: float) -> Bounds:
        """Bounds for plans with these options only, where no stage starts before its inputs can be there or too late.

        Args:
            left: ``[choices, places]`` for each stage, for each place that is left to its primary input at least one true.
            ready_at: From :meth:`ends`.
        """
        figures = []
        for stage, own, each, at in zip(self._problem.stages, self._figures, left, ready_at, strict=True):
            below = self.time.arrays[1][stage.index]
            latest_at = deadline_at - np.where(np.isfinite(below), below, 0.0) + TRACE_S
            figures.append(own.among(stage, each, at, latest_at))
        found = copy(self)
        found._work_out(figures)
        return found

    def seconds_left(self, stage: int, choices: Sequence[int], by_place: bool) -> list[list[float]]:
        """Least seconds from a stage's start to the end of the pipeline, by [place of its primary input][choice].

        Args:
            by_place: Else there is one row, for any place.
        """
        here, below, _ = self.time.arrays
        left = (here[stage] + below[stage][:, None])[choices]
        return (left if by_place else left.min(axis=1, keepdims=True)).T.tolist()

    def moving(
        self, source: int, reader: int, size: int, choices: Sequence[int]
    ) -> tuple[list[list[float]], list[list[float]]]:
        """Seconds, and micro-dollars beyond the tolls, for moving an input to a stage's options, by [place][choice]."""
        sites = self._sites[reader][choices]
        egress = size * self._links.micro[sites].T
        toll = self.tolls.get((source, reader))
        if toll is not None:
            egress = egress - toll[:, None] + toll[sites]
        return (size * self._links.seconds[sites].T).tolist(), egress.tolist()

    def with_tolls(self) -> Bounds:
        """The same with the tolls that make the least cost of the whole pipeline highest; the same object if none do."""
        found, highest, money = self.tolls, self.root(self.cost), [each.cost for each in self._figures]
        for stage in self._problem.stages:
            others = [(parent, size) for parent, size in stage.parents if size and parent != self.primary[stage.index]]
            open_options = np.isfinite(self._figures[stage.index].cost).any(axis=1).tolist()
            sites = sorted({option.site for option, left in zip(stage.options, open_options, strict=True) if left})
            if not others:
                continue
            all_but_one = self._links.micro.max(axis=0) * (
                np.arange(len(self._problem.sites)) != np.array(sites)[:, None]
            )
            tried = {**found, **{(parent, stage.index): size * all_but_one for parent, size in others}}
            _, least = self._upwards(self._tolled(money, tried), True, tried)
            firsts = [row[..., 0] for row, primary in zip(least, self.primary, strict=True) if primary == OUTSIDE]
            roots = np.zeros(len(sites)) + sum(firsts)
            if roots.max() > highest:
                best = int(roots.argmax())
                highest = float(roots[best])
                found = {**found, **{(parent, stage.index): size * all_but_one[best] for parent, size in others}}
        if found is self.tolls:
            return self
        tolled = copy(self)
        tolled.tolls = found
        tolled._work_out(self._figures)
        return tolled

    def _tolled(self, money: Sequence[Floats], tolls: Mapping[tuple[int, int], Floats]) -> list[Floats]:
        """Figures by stage, ``[..., choices, places]``, less the tolls that the stage gets back, ``[..., sites]``."""
        found = list(money)
        for (_, reader), toll in tolls.items():
            found[reader] = found[reader] - toll[..., self._sites[reader]][..., None]
        return found

    def best_options(self, table: Table) -> tuple[int, ...]:
        """The options that come to the least figure of the whole pipeline; of equal ones the fastest."""
        choices: list[int] = []
        for primary, here, below, seconds in zip(self.primary, *table.arrays[:2], self.time.arrays[0], strict=True):
            at = 0 if primary == OUTSIDE else self._kept[primary][choices[primary]]
            choices.append(int(np.lexsort((seconds[:, at], here[:, at] + below))[0]))
        return tuple(choices)

    def priced(self, of_need: bool, deadline_at: float) -> Table | None:
        """The table whose price of a second makes the bound of the whole pipeline highest; ``None`` when none helps."""
        key = (of_need, deadline_at)
        if key not in self._priced:
            self._priced[key] = self._best_priced(of_need, deadline_at)
        return self._priced[key]

    def _best_priced(self, of_need: bool, deadline_at: float) -> Table | None:
        """Prices by the flow that was best among more options, at first the even one; then, as long as that helps, by more flow
        along the plan's longest path."""
        money = self._tolled([each.need if of_need else each.cost for each in self._figures], self.tolls)
        seconds = [np.where(np.isfinite(each.time), each.time, 0.0) for each in self._figures]
        left_s = deadline_at - self._problem.now_at
        highest, best = self.root(self.need if of_need else self.cost), None
        mean = max(1.0, highest) / max(1.0, left_s)
        flow, price = self._hints.get(of_need, (even_flow(self._problem), 0.0))
        for step in range(_FLOWS if self._forks else 1):
            through = through_of(self._problem, flow)
            for grid in (_COARSE, _FINE) if not price else (_FINE,):
                prices = (price or mean) * 4.0**grid
                priced = [
                    each + prices[:, None, None] * (through[index] * seconds[index]) for index, each in enumerate(money)
                ]
                below, least = self._upwards(priced, True, self.tolls)
                firsts = [row[:, 0] for row, primary in zip(least, self.primary, strict=True) if primary == OUTSIDE]
                roots = np.sum(firsts, axis=0) - prices * left_s
                place = int(roots.argmax())
                price = float(prices[place])
            if roots[place] > highest:
                highest, best = float(roots[place]), (priced, below, least, place, price, flow)
            elif step:
                break
            choices = self._least_options([each[place] for each in priced], [each[place] for each in below])
            longest, share = self._longest_path(choices), 1.0 / (step + 2)
            flow = {arc: (1.0 - share) * each + share * (arc in longest) for arc, each in flow.items()}
        if best is None:
            return None
        priced, below, least, place, price, flow = best
        self._hints = {**self._hints, of_need: (flow, price)}
        at_price = [[each[place] for each in part] for part in (priced, below, least)]
        return Table(at_price[0], at_price[1], at_price[2], price, flow)

    def _least_options(self, here: list[Floats], below: list[Floats]) -> tuple[int, ...]:
        """The options that come to the least figure of the whole pipeline."""
        choices: list[int] = []
        for index, primary in enumerate(self.primary):
            at = 0 if primary == OUTSIDE else self._kept[primary][choices[primary]]
            choices.append(int((here[index][:, at] + below[index]).argmin()))
        return tuple(choices)

    def _longest_path(self, choices: tuple[int, ...]) -> set[tuple[int, int]]:
        """The arcs (stage, child), and (``OUTSIDE``, first stage), along which a plan takes longest."""
        ends: list[float] = []
        before: list[int] = []
        for stage, choice, figures, primary in zip(
            self._problem.stages, choices, self._figures, self.primary, strict=True
        ):
            last = max([parent for parent, _ in stage.parents], key=ends.__getitem__, default=OUTSIDE)
            place = 0 if primary == OUTSIDE else int(self._kept[primary][choices[primary]])
            before.append(last)
            ends.append((0.0 if last == OUTSIDE else ends[last]) + float(figures.time[choice, place]))
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
        least = table.arrays[2]
        return sum(float(least[index][0]) for index, primary in enumerate(self.primary) if primary == OUTSIDE)

    def totals(self, table: Table) -> list[Floats]:
        """Least figure of the whole pipeline with a stage at each option and its primary input at each place, by stage:
        ``[choices, places] float64``."""
        found: list[Floats] = []
        root = self.root(table)
        for primary, here, below, least in zip(self.primary, *table.arrays, strict=True):
            others = np.full(least.size, np.inf)
            if primary == OUTSIDE:
                others[:] = root - least[0]
            else:
                kept = self._kept[primary]
                with np.errstate(invalid="ignore"):  # infinite less infinite: of what is left out already
                    without = found[primary].min(axis=1) - least[kept]
                np.fmin.at(others, kept, without)
            found.append(here + others + below[:, None])
        return found

    def ends(self) -> tuple[list[float], list[Floats]]:
        """When the inputs of each stage are there at the earliest, and when the pipeline ends at the earliest with the stage
        at each of its options and its primary input at each place: ``[choices, places] float64``."""
        problem = self._problem
        finish_at: list[Floats] = []
        starts: list[float] = []
        found: list[Floats] = []
        for stage, figures in zip(problem.stages, self._figures, strict=True):
            ready_at = max((float(finish_at[parent].min()) for parent, _ in stage.parents), default=problem.now_at)
            begin_at = np.full(figures.time.shape[1], ready_at)
            primary = self.primary[stage.index]
            if primary != OUTSIDE:
                earliest_at = np.full(begin_at.size, np.inf)
                np.minimum.at(earliest_at, self._kept[primary], finish_at[primary])
                begin_at = np.maximum(begin_at, earliest_at)
            starts.append(float(begin_at.min()))
            end_at = begin_at + figures.time
            finish_at.append(end_at.min(axis=1))
            found.append(end_at + self.time.arrays[1][stage.index][:, None])
        return starts, found

    def _table(self, here: list[Floats], sums: bool) -> Table:
        return Table(here, *self._upwards(here, sums, self.tolls))

    def _upwards(
        self, here: list[Floats], sums: bool, tolls: Mapping[tuple[int, int], Floats]
    ) -> tuple[list[Floats], list[Floats]]:
        """Totals from the last stages up: of sums (money), or of longest paths (time).

        Args:
            here: By stage, ``[..., choices, places]``.

        Returns:
            What hangs below each choice, ``[..., choices]``, and the least of a stage with it, ``[..., places]``.
        """
        below: list[Floats] = [np.zeros(each.shape[:-1]) for each in here]
        least: list[Floats] = list(here)
        for index in reversed(range(len(here))):
            totals = below[index]
            for child in self._problem.children[index]:
                if self.primary[child] == index:
                    values = least[child][..., self._kept[index]]
                    totals = totals + values if sums else np.maximum(totals, values)
                elif not sums:
                    totals = np.maximum(totals, least[child].min(axis=-1, keepdims=True))
                elif (index, child) in tolls:
                    totals = totals + tolls[index, child][..., self._kept[index]]
            below[index] = totals
            least[index] = (here[index] + totals[..., None]).min(axis=-2)
        return below, least

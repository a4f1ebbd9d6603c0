"""What the rest of a pipeline costs and takes at least, once some of its stages have their place.

Each stage with inputs is charged for the way from one of them, its *primary* input; the others are let in for nothing. Then
every stage depends on one place only, and the least cost of all that hangs below a place is a sum over a forest, found
from its leaves up. The bound is exact for chains and trees without windows, deadlines and budgets.

A deadline makes cheap and slow offers useless, which the sum does not see. So a second table prices time as well
(Lagrangian relaxation): send one unit of flow through the pipeline from its first stages to its last, split evenly. The
stages on every path together fit between the start and the deadline, so for any price ``p`` of a second and flow ``f`` of
a stage the least of ``cost + p · f · time``, less ``p`` times what is left until the deadline, is a lower bound too.
The best ``p`` is found by a line search, as the bound is concave in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.core.placement.costing import CAP_MARGIN_PERCENT
from infra.core.placement.pipeline_problem import OUTSIDE, Problem, Stage

Floats = NDArray[np.float64]
_NEVER = float("inf")
_STEPS = 12
"""Of the line search over the price of a second."""

_MARGIN = (100 + CAP_MARGIN_PERCENT) / 100


@dataclass(frozen=True, slots=True)
class Table:
    """Least figures of one kind.

    Attributes:
        here: Of a stage by [stage][choice][place of its primary input].
        below: Of everything that hangs below it, by [stage][choice].
        least: Of a stage and everything below, by [stage][place of its primary input].
        price: Of a second of a unit of flow in this table.
    """

    here: list[list[list[float]]]
    below: list[list[float]]
    least: list[list[float]]
    price: float = 0.0


@dataclass(frozen=True, slots=True)
class _Figures:
    """Least cost, need and seconds of a stage, [choices, places] float64."""

    cost: Floats
    need: Floats
    time: Floats


class Bounds:
    """Tables of least cost, need and time for one problem, and the flow that prices time.

    Attributes:
        primary: Index of each stage's primary input, or ``OUTSIDE``.
        flow: Share of the flow that goes through each stage.
        share: Share of the flow that goes on along (stage, child).
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.primary = [_primary(stage) for stage in problem.stages]
        self.flow, self.share = _flow(problem)
        self._figures = [self._figures_of(stage) for stage in problem.stages]
        self._sites = [np.array([option.site for option in stage.options]) for stage in problem.stages]
        self._kept = [
            [problem.place_of(stage.index, option.site) for option in stage.options] for stage in problem.stages
        ]
        self.cost = self._table([each.cost for each in self._figures], sums=True)
        self.need = self._table([each.need for each in self._figures], sums=True)
        self.time = self._table([each.time for each in self._figures], sums=False)

    def priced(self, of_need: bool, deadline_at: float) -> Table | None:
        """The table whose price of a second makes the bound of the whole pipeline highest; ``None`` when none helps."""
        figures = [each.need if of_need else each.cost for each in self._figures]
        seconds_left = deadline_at - self._problem.now_at

        def at(price: float) -> tuple[float, Table]:
            priced = [
                base + price * self.flow[index] * each.time
                for index, (base, each) in enumerate(zip(figures, self._figures, strict=True))
            ]
            table = self._table(priced, sums=True, price=price)
            return self.root(table) - price * seconds_left, table

        plain = self.root(self.need if of_need else self.cost)
        scale = max(1.0, plain) / max(1.0, seconds_left)
        best_bound, best = plain, None
        low, high = -3.0, 5.0  # powers of four around the mean price of a second
        for _ in range(_STEPS // 2):
            left, right = low + (high - low) / 3, high - (high - low) / 3
            (bound_left, table_left), (bound_right, table_right) = at(scale * 4.0**left), at(scale * 4.0**right)
            for bound, table in ((bound_left, table_left), (bound_right, table_right)):
                if bound > best_bound:
                    best_bound, best = bound, table
            if bound_left < bound_right:
                low = left
            else:
                high = right
        return best

    def root(self, table: Table) -> float:
        """Least figure of the whole pipeline."""
        return sum(table.least[index][0] for index, primary in enumerate(self.primary) if primary == OUTSIDE)

    def _figures_of(self, stage: Stage) -> _Figures:
        problem = self._problem
        rows = [self._alone(stage, choice) for choice in range(len(stage.options))]
        alone = np.array(rows, dtype=np.float64).reshape(len(rows), 4)
        cost, need, time, rate = (alone[:, column : column + 1] for column in range(4))
        primary = self.primary[stage.index]
        if primary == OUTSIDE:
            return _Figures(cost, need, time)
        size = dict(stage.parents)[primary]
        here = np.array([option.site for option in stage.options])[:, None]
        there = np.arange(len(problem.sites))[None, :]
        if problem.stages[primary].kept != OUTSIDE:
            there = np.full_like(there, problem.stages[primary].kept)
        link = np.array([site.bandwidth_mbps for site in problem.sites])
        price = np.array([float(site.egress_micro_per_gb) for site in problem.sites])
        away = here != there
        seconds = np.where(away, size / (np.minimum(link[here], link[there]) * 1e6 / 8), 0.0)
        egress = np.where(away, size * price[there] / 1e9, 0.0)
        # Each amount is rounded up once: less than one micro-dollar of two roundings may be counted twice.
        machine = np.maximum(0.0, rate * seconds - 1.0)
        return _Figures(
            cost + egress + machine, need + egress + np.maximum(0.0, _MARGIN * machine - 1.0), time + seconds
        )

    def _alone(self, stage: Stage, choice: int) -> tuple[float, float, float, float]:
        """Least cost, need, seconds, and micro-dollars per second, when no input has to be moved."""
        run = self._problem.run(stage, choice, (OUTSIDE,) * len(stage.parents))
        if run is None:
            return _NEVER, _NEVER, _NEVER, 0.0
        price = stage.options[choice].price
        per_s = price.micro_per_hour * stage.devices / 3600.0
        if not price.windows:
            return run.cost_micro, run.needed_micro, run.high_s, per_s
        per_s *= min(1.0, *(window.factor for window in price.windows))
        durations = run.durations
        cost, need = per_s * durations.machine_s, _MARGIN * per_s * (run.high_s - durations.handover_s)
        return max(0.0, cost - 1) + run.egress_micro, max(0.0, need - 2) + run.egress_micro, run.high_s, per_s

    def _table(self, here: list[Floats], sums: bool, price: float = 0.0) -> Table:
        """Totals from the last stages up: of sums (money), or of longest paths (time)."""
        stages = self._problem.stages
        below: list[list[float]] = [[] for _ in stages]
        least: list[list[float]] = [[] for _ in stages]
        for stage in reversed(stages):
            index = stage.index
            totals = np.zeros(len(stage.options))
            for child in self._problem.children[index]:
                column = np.asarray(least[child])
                if self.primary[child] != index:
                    if not sums:
                        totals = np.maximum(totals, column.min())
                    continue
                values = column[self._kept[index]] if len(stage.options) else totals
                totals = totals + values if sums else np.maximum(totals, values)
            below[index] = totals.tolist()
            reached = here[index] + totals[:, None]
            least[index] = reached.min(axis=0).tolist() if len(stage.options) else [_NEVER] * here[index].shape[1]
        return Table([values.tolist() for values in here], below, least, price)


def _primary(stage: Stage) -> int:
    """The largest input; of equal ones the first."""
    return max(stage.parents, key=lambda parent: (parent[1], -parent[0]), default=(OUTSIDE, 0))[0]


def _flow(problem: Problem) -> tuple[list[float], dict[tuple[int, int], float]]:
    """One unit from the first stages to the last, split evenly wherever the way forks."""
    first = [stage.index for stage in problem.stages if not stage.parents]
    flow = [1.0 / len(first) if stage.index in first else 0.0 for stage in problem.stages]
    share: dict[tuple[int, int], float] = {}
    for index, children in enumerate(problem.children):
        for child in children:
            share[index, child] = flow[index] / len(children)
            flow[child] += share[index, child]
    return flow, share

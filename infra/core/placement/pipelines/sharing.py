"""Stages that want the same devices: whether they get in each other's way, and in which order it is best.

Every order in which stages can get the devices of an offer is tried, each stage as early as that order lets it or at an edge of
a price window, as long as it can still lead to something better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infra.core.placement.costing import least_total
from infra.core.placement.pipelines.columns import Facts
from infra.core.placement.pipelines.devices import Devices
from infra.core.placement.pipelines.objective import TRACE_S, Key, Objective
from infra.core.placement.pipelines.orders import NOBODY, Claims, best_order, earliest_end, next_at, nobody
from infra.core.placement.pipelines.problem import Problem, Run, Stage
from infra.core.placement.pipelines.schedule import Limits, Schedule, runs_of

TURNS_AT_WINDOWS = 20
"""A turn at a price with windows, each of whose edges is a start to be tried, takes so many times as long as another."""


def crowds(problem: Problem, choices: Sequence[int]) -> dict[int, list[int]]:
    """Offers, by row, of which stages with these options may want too many devices at the same time, with those stages."""
    members: dict[int, list[int]] = {}
    for stage, choice in zip(problem.stages, choices, strict=True):
        members.setdefault(stage.options[choice].row, []).append(stage.index)
    return {row: group for row, group in members.items() if len(group) > 1 and _crowded(problem, row, group)}


def _crowded(problem: Problem, row: int, group: list[int]) -> bool:
    free, stages = problem.free[row], problem.stages
    for one in group:
        others = sum([stages[other].devices for other in group if other in problem.rivals(one)])
        if others and stages[one].devices + others > free:
            return True
    return False


def fits(problem: Problem, schedule: Schedule, crowded: dict[int, list[int]]) -> bool:
    """Whether no offer is asked for more devices than it has."""
    for row, members in crowded.items():
        devices = Devices(problem, row)
        for member in members:
            devices.held.append((schedule.starts[member], schedule.finishes[member], problem.stages[member].devices))
        if any(devices.free(schedule.starts[member]) < 0 for member in members):
            return False
    return True


@dataclass(frozen=True, slots=True)
class Shared:
    """The best schedule with some offers, ``None`` when there is none.

    Attributes:
        turns: How many were tried. When that is as many as might be tried, others could be better.
    """

    schedule: Schedule | None
    turns: int


class Sharing:
    """All orders of the stages of a pipeline whose offers are chosen.

    Args:
        crowded: From :func:`crowds`.
    """

    def __init__(
        self,
        problem: Problem,
        facts: Facts,
        choices: tuple[int, ...],
        crowded: dict[int, list[int]],
        limits: Limits,
        objective: Objective,
    ) -> None:
        self._problem, self._choices, self._objective = problem, choices, objective
        runs = runs_of(problem, choices)
        assert runs is not None, "the options of a label are possible"
        self._runs: list[Run] = runs
        self._prices = [stage.options[choice].price for stage, choice in zip(problem.stages, choices, strict=True)]
        self._deadline_at = math.inf if limits.deadline_at is None else limits.deadline_at
        self._money = limits.money_micro
        self._claims = _claims_of(facts, choices, runs, crowded, self._deadline_at)
        self._offer: list[int] = self._claims.offer.tolist()
        self._after_s: list[float] = self._claims.after_s.tolist()
        self._latest_at: list[float] = self._claims.latest_at.tolist()
        self._placed = nobody(len(choices))
        self._memo: dict[tuple[int, float], tuple[int, int]] = {}
        self._starts: dict[int, float] = {}
        self._finishes: dict[int, float] = {}
        self._seen: set[tuple[tuple[int, float], ...]] = set()
        self._best: Schedule | None = None
        self._cutoff: Key | None = None
        self._most = self._turns = 0

    def least_end_at(self) -> float:
        """When the pipeline ends at the earliest, whoever comes first."""
        return self._earliest_end()[0]

    def best(self, cutoff: Key | None, most: int) -> Shared:
        """The best schedule with these offers that is no worse than the cutoff, if there is one.

        Args:
            most: Turns that may be tried; where prices have windows each counts as ``TURNS_AT_WINDOWS``.
        """
        if not any(price.windows for price in self._prices):
            return self._first_to_end(cutoff, most)
        self._cutoff, self._most, self._turns = cutoff, most // TURNS_AT_WINDOWS, 0
        self._extend(0, 0)
        return Shared(self._best, most if self._turns >= self._most else self._turns * TURNS_AT_WINDOWS)

    def _first_to_end(self, cutoff: Key | None, most: int) -> Shared:
        """The best schedule where cost and need are the same for every order."""
        problem, runs, latest_at = self._problem, self._runs, self._deadline_at
        cost, need = sum(run.cost_micro for run in runs), sum(run.needed_micro for run in runs)
        key = self._objective.key(cost, need, -math.inf)
        dear = any(
            stage.budget_micro is not None and run.needed_micro > stage.budget_micro
            for stage, run in zip(problem.stages, runs, strict=True)
        )
        if dear or need > self._money or (cutoff is not None and key.is_worse(cutoff)):
            return Shared(None, 0)
        if cutoff is not None and cutoff.timed:
            latest_at = min(latest_at, cutoff.first)
        elif cutoff is not None and key.first == cutoff.first:
            latest_at = min(latest_at, cutoff.second)
        starts, turns = best_order(self._claims, problem.now_at, latest_at, TRACE_S, most)
        if not starts.size:
            return Shared(None, turns)
        started = tuple(starts.tolist())
        finishes = tuple([start_at + run.high_s for start_at, run in zip(started, runs, strict=True)])
        return Shared(Schedule(self._choices, started, finishes, cost, need), turns)

    def _earliest_end(self) -> tuple[float, list[float]]:
        """When all ends at the earliest; and when what is left can start, by its inputs."""
        begins_at, ends_at = np.zeros(len(self._choices)), np.zeros(len(self._choices))
        end_at = earliest_end(self._claims, self._placed, self._problem.now_at, begins_at, ends_at)
        return end_at, begins_at.tolist()

    def _least(self, index: int, begin_at: float) -> tuple[int, int]:
        """Least cost and need of a stage that cannot begin before an instant."""
        run, price = self._runs[index], self._prices[index]
        if not price.windows:
            return run.cost_micro, run.needed_micro
        if math.isinf(self._deadline_at):
            begin_at = self._problem.now_at  # a cheap window comes round every day
        found = self._memo.get((index, begin_at))
        if found is None:
            latest_at = self._deadline_at - self._after_s[index] - run.high_s + TRACE_S
            figures = run.durations, run.high_s, self._problem.stages[index].devices, run.egress_micro
            found = self._memo[index, begin_at] = least_total(price, *figures, begin_at, latest_at)
        return found

    def _extend(self, cost: int, need: int) -> None:
        stages, finishes = self._problem.stages, self._finishes
        left = [index for index in range(len(stages)) if index not in finishes]
        if not left:
            self._keep(cost, need)
            return
        state = tuple(sorted(self._starts.items()))
        if state in self._seen:
            return
        self._seen.add(state)
        # No order of what is left makes this cheaper or earlier than that.
        end_at, begins_at = self._earliest_end()
        if end_at - TRACE_S > self._deadline_at:
            return
        least_cost, least_need = cost, need
        for index in left:
            own_cost, own_need = self._least(index, begins_at[index])
            least_cost, least_need = least_cost + own_cost, least_need + own_need
        if least_need > self._money:
            return
        key = self._objective.key(least_cost, least_need, end_at)
        if self._best is not None and not key.may_beat(self._objective.of(self._best)):
            return
        if self._cutoff is not None and key.is_worse(self._cutoff):
            return
        ready = [index for index in left if all(parent in finishes for parent, _ in stages[index].parents)]
        # What shares no devices cannot get in anybody's way: its turn makes no difference.
        alone = next((index for index in ready if self._offer[index] == NOBODY), None)
        # Long ones first: the first schedule is then a good one, and most others are cut short by it.
        for index in [alone] if alone is not None else sorted(ready, key=self._length, reverse=True):
            self._place(stages[index], cost, need)

    def _length(self, index: int) -> float:
        return self._runs[index].high_s + self._after_s[index]

    def _keep(self, cost: int, need: int) -> None:
        ordered = range(len(self._choices))
        starts, finishes = (tuple([each[i] for i in ordered]) for each in (self._starts, self._finishes))
        found = Schedule(self._choices, starts, finishes, cost, need)
        if self._best is None or self._rank(found) < self._rank(self._best):
            self._best = found

    def _rank(self, schedule: Schedule) -> tuple[float, float, tuple[float, ...]]:
        key = self._objective.of(schedule)
        return key.first, key.second, schedule.starts

    def _place(self, stage: Stage, cost: int, need: int) -> None:
        problem, index, choice, placed = self._problem, stage.index, self._choices[stage.index], self._placed
        run = self._runs[index]
        ready_at = max((self._finishes[parent] for parent, _ in stage.parents), default=problem.now_at)
        crowded = self._offer[index] != NOBODY
        after_at = next_at(self._claims, placed, index, ready_at) if crowded else ready_at
        for start_at in problem.starts(stage, choice, ready_at, after_at):
            finish_at = start_at + run.high_s
            own_cost, own_need = problem.money(stage, choice, run, start_at)
            if finish_at > self._latest_at[index] or need + own_need > self._money:
                continue
            if stage.budget_micro is not None and own_need > stage.budget_micro:
                continue
            if self._turns >= self._most:
                return
            self._turns += 1
            self._starts[index], self._finishes[index] = start_at, finish_at
            placed.yes[index], placed.start_at[index], placed.finish_at[index] = True, start_at, finish_at
            self._extend(cost + own_cost, need + own_need)
            placed.yes[index] = False
            del self._starts[index], self._finishes[index]


def _claims_of(
    facts: Facts, choices: tuple[int, ...], runs: list[Run], crowded: dict[int, list[int]], deadline_at: float
) -> Claims:
    count, rows, waits = len(choices), list(crowded), facts.forest.waits
    seconds = [run.high_s for run in runs]
    after_s = [0.0] * count
    for reader, maker in np.argwhere(waits)[::-1].tolist():  # the last readers first
        after_s[maker] = max(after_s[maker], seconds[reader] + after_s[reader])
    offer = np.full(count, NOBODY)
    for place, row in enumerate(rows):
        offer[crowded[row]] = place
    return Claims(
        free_at=facts.free_at[range(count), choices],
        seconds=np.array(seconds),
        after_s=np.array(after_s),
        latest_at=np.minimum(facts.latest_at, deadline_at),
        punctual=facts.punctual,
        devices=facts.devices,
        waits=waits,
        offer=offer,
        capacity=facts.capacity[rows],
        held=facts.held[rows],
        held_until_at=facts.held_until_at[rows],
    )

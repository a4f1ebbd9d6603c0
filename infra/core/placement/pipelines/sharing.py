"""Stages that want the same devices: whether they get in each other's way, and in which order it is best.

Every order in which stages can get the devices of an offer is tried, each stage as early as that order lets it or at an edge of
a price window, as long as it can still lead to something better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from infra.core.placement.costing import least_total
from infra.core.placement.pipelines.devices import Devices
from infra.core.placement.pipelines.objective import TRACE_S, Key, Objective
from infra.core.placement.pipelines.problem import Problem, Run, Stage
from infra.core.placement.pipelines.schedule import Limits, Schedule, runs_of


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
    for members in crowded.values():
        devices = Devices(problem, problem.stages[members[0]], schedule.choices[members[0]])
        for member in members:
            devices.held.append((schedule.starts[member], schedule.finishes[member], problem.stages[member].devices))
        if any(devices.free(schedule.starts[member]) < 0 for member in members):
            return False
    return True


class Sharing:
    """All orders of the stages of a pipeline whose offers are chosen.

    Args:
        crowded: From :func:`crowds`.
    """

    def __init__(
        self,
        problem: Problem,
        choices: tuple[int, ...],
        crowded: dict[int, list[int]],
        limits: Limits,
        objective: Objective,
    ) -> None:
        self._problem, self._choices, self._crowded, self._objective = problem, choices, crowded, objective
        self._row = {member: row for row, group in crowded.items() for member in group}
        runs = runs_of(problem, choices)
        assert runs is not None, "the options of a label are possible"
        self._runs: list[Run] = runs
        self._devices = {
            row: Devices(problem, problem.stages[group[0]], choices[group[0]]) for row, group in crowded.items()
        }
        self._tails = self._after()
        self._free_at = [stage.options[choice].free_at for stage, choice in zip(problem.stages, choices, strict=True)]
        self._deadline_at = math.inf if limits.deadline_at is None else limits.deadline_at
        self._memo: dict[tuple[int, float], tuple[int, int]] = {}
        self._windowed = [
            bool(stage.options[choice].price.windows) for stage, choice in zip(problem.stages, choices, strict=True)
        ]
        self._money = limits.money_micro
        self._starts: dict[int, float] = {}
        self._finishes: dict[int, float] = {}
        self._seen: set[tuple[tuple[int, float], ...]] = set()
        self._best: Schedule | None = None
        self._cutoff: Key | None = None

    def least_end_at(self) -> float:
        """When the pipeline ends at the earliest, whoever comes first."""
        return self._earliest_end(list(range(len(self._choices))))[0]

    def best(self, cutoff: Key | None) -> Schedule | None:
        """The best schedule with these offers that is no worse than the cutoff, if there is one."""
        self._cutoff = cutoff
        self._extend(0, 0)
        return self._best

    def _after(self) -> list[float]:
        """Seconds from the end of each stage to the end of the pipeline at least."""
        tails = [0.0] * len(self._choices)
        for index in reversed(range(len(tails))):
            tails[index] = max(
                (self._runs[each].high_s + tails[each] for each in self._problem.children[index]), default=0.0
            )
        return tails

    def _earliest_end(self, left: list[int]) -> tuple[float, dict[int, float]]:
        """When all ends at the earliest, by its inputs and by the devices that what is left needs for so long; and when what
        is left can start, by its inputs."""
        problem, runs, tails = self._problem, self._runs, self._tails
        begins: dict[int, float] = {}
        ends = dict(self._finishes)
        end_at = max(ends.values(), default=0.0)
        for index in left:
            begin_at = max(problem.now_at, self._free_at[index])
            for parent, _ in problem.stages[index].parents:
                if ends[parent] > begin_at:
                    begin_at = ends[parent]
            begins[index] = begin_at
            ends[index] = begin_at + runs[index].high_s
            if ends[index] + tails[index] > end_at:
                end_at = ends[index] + tails[index]
        for row, group in self._crowded.items():
            waiting = sorted([(begins[index], index) for index in group if index in begins], reverse=True)
            if len(waiting) < 2:
                continue
            work, tail = 0.0, math.inf
            for count, (begin_at, index) in enumerate(waiting):
                work += problem.stages[index].devices * runs[index].high_s
                tail = min(tail, tails[index])
                if count:
                    end_at = max(end_at, self._devices[row].done_at(begin_at, work) + tail)
        return end_at, begins

    def _least(self, index: int, begin_at: float) -> tuple[int, int]:
        """Least cost and need of a stage that cannot begin before an instant."""
        run = self._runs[index]
        if not self._windowed[index]:
            return run.cost_micro, run.needed_micro
        if math.isinf(self._deadline_at):
            begin_at = self._problem.now_at  # a cheap window comes round every day
        found = self._memo.get((index, begin_at))
        if found is None:
            stage, latest_at = (
                self._problem.stages[index],
                self._deadline_at - self._tails[index] - run.high_s + TRACE_S,
            )
            price, figures = stage.options[self._choices[index]].price, (run.durations, run.high_s)
            found = least_total(price, *figures, stage.devices, run.egress_micro, begin_at, latest_at)
            self._memo[index, begin_at] = found
        return found

    def _extend(self, cost: int, need: int) -> None:
        left = [index for index in range(len(self._choices)) if index not in self._starts]
        if not left:
            self._keep(cost, need)
            return
        state = tuple(sorted(self._starts.items()))
        if state in self._seen:
            return
        self._seen.add(state)
        # No order of what is left makes this cheaper or earlier than that.
        end_at, begins = self._earliest_end(left)
        if end_at - TRACE_S > self._deadline_at:
            return
        least_cost, least_need = cost, need
        for index in left:
            own_cost, own_need = self._least(index, begins[index])
            least_cost, least_need = least_cost + own_cost, least_need + own_need
        if least_need > self._money:
            return
        key = self._objective.key(least_cost, least_need, end_at)
        if self._best is not None and not key.may_beat(self._objective.of(self._best)):
            return
        if self._cutoff is not None and key.is_worse(self._cutoff):
            return
        stages, finishes = self._problem.stages, self._finishes
        ready = [index for index in left if all(parent in finishes for parent, _ in stages[index].parents)]
        # What shares no devices cannot get in anybody's way: its turn makes no difference.
        alone = next((index for index in ready if index not in self._row), None)
        # Long ones first: the first schedule is then a good one, and most others are cut short by it.
        for index in [alone] if alone is not None else sorted(ready, key=self._length, reverse=True):
            self._place(stages[index], cost, need)

    def _length(self, index: int) -> float:
        return self._runs[index].high_s + self._tails[index]

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
        problem, index, choice = self._problem, stage.index, self._choices[stage.index]
        run, row = self._runs[index], self._row.get(index)
        ready_at = max((self._finishes[parent] for parent, _ in stage.parents), default=problem.now_at)
        held = None if row is None else self._devices[row]
        after_at = ready_at if held is None else held.next_at(ready_at, stage.devices)
        limit_at = self._deadline_at if stage.deadline_at is None else min(self._deadline_at, stage.deadline_at)
        for start_at in problem.starts(stage, choice, ready_at, after_at):
            finish_at = start_at + run.high_s
            own_cost, own_need = problem.money(stage, choice, run, start_at)
            if finish_at > limit_at or need + own_need > self._money:
                continue
            if stage.budget_micro is not None and own_need > stage.budget_micro:
                continue
            self._starts[index], self._finishes[index] = start_at, finish_at
            if held is not None:
                held.held.append((start_at, finish_at, stage.devices))
            self._extend(cost + own_cost, need + own_need)
            if held is not None:
                held.held.pop()
            del self._starts[index], self._finishes[index]

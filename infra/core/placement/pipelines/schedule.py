"""Plans of a whole pipeline, and two plain ways to one: with given offers in a given order, and one stage after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from infra.core.placement.pipelines.devices import Devices
from infra.core.placement.pipelines.problem import Problem, Run, Stage


@dataclass(frozen=True, slots=True)
class Limits:
    """What all stages together must keep.

    Attributes:
        money_micro: The smaller of the pipeline's budget and what the tenant has left.
    """

    deadline_at: float | None
    money_micro: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """One plan of all stages: option, start and high finish of each, by index."""

    choices: tuple[int, ...]
    starts: tuple[float, ...]
    finishes: tuple[float, ...]
    cost_micro: int
    needed_micro: int

    @property
    def end_at(self) -> float:
        return max(self.finishes)


def runs_of(problem: Problem, choices: Sequence[int]) -> list[Run] | None:
    found = []
    for stage in problem.stages:
        run = problem.run(stage, choices[stage.index], places_of(problem, stage, choices))
        if run is None:
            return None
        found.append(run)
    return found


def in_order(problem: Problem, choices: tuple[int, ...], order: Sequence[float], limits: Limits) -> Schedule | None:
    """A schedule with these offers in which the stages get their devices in the order of these starts; ``None`` if late.

    Each stage takes the cheapest start that is open to it, and of equal ones the first.
    """
    runs = runs_of(problem, choices)
    if runs is None:
        return None
    deadline_at = math.inf if limits.deadline_at is None else limits.deadline_at
    starts, finishes = [0.0] * len(choices), [0.0] * len(choices)
    cost = need = 0
    held: dict[int, Devices] = {}
    for index in sorted(range(len(choices)), key=lambda each: (order[each], each)):
        stage, choice, run = problem.stages[index], choices[index], runs[index]
        ready_at = max((finishes[parent] for parent, _ in stage.parents), default=problem.now_at)
        row = stage.options[choice].row
        devices = held.get(row)
        after_at = ready_at if devices is None else devices.next_at(ready_at, stage.devices)
        limit_at = deadline_at if stage.deadline_at is None else min(deadline_at, stage.deadline_at)
        ways = [
            (*problem.money(stage, choice, run, start_at), start_at)
            for start_at in problem.starts(stage, choice, ready_at, after_at)
            if start_at + run.high_s <= limit_at
        ]
        if not ways:
            return None
        own_cost, own_need, starts[index] = min(ways, key=lambda way: (way[0], way[2]))
        cost, need = cost + own_cost, need + own_need
        if need > limits.money_micro or (stage.budget_micro is not None and own_need > stage.budget_micro):
            return None
        finishes[index] = starts[index] + run.high_s
        if devices is None:
            devices = held[row] = Devices(problem, row)
        devices.held.append((starts[index], finishes[index], stage.devices))
    return Schedule(choices, tuple(starts), tuple(finishes), cost, need)


def places_of(problem: Problem, stage: Stage, choices: Sequence[int]) -> tuple[int, ...]:
    """Where the stage's inputs lie when the stages before it run at these options."""
    return tuple(
        problem.place_of(parent, problem.stages[parent].options[choices[parent]].site) for parent, _ in stage.parents
    )


def one_after_the_other(problem: Problem, limits: Limits) -> tuple[Schedule, int]:
    """Each stage as cheap as it can be once those before it have their place.

    Returns:
        The schedule as far as it gets, and how many stages it holds: all of them when it succeeds.
    """
    choices: list[int] = []
    starts: list[float] = []
    finishes: list[float] = []
    cost = need = 0
    deadline_at = math.inf if limits.deadline_at is None else limits.deadline_at
    held: dict[int, Devices] = {}
    for stage in problem.stages:
        places = places_of(problem, stage, choices)
        ready_at = max((finishes[parent] for parent, _ in stage.parents), default=problem.now_at)
        limit_at = deadline_at if stage.deadline_at is None else min(deadline_at, stage.deadline_at)
        found = []
        for choice, option in enumerate(stage.options):
            run = problem.run(stage, choice, places)
            if run is None:
                continue
            devices = held.get(option.row)
            after_at = 0.0
            if devices is not None:
                after_at = devices.next_at(ready_at, stage.devices)
            for start_at in problem.starts(stage, choice, ready_at, after_at):
                own_cost, own_need = problem.money(stage, choice, run, start_at)
                finish_at = start_at + run.high_s
                allowed = finish_at <= limit_at and need + own_need <= limits.money_micro
                if allowed and (stage.budget_micro is None or own_need <= stage.budget_micro):
                    found.append((own_cost, start_at + run.total_s, option.key, start_at, choice, finish_at, own_need))
        if not found:
            break
        own_cost, _, _, start_at, choice, finish_at, own_need = min(found)
        choices.append(choice)
        starts.append(start_at)
        finishes.append(finish_at)
        cost, need = cost + own_cost, need + own_need
        row = stage.options[choice].row
        devices = held.setdefault(row, Devices(problem, row))
        devices.held.append((start_at, finish_at, stage.devices))
    return Schedule(tuple(choices), tuple(starts), tuple(finishes), cost, need), len(choices)

"""Times of a pipeline whose stages have their offers: devices shared between stages, and the plain stage-by-stage plan.

Stages that run at the same time on one offer share its devices. Whoever has them keeps them from its start to its high
finish; a stage that finds too few waits. Every order in which stages can get the devices of an offer is tried, each stage as
early as that order lets it or at an edge of a price window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infra.core.placement.costing import run_total
from infra.core.placement.fitting import back_at
from infra.core.placement.pipeline_problem import Problem, Run, Stage
from infra.core.pricing import Price

_TRACE_S = 1e-4
"""Sums of seconds in another order may differ by less than this."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What all stages together must keep.

    Attributes:
        money_micro: The smaller of the pipeline's budget and what the tenant has left.
        money_limited: Whether it could matter at all.
    """

    deadline_at: float | None
    money_micro: float
    money_limited: bool = True


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


class Devices:
    """Devices of one offer: what runs that are there already give back, and what stages of the pipeline hold."""

    def __init__(self, problem: Problem, stage: Stage, choice: int) -> None:
        option = stage.options[choice]
        load = stage.world.loads.get(option.key)
        now_at = problem.now_at
        self.capacity = option.offer.capacity
        self.held: list[tuple[float, float, int]] = [
            (-math.inf, back_at(entry.at, now_at), entry.devices) for entry in (load.releases if load else ())
        ]

    def free(self, at: float) -> int:
        return self.capacity - sum(devices for start_at, end_at, devices in self.held if start_at <= at < end_at)

    def next_at(self, ready_at: float, devices: int) -> float:
        """When a stage of the pipeline gets its devices after all that hold some already."""
        return self.enough_at(max([ready_at, *(start_at for start_at, _, _ in self.held)]), devices)

    def enough_at(self, earliest_at: float, devices: int) -> float:
        """The first instant from ``earliest_at`` with enough devices; nothing is held from later than that on."""
        instants = sorted({earliest_at, *(end_at for _, end_at, _ in self.held if end_at > earliest_at)})
        return next(at for at in instants if self.free(at) >= devices)

    def done_at(self, first_at: float, work: float) -> float:
        """When so many device-seconds of the pipeline can be done at the earliest, from ``first_at`` on.

        What other runs hold is not to be had, and need not be over by then; what stages of the pipeline hold is work too.
        """
        others = sorted((end_at, devices) for start_at, end_at, devices in self.held if start_at == -math.inf)
        work += sum(
            devices * max(0.0, end_at - max(first_at, start_at))
            for start_at, end_at, devices in self.held
            if start_at != -math.inf
        )
        free, at = self.capacity - sum(devices for _, devices in others), first_at
        for end_at, devices in others:
            if end_at > at:
                done = max(0, free) * (end_at - at)
                if done >= work:
                    break
                work, at = work - done, end_at
            free += devices
        return at + work / free if work > 0.0 else at


def fits(problem: Problem, schedule: Schedule) -> bool:
    """Whether no offer is asked for more devices than it has."""
    for _, members in _shared(problem, schedule.choices).items():
        devices = Devices(problem, problem.stages[members[0]], schedule.choices[members[0]])
        for member in members:
            devices.held.append((schedule.starts[member], schedule.finishes[member], problem.stages[member].devices))
        if any(devices.free(schedule.starts[member]) < 0 for member in members):
            return False
    return True


def _shared(problem: Problem, choices: Sequence[int]) -> dict[tuple[str, str], list[int]]:
    """Offers that stages which may run at the same time have in common, with those stages."""
    members: dict[tuple[str, str], list[int]] = {}
    for stage in problem.stages:
        members.setdefault(stage.options[choices[stage.index]].key, []).append(stage.index)
    return {
        key: group
        for key, group in members.items()
        if any(choices[one] in problem.stages[one].scarce and problem.rivals(one) & set(group) for one in group)
    }


def resolve(
    problem: Problem, choices: tuple[int, ...], limits: Limits, key: Callable[[Schedule], tuple[float, float]]
) -> Schedule | None:
    """The best schedule with these offers, over all orders in which the stages can get the devices."""
    runs = _runs(problem, choices)
    if runs is None:
        return None
    shared = _shared(problem, choices)
    contended = {member for members in shared.values() for member in members}
    devices = {name: Devices(problem, problem.stages[group[0]], choices[group[0]]) for name, group in shared.items()}
    base = {name: len(each.held) for name, each in devices.items()}
    deadline_at = math.inf if limits.deadline_at is None else limits.deadline_at
    starts: dict[int, float] = {}
    finishes: dict[int, float] = {}
    best: list[tuple[tuple[float, float, tuple[float, ...]], Schedule]] = []

    seen: set[tuple[tuple[int, float], ...]] = set()
    least = [_least(problem, stage, choices[stage.index], run) for stage, run in zip(problem.stages, runs, strict=True)]

    def earliest_end(left: list[int]) -> float:
        """When all ends at the earliest: by its inputs, and by the devices that what is left needs for so long."""
        begins, ends = dict(starts), dict(finishes)
        for index in left:
            stage = problem.stages[index]
            begins[index] = max((ends[parent] for parent, _ in stage.parents), default=problem.now_at)
            begins[index] = max(begins[index], stage.options[choices[index]].free_at)
            ends[index] = begins[index] + runs[index].high_s
        end_at = max(ends.values())
        for name, group in shared.items():
            waiting = [index for index in group if index not in starts]
            if len(waiting) > 1:
                first_at = min(begins[index] for index in waiting)
                work = sum(problem.stages[index].devices * runs[index].high_s for index in waiting)
                end_at = max(end_at, devices[name].done_at(first_at, work))
        return end_at

    def extend(cost: int, need: int) -> None:
        left = [index for index in range(len(choices)) if index not in starts]
        state = tuple(sorted(starts.items()))
        if state in seen:
            return
        seen.add(state)
        if left:
            # No order of what is left makes this cheaper or earlier than that.
            end_at = earliest_end(left)
            if end_at - _TRACE_S > deadline_at:
                return
            money = cost + sum(least[index][0] for index in left), need + sum(least[index][1] for index in left)
            if best and key(Schedule((), (), (end_at - _TRACE_S,), *money)) >= best[0][0][:2]:
                return
        if not left:
            ordered = range(len(choices))
            schedule = Schedule(
                choices, tuple(starts[i] for i in ordered), tuple(finishes[i] for i in ordered), cost, need
            )
            rank = (*key(schedule), schedule.starts)
            if not best or rank < best[0][0]:
                best[:] = [(rank, schedule)]
            return
        ready = [
            stage
            for stage in problem.stages
            if stage.index not in starts and all(parent in finishes for parent, _ in stage.parents)
        ]
        # What shares no devices cannot get in anybody's way: its turn makes no difference.
        alone = next((stage for stage in ready if stage.index not in contended), None)
        # Long ones first: the first schedule is then a good one, and most others are cut short by it.
        for stage in [alone] if alone is not None else sorted(ready, key=lambda each: -runs[each.index].high_s):
            place(stage, cost, need)

    def place(stage: Stage, cost: int, need: int) -> None:
        index, choice, run = stage.index, choices[stage.index], runs[stage.index]
        ready_at = max((finishes[parent] for parent, _ in stage.parents), default=problem.now_at)
        name = stage.options[choice].key
        after_at = ready_at
        if index in contended:
            own = devices[name].held[base[name] :]
            after_at = max([ready_at, *(start_at for start_at, _, _ in own)])
            after_at = devices[name].enough_at(after_at, stage.devices)
        limit_at = deadline_at if stage.deadline_at is None else min(deadline_at, stage.deadline_at)
        for start_at in problem.starts(stage, choice, ready_at, after_at):
            finish_at = start_at + run.high_s
            own_cost, own_need = problem.money(stage, choice, run, start_at)
            if finish_at > limit_at or need + own_need > limits.money_micro:
                continue
            if stage.budget_micro is not None and own_need > stage.budget_micro:
                continue
            starts[index], finishes[index] = start_at, finish_at
            if index in contended:
                devices[name].held.append((start_at, finish_at, stage.devices))
            extend(cost + own_cost, need + own_need)
            if index in contended:
                devices[name].held.pop()
            del starts[index], finishes[index]

    extend(0, 0)
    return best[0][1] if best else None


def _least(problem: Problem, stage: Stage, choice: int, run: Run) -> tuple[int, int]:
    """Least cost and need of a stage at any start."""
    price = stage.options[choice].price
    if not price.windows:
        return problem.money(stage, choice, run, problem.now_at)
    factor = min(1.0, *(window.factor for window in price.windows))
    lowest = Price(int(price.micro_per_hour * factor))
    cost_micro, needed_micro = run_total(
        lowest, run.durations, run.high_s, stage.devices, run.egress_micro, problem.now_at
    )
    return max(0, cost_micro - 2), max(0, needed_micro - 4)


def _runs(problem: Problem, choices: Sequence[int]) -> list[Run] | None:
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
    runs = _runs(problem, choices)
    if runs is None:
        return None
    deadline_at = math.inf if limits.deadline_at is None else limits.deadline_at
    starts, finishes = [0.0] * len(choices), [0.0] * len(choices)
    cost = need = 0
    held: dict[tuple[str, str], Devices] = {}
    for index in sorted(range(len(choices)), key=lambda each: (order[each], each)):
        stage, choice, run = problem.stages[index], choices[index], runs[index]
        ready_at = max((finishes[parent] for parent, _ in stage.parents), default=problem.now_at)
        name = stage.options[choice].key
        devices = held.get(name)
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
            devices = held[name] = Devices(problem, stage, choice)
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
    held: dict[tuple[str, str], Devices] = {}
    for stage in problem.stages:
        places = places_of(problem, stage, choices)
        ready_at = max((finishes[parent] for parent, _ in stage.parents), default=problem.now_at)
        limit_at = deadline_at if stage.deadline_at is None else min(deadline_at, stage.deadline_at)
        found = []
        for choice, option in enumerate(stage.options):
            run = problem.run(stage, choice, places)
            if run is None:
                continue
            devices = held.get(option.key)
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
        own_cost, _, key, start_at, choice, finish_at, own_need = min(found)
        choices.append(choice)
        starts.append(start_at)
        finishes.append(finish_at)
        cost, need = cost + own_cost, need + own_need
        devices = held.setdefault(key, Devices(problem, stage, choice))
        devices.held.append((start_at, finish_at, stage.devices))
    return Schedule(tuple(choices), tuple(starts), tuple(finishes), cost, need), len(choices)

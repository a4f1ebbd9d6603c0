"""Why a stage lies where it does: what its next best place would change, with all other stages where they are."""

from __future__ import annotations

from infra.core.placement.pipelines.plan import StageAlternative
from infra.core.placement.pipelines.problem import Problem, Stage
from infra.core.placement.pipelines.schedule import Limits, Schedule, in_order, places_of


def next_best(problem: Problem, schedule: Schedule, limits: Limits, stage: Stage) -> tuple[StageAlternative, ...]:
    """The cheapest other offer for a stage that keeps every limit, if any."""
    tries = []
    for choice, option in enumerate(stage.options):
        if choice != schedule.choices[stage.index]:
            choices = (*schedule.choices[: stage.index], choice, *schedule.choices[stage.index + 1 :])
            cost_micro = _cost(problem, choices, schedule, stage)
            if cost_micro is not None:
                tries.append((cost_micro, option.key, choices))
    for _, key, choices in sorted(tries):
        other = in_order(problem, choices, schedule.starts, limits)
        if other is not None:
            extra_micro = other.cost_micro - schedule.cost_micro
            return (StageAlternative(*key, extra_micro, other.end_at - schedule.end_at),)
    return ()


def _cost(problem: Problem, choices: tuple[int, ...], schedule: Schedule, stage: Stage) -> int | None:
    """Cost of the stage and of those that read from it, at the starts that they have: a guess at the order of tries."""
    total_micro = 0
    for index in (stage.index, *problem.children[stage.index]):
        each = problem.stages[index]
        run = problem.run(each, choices[index], places_of(problem, each, choices))
        if run is None:
            return None
        total_micro += problem.money(each, choices[index], run, schedule.starts[index])[0]
    return total_micro

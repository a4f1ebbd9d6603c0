"""The decision for a whole pipeline: one pure function of a request with several stages and a snapshot.

All stages are placed together: compute, data that moves between stages and its egress, one deadline, one budget. The
cheapest plan wins, then the one that ends first; which of several that are equal in both depends on their offers' names only.

The model, beyond that of a single run (``docs/placement.md``): a stage starts when all of its inputs are there, at the
high estimates of everything before it; its result lies where it was made, or at the site that keeps results, and
inherits residency and trust zone from everything that it was made from; stages that run at the same time on one
offer share its devices.
"""

from __future__ import annotations

from functools import partial

from infra.core.deferred import Deferred
from infra.core.placement.constraints import Move
from infra.core.placement.costing import needed, run_cost
from infra.core.placement.decision import Outcome, TimeParts
from infra.core.placement.pipelines.alternatives import next_best
from infra.core.placement.pipelines.bounds import Bounds
from infra.core.placement.pipelines.objective import Objective
from infra.core.placement.pipelines.options import Option, free_at
from infra.core.placement.pipelines.plan import (
    BlockedStage,
    PipelineDecision,
    PipelineRequest,
    PipelineStage,
    StageByStage,
    StageInput,
    StageMove,
    StagePlacement,
)
from infra.core.placement.pipelines.problem import OUTSIDE, Problem, Stage, egress_of, result_residency, transfer_of
from infra.core.placement.pipelines.remedies import limits_of, what_would_help
from infra.core.placement.pipelines.schedule import Limits, Schedule, one_after_the_other, places_of
from infra.core.placement.pipelines.search import Found, best_schedule
from infra.core.placement.snapshot import Snapshot
from infra.core.placement.world import World

PIPELINE_ENGINE = "headrace-pipeline/4"
"""Changes whenever equal inputs may give another plan."""

__all__ = ["PipelineDecision", "PipelineRequest", "PipelineStage", "StageInput", "decide_pipeline"]


def decide_pipeline(request: PipelineRequest, snapshot: Snapshot) -> PipelineDecision:
    """Decide where and when each stage of a pipeline goes.

    The same input gives the same decision, byte for byte, whatever the order of stages, inputs, sites and so on.

    Raises:
        InputError: ``DEADLINE_PAST``, ``UNKNOWN_SITE``, and what ``decide`` raises for any of the stages. That nothing
            fits is no error but the outcome *infeasible*.
    """
    problem = Problem(request, snapshot)
    limits = limits_of(request, problem.balance)
    bounds = None
    found = Found(None, True)
    if all(stage.options for stage in problem.stages):
        bounds = Bounds(problem)
        found = best_schedule(problem, bounds, Objective.COST, limits)
    comparison = Deferred(lambda: (_stage_by_stage(problem, limits),))
    if found.schedule is None:
        binding, changes = what_would_help(problem, bounds)
        return PipelineDecision(
            outcome=Outcome.INFEASIBLE,
            stages=(),
            cost_micro=0,
            needed_micro=0,
            wait_until_at=None,
            finish_at=None,
            finish_high_at=None,
            compared=comparison,
            binding=binding,
            blocked=tuple(
                BlockedStage(stage.name, problem.book.refusals(stage.world, stage.inherited))
                for stage in problem.stages
                if not stage.options
            ),
            counterfactuals=changes,
            proven=found.proven,
            engine=PIPELINE_ENGINE,
        )
    stages = _placements(problem, found.schedule, limits)
    first_at = min(stage.start_at for stage in stages)
    waits = first_at > problem.now_at
    return PipelineDecision(
        outcome=Outcome.WAIT if waits else Outcome.RUN,
        stages=stages,
        cost_micro=found.schedule.cost_micro,
        needed_micro=found.schedule.needed_micro,
        wait_until_at=first_at if waits else None,
        finish_at=max(stage.finish_at for stage in stages),
        finish_high_at=max(stage.finish_high_at for stage in stages),
        compared=comparison,
        binding=(),
        blocked=(),
        counterfactuals=(),
        proven=found.proven,
        engine=PIPELINE_ENGINE,
    )


def _stage_by_stage(problem: Problem, limits: Limits) -> StageByStage:
    greedy, placed = one_after_the_other(problem, limits)
    stages = problem.stages
    return StageByStage(
        offers=tuple((stages[i].name, *stages[i].options[choice].key) for i, choice in enumerate(greedy.choices)),
        stuck_at="" if placed == len(stages) else stages[placed].name,
        cost_micro=greedy.cost_micro,
        finish_high_at=max(greedy.finishes, default=problem.now_at),
    )


def _placements(problem: Problem, schedule: Schedule, limits: Limits) -> tuple[StagePlacement, ...]:
    finish_at: list[float] = []
    placements = []
    for stage, choice, start_high_at in zip(problem.stages, schedule.choices, schedule.starts, strict=True):
        option = stage.options[choice]
        run = problem.run(stage, choice, places_of(problem, stage, schedule.choices))
        assert run is not None, "the schedule holds only possible runs"
        parents = [parent for parent, _ in stage.parents]
        ready_high_at = max((schedule.finishes[parent] for parent in parents), default=problem.now_at)
        ready_at = max((finish_at[parent] for parent in parents), default=problem.now_at)
        if start_high_at > max(ready_high_at, option.free_at):
            start_at = start_high_at  # planned so for a price, or for devices of other stages
        else:
            start_at = max(ready_at, _expected_free_at(problem, stage, option, run.total_s))
        cost, high_micro = run_cost(
            option.price, run.durations, run.high_s, stage.devices, run.egress_micro, start_high_at
        )
        finish_at.append(start_at + run.total_s)
        placements.append(
            StagePlacement(
                stage=stage.name,
                site=option.where.name,
                pool=option.pool.name,
                offer=option.offer.name,
                purchase=option.offer.purchase,
                device=option.offer.device,
                devices=stage.devices,
                start_at=start_at,
                finish_at=finish_at[-1],
                start_high_at=start_high_at,
                finish_high_at=schedule.finishes[stage.index],
                time=TimeParts(
                    wait_s=start_at - problem.now_at,
                    boot_s=run.durations.boot_s,
                    transfer_s=run.durations.transfer_s,
                    compute_s=run.durations.compute_s,
                    rework_s=run.durations.rework_s,
                    handover_s=run.durations.handover_s,
                ),
                cost=cost,
                needed_micro=needed(high_micro, run.egress_micro),
                moves=_moves(problem, stage, schedule),
                residency=result_residency(stage),
                trust_zone=stage.zone,
                next_best=Deferred(partial(next_best, problem, schedule, limits, stage)),
            )
        )
    return tuple(placements)


def _expected_free_at(problem: Problem, stage: Stage, option: Option, seconds: float) -> float:
    """When enough devices of an option are expected to be free of the runs that are there already."""
    if problem.expected is problem.snapshot or option.free_at <= problem.now_at:
        return option.free_at
    found = free_at(World.of(stage.world.request, problem.expected), problem.book.rows[option.row], seconds)
    return option.free_at if found is None else found


def _moves(problem: Problem, stage: Stage, schedule: Schedule) -> tuple[StageMove, ...]:
    option = stage.options[schedule.choices[stage.index]]
    moves = [_dataset_move(move) for move in option.view.moves or ()]
    for (parent, size), place in zip(stage.parents, places_of(problem, stage, schedule.choices), strict=True):
        if size and place not in (option.site, OUTSIDE):
            source = problem.sites[place]
            moves.append(
                StageMove(
                    what=problem.stages[parent].name,
                    version="",
                    source=source.name,
                    bytes=size,
                    egress_micro=egress_of(size, source),
                    transfer_s=transfer_of(size, source, option.where),
                )
            )
    return tuple(sorted(moves, key=lambda move: (move.version == "", move.what, move.version)))


def _dataset_move(move: Move) -> StageMove:
    return StageMove(move.dataset, move.version, move.source, move.bytes, move.egress_micro, move.transfer_s)

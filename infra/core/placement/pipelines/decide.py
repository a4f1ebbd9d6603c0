"""The decision for a whole pipeline: one pure function of a request with several stages and a snapshot.

All stages are placed together: compute, data that moves between stages and its egress, one deadline, one budget. The
cheapest plan wins, then the one that ends first, then the first by the names of its offers, stage by stage.

The model, beyond that of a single run (``docs/placement.md``): a stage starts when all of its inputs are there, at the
high estimates of everything before it; its result lies where it was made, or at the site that keeps results, and
inherits residency and trust zone from everything that it was made from; stages that run at the same time on one
offer share its devices.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from itertools import combinations

from infra.core.budget import Balance
from infra.core.deferred import Deferred
from infra.core.placement.changes import with_limit
from infra.core.placement.constraints import Move
from infra.core.placement.costing import needed, run_cost
from infra.core.placement.decision import Change, ChangeKind, Outcome, ReasonCode, TimeParts
from infra.core.placement.pipelines.alternatives import next_best
from infra.core.placement.pipelines.bounds import Bounds
from infra.core.placement.pipelines.objective import Objective
from infra.core.placement.pipelines.plan import (
    BlockedStage,
    PipelineCounterfactual,
    PipelineDecision,
    PipelineRequest,
    PipelineStage,
    StageByStage,
    StageInput,
    StageMove,
    StagePlacement,
)
from infra.core.placement.pipelines.problem import OUTSIDE, Problem, Stage, egress_of, result_residency, transfer_of
from infra.core.placement.pipelines.schedule import Limits, Schedule, one_after_the_other, places_of
from infra.core.placement.pipelines.search import Found, best_schedule
from infra.core.placement.snapshot import Snapshot
from infra.core.workload import Fallback

PIPELINE_ENGINE = "headrace-pipeline/3"
"""Changes whenever equal inputs may give another plan."""

MOST_CHANGES = 3
_CODES = {
    ChangeKind.BUDGET: ReasonCode.BUDGET_RUN_EXCEEDED,
    ChangeKind.TENANT_BUDGET: ReasonCode.BUDGET_TENANT_EXCEEDED,
    ChangeKind.DEADLINE: ReasonCode.DEADLINE_MISSED,
    ChangeKind.WAIT: ReasonCode.CAPACITY_BUSY,
}

__all__ = ["PipelineDecision", "PipelineRequest", "PipelineStage", "StageInput", "decide_pipeline"]


def decide_pipeline(request: PipelineRequest, snapshot: Snapshot) -> PipelineDecision:
    """Decide where and when each stage of a pipeline goes.

    The same input gives the same decision, byte for byte, whatever the order of stages, inputs, sites and so on.

    Raises:
        InputError: ``DEADLINE_PAST``, ``UNKNOWN_SITE``, and what ``decide`` raises for any of the stages. That nothing
            fits is no error but the outcome *infeasible*.
    """
    problem = Problem(request, snapshot)
    limits = _limits(request, problem.balance)
    bounds = None
    found = Found(None, True, 0)
    if all(stage.options for stage in problem.stages):
        bounds = Bounds(problem)
        found = best_schedule(problem, bounds, Objective.COST, limits)
    comparison = Deferred(lambda: (_stage_by_stage(problem, limits),))
    if found.schedule is None:
        binding, changes = _what_would_help(problem, bounds)
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


def _limits(request: PipelineRequest, balance: Balance) -> Limits:
    money_micro = balance.available_micro
    if request.budget_micro is not None:
        money_micro = min(request.budget_micro, money_micro)
    return Limits(request.deadline_at, money_micro)


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
        # What waits for its inputs alone starts when they come; what waits for more starts when it was planned to.
        start_at = start_high_at if start_high_at > ready_high_at else max(ready_at, option.free_at)
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


def _what_would_help(
    problem: Problem, bounds: Bounds | None
) -> tuple[tuple[ReasonCode, ...], tuple[PipelineCounterfactual, ...]]:
    """What stands in the way, and the smallest sets of limits that, moved so far, let the pipeline through."""
    if bounds is None:
        blocked = [stage for stage in problem.stages if not stage.options]
        refused = [problem.book.refusals(stage.world, stage.inherited) for stage in blocked]
        sets = {frozenset(item.code for item in reasons) for each in refused for _, _, reasons in each}
        nearest = [codes for codes in sets if not any(other < codes for other in sets)]
        return tuple(code for code in ReasonCode if any(code in codes for codes in nearest)), ()
    ways = _Ways(problem, bounds)
    kinds = [kind for kind in _CODES if _has(problem, kind)]
    for size in range(1, min(MOST_CHANGES, len(kinds)) + 1):
        found = [way for group in combinations(kinds, size) if (way := ways.find(group)) is not None]
        if found:
            told = {change.kind for way in found for change in way.changes}
            codes = {_CODES[kind] for kind in told}
            return tuple(code for code in ReasonCode if code in codes), tuple(found)
    # What is left are limits of single stages, which the pipeline's own limits do not move.
    limited = [stage.world.request for stage in problem.stages]
    codes = {ReasonCode.DEADLINE_MISSED} if any(each.deadline_at is not None for each in limited) else set()
    codes |= {ReasonCode.BUDGET_RUN_EXCEEDED} if any(each.budget_micro is not None for each in limited) else set()
    return tuple(code for code in ReasonCode if code in codes | {_CODES[kind] for kind in kinds}), ()


def _has(problem: Problem, kind: ChangeKind) -> bool:
    """Whether the request has what this kind of change would relax."""
    request = problem.request
    if kind is ChangeKind.BUDGET:
        return request.budget_micro is not None
    if kind is ChangeKind.DEADLINE:
        return request.deadline_at is not None
    return kind is not ChangeKind.WAIT or any(not stage.may_wait for stage in problem.stages)


class _Ways:
    """Finds the least values of limits that make a pipeline possible."""

    def __init__(self, problem: Problem, bounds: Bounds) -> None:
        self._problems = {False: (problem, bounds)}

    def _among(self, waits: bool) -> tuple[Problem, Bounds]:
        """The problem as it is, or as it would be if every stage might wait."""
        if waits not in self._problems:
            problem, _ = self._problems[False]
            waiting = Problem(_waiting(problem.request), problem.snapshot)
            self._problems[waits] = (waiting, Bounds(waiting))
        return self._problems[waits]

    def find(self, kinds: tuple[ChangeKind, ...]) -> PipelineCounterfactual | None:
        """The least values of these kinds that make the pipeline possible, verified; ``None`` when none do."""
        problem, bounds = self._among(ChangeKind.WAIT in kinds)
        request, snapshot = problem.request, problem.snapshot
        budget_micro, available_micro = request.budget_micro, problem.balance.available_micro
        budget = math.inf if ChangeKind.BUDGET in kinds or budget_micro is None else budget_micro
        tenant = math.inf if ChangeKind.TENANT_BUDGET in kinds else available_micro
        deadline_at = None if ChangeKind.DEADLINE in kinds else request.deadline_at
        money = min(budget, tenant)
        least: Schedule | None = None
        if math.inf in (budget, tenant) and {ChangeKind.BUDGET, ChangeKind.TENANT_BUDGET} & set(kinds):
            least = best_schedule(problem, bounds, Objective.NEED, Limits(deadline_at, money)).schedule
            if least is None:
                return None
            money = least.needed_micro
        values: dict[ChangeKind, str | int | float] = {ChangeKind.WAIT: Fallback.WAIT.value}
        if ChangeKind.DEADLINE in kinds:
            soonest = best_schedule(problem, bounds, Objective.FINISH, Limits(None, money)).schedule
            if soonest is None:
                return None
            deadline_at = float(math.ceil(soonest.end_at))
            values[ChangeKind.DEADLINE] = deadline_at
        if least is not None:
            values[ChangeKind.BUDGET] = least.needed_micro
            values[ChangeKind.TENANT_BUDGET] = problem.balance.limit_micro + least.needed_micro - available_micro
        changes = tuple(Change(kind, values[kind]) for kind in ChangeKind if kind in kinds)
        changed_request, changed_snapshot = apply_to_pipeline(request, snapshot, changes)
        known = least if ChangeKind.DEADLINE not in kinds else None
        if ChangeKind.TENANT_BUDGET in kinds:  # a policy may look at it, and let other offers through
            problem = Problem(changed_request, changed_snapshot)
            bounds, known = Bounds(problem), None
        limits = _limits(changed_request, problem.balance)
        again = best_schedule(problem, bounds, Objective.COST, limits, known).schedule
        return None if again is None else PipelineCounterfactual(changes, again.cost_micro, again.end_at)


def _waiting(request: PipelineRequest) -> PipelineRequest:
    return replace(
        request,
        stages=tuple(
            stage
            if Fallback.WAIT in stage.request.fallbacks
            else replace(stage, request=replace(stage.request, fallbacks=(*stage.request.fallbacks, Fallback.WAIT)))
            for stage in request.stages
        ),
    )


def apply_to_pipeline(
    request: PipelineRequest, snapshot: Snapshot, changes: tuple[Change, ...]
) -> tuple[PipelineRequest, Snapshot]:
    """The request and snapshot as they would be with these changes of budget, deadline and waiting."""
    for change in changes:
        if change.kind is ChangeKind.BUDGET:
            request = replace(request, budget_micro=int(change.value))
        elif change.kind is ChangeKind.DEADLINE:
            request = replace(request, deadline_at=float(change.value))
        elif change.kind is ChangeKind.WAIT:
            request = _waiting(request)
        elif change.kind is ChangeKind.TENANT_BUDGET:
            snapshot = with_limit(request.stages[0].request, snapshot, int(change.value))
    return request, snapshot

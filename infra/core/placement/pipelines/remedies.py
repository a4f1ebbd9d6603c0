"""The smallest changes of a pipeline's limits that would let it through, each verified by searching again."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

from infra.core.budget import Balance
from infra.core.placement.changes import with_limit
from infra.core.placement.decision import Change, ChangeKind, ReasonCode
from infra.core.placement.pipelines.bounds import Bounds
from infra.core.placement.pipelines.objective import Objective
from infra.core.placement.pipelines.plan import PipelineCounterfactual, PipelineRequest
from infra.core.placement.pipelines.problem import Problem
from infra.core.placement.pipelines.schedule import Limits, Schedule
from infra.core.placement.pipelines.search import best_schedule
from infra.core.placement.snapshot import Snapshot
from infra.core.workload import Fallback

MOST_CHANGES = 3
_CODES = {
    ChangeKind.BUDGET: ReasonCode.BUDGET_RUN_EXCEEDED,
    ChangeKind.TENANT_BUDGET: ReasonCode.BUDGET_TENANT_EXCEEDED,
    ChangeKind.DEADLINE: ReasonCode.DEADLINE_MISSED,
    ChangeKind.WAIT: ReasonCode.CAPACITY_BUSY,
}


def limits_of(request: PipelineRequest, balance: Balance) -> Limits:
    money_micro = balance.available_micro
    if request.budget_micro is not None:
        money_micro = min(request.budget_micro, money_micro)
    return Limits(request.deadline_at, money_micro)


def what_would_help(
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
        limits = limits_of(changed_request, problem.balance)
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

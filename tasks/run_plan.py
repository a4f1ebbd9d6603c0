"""A run as its flow asks for it, and what is left of that after earlier attempts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from infra.core.placement.queue import wait_price
from infra.core.placement.warm import Kept
from infra.core.workload import DatasetRef, WorkloadRequest
from infra.ports import AttemptRecord
from infra.wiring import ControlPlane
from tasks.attempts import rung_of
from tasks.site_io import share_done


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run as its flow asks for it.

    Attributes:
        roles: What the work calls each dataset: ``(("data", ref), ("model", ref))``.
        parameters: The kind's own parameters, plain JSON.
        output: Name under which the result is published; empty when there is nothing to publish.
        kept: Of a warm run, what it keeps.
    """

    run_id: str
    flow_run_id: str
    request: WorkloadRequest
    roles: tuple[tuple[str, DatasetRef], ...]
    parameters: dict[str, Any] = field(default_factory=dict)
    output: str = ""
    kept: Kept | None = None


def remaining(control: ControlPlane, plan: RunPlan) -> tuple[WorkloadRequest, ...]:
    """The request on each rung that it may still be placed on, from the top down: less what earlier attempts were charged,
    and less the work that the last checkpoint of that rung's work stands for.

    Once an attempt was opened on a rung with lighter work, the run does not go back above it: what was done belongs to it.
    """
    attempts, rungs = control.database.runs.attempts(plan.run_id), plan.request.rungs()
    first = _lowest_begun(control, plan.request, attempts) if plan.request.ladder else 0
    return tuple(left_of_budget(_left_of_work(control, plan, each, attempts), attempts) for each in rungs[first:])


def _left_of_work(
    control: ControlPlane, plan: RunPlan, request: WorkloadRequest, attempts: tuple[AttemptRecord, ...]
) -> WorkloadRequest:
    if not attempts or not request.checkpointed:
        return request
    lighter = "" if request.on is None else request.on.work
    return replace(request, units=request.units * (1.0 - share_done(control.store, plan.run_id, lighter)))


def _lowest_begun(control: ControlPlane, request: WorkloadRequest, attempts: tuple[AttemptRecord, ...]) -> int:
    """Number of the lowest rung with lighter work that an attempt was opened on; 0, as asked, when there is none."""
    lighter = [rung for rung in (rung_of(control, attempt) for attempt in attempts) if rung is not None and rung.work]
    number = {rung.name: index for index, rung in enumerate(request.ladder, 1)}
    return max((number.get(rung.name, 0) for rung in lighter), default=0)


def left_of_budget(request: WorkloadRequest, attempts: Iterable[AttemptRecord]) -> WorkloadRequest:
    """The request with its budget reduced by what these attempts were charged."""
    if request.budget_micro is None:
        return request
    spent = sum(attempt.charged.total_micro for attempt in attempts if attempt.charged is not None)
    return replace(request, budget_micro=max(0, request.budget_micro - spent))


def priced(control: ControlPlane, request: WorkloadRequest) -> WorkloadRequest:
    """The request with its tenant's price of waiting, where it names none itself."""
    if request.wait_micro_per_hour is not None:
        return request
    price = wait_price(control.wait_micro_per_hour(request.tenant), request.priority)
    return replace(request, wait_micro_per_hour=price)

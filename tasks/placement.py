"""Places a run: snapshot → decide → claim devices and reserve money → permit. Everything is recorded.

Plain functions over the control plane's ports; ``tasks/entry.py`` shows them to Prefect.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from infra import faults
from infra.adapters.current_policy import current_policy
from infra.core.budget import most_for
from infra.core.canonical import digest
from infra.core.errors import BudgetError, ConflictError, InputError, RefusedError
from infra.core.lifecycle import AttemptState, RunState
from infra.core.placement.constraints import cheapest_source
from infra.core.placement.decision import Candidate, Decision, Outcome, Step
from infra.core.placement.ladder import descend
from infra.core.placement.queue import entry_of, wait_price
from infra.core.placement.recheck import forbidding_in_full
from infra.core.placement.snapshot import Health, Snapshot
from infra.core.placement.warm import Kept, only_at, with_warm
from infra.core.rung import Rung
from infra.core.trust import PermitClaims, PermittedDataset
from infra.core.units import period_of
from infra.core.workload import DatasetRef, WorkloadRequest
from infra.faults import Point
from infra.ports import AttemptRecord, CatalogEntry, RunRecord
from infra.wiring import ControlPlane
from tasks.attempts import rung_of
from tasks.site_io import share_done
from tasks.site_job import InputRef, SiteWork
from tasks.warming import ready_clusters

ROUNDS = 20
"""How often a placement is tried again after somebody else took the devices or the money in between."""

START_ALLOWANCE_S = 600.0
"""A permit outlives the high estimate of its run by this much, for queues and slow starts…"""

OVERRUN = 3.0
"""…and by this factor: what an attempt may cost is bounded by its cap, not by its permit's end."""


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


@dataclass(frozen=True, slots=True)
class Placement:
    """What was decided and, when the outcome is *run*, the attempt that it opened.

    Attributes:
        steps: Rungs of the request's ladder that were tried, from the top down; the last one counts.
    """

    steps: tuple[Step, ...]
    snapshot: Snapshot
    attempt: AttemptRecord | None

    @property
    def decision(self) -> Decision:
        """The decision that counts."""
        return self.steps[-1].decision

    @property
    def request(self) -> WorkloadRequest:
        """The request as it is on the rung that counts."""
        return self.steps[-1].request


def open_run(control: ControlPlane, plan: RunPlan) -> RunRecord:
    """The run's record; opened when this is the first time that the flow comes by."""
    return control.database.runs.open_run(
        RunRecord(
            plan.run_id,
            plan.flow_run_id,
            plan.request.kind,
            plan.request.tenant,
            RunState.ACTIVE,
            0,
            control.clock.now(),
        )
    )


def place(control: ControlPlane, plan: RunPlan) -> Placement:
    """Decide and, when the outcome is *run*, take devices and money for the next attempt in one transaction.

    Raises:
        InputError: The request names something unknown.
        ConflictError: ``PLACEMENT_CONTENDED`` when others were faster too often.
        RefusedError: ``POLICY_RECHECK_FAILED``.
    """
    database = control.database
    for _ in range(ROUNDS):
        run = database.runs.run(plan.run_id)
        assert run is not None, "a run is opened before it is placed"
        wanted = [priced(control, each) for each in remaining(control, plan)]
        snapshot = control.snapshot(tuple((ref.name, ref.version) for _, ref in plan.roles), plan.run_id)
        if plan.kept is not None:
            snapshot = only_at(snapshot, plan.kept.site, plan.kept.offer)
        steps, snapshot, cluster_lease = _decide(control, wanted, snapshot)
        request, decision = steps[-1].request, steps[-1].decision
        if decision.chosen is not None:
            recheck_policy(request, snapshot, decision.chosen)
        faults.passed(Point.DECIDED)
        try:
            with database.transaction():
                require_current_policy(control, snapshot)
                for step in steps:
                    database.runs.add_decision(plan.run_id, step.request, snapshot, step.decision)
                if decision.outcome is not Outcome.RUN:
                    waits = decision.outcome is Outcome.WAIT
                    database.runs.set_run_state(
                        plan.run_id,
                        RunState.WAITING if waits else RunState.INFEASIBLE,
                        f"on rung {request.rung}" if waits and request.rung else "",
                    )
                    database.runs.enqueue(
                        plan.run_id, entry_of(plan.run_id, run.created_at, request, snapshot, decision)
                    )
                    return Placement(steps, snapshot, None)
                assert decision.chosen is not None
                record = _attempt(control, plan, run.attempt + 1, decision.chosen, snapshot, request, cluster_lease)
                attempt = database.runs.claim_attempt(
                    record, snapshot.offer(decision.chosen.site, decision.chosen.offer).capacity
                )
                database.ledger.reserve(
                    request.tenant,
                    period_of(snapshot.now_at),
                    plan.run_id,
                    attempt.attempt,
                    attempt.cap_micro,
                    snapshot.now_at,
                )
            faults.passed(Point.RESERVED)
            return Placement(steps, snapshot, attempt)
        except (ConflictError, BudgetError):
            continue
    raise ConflictError("PLACEMENT_CONTENDED", f"others were faster {ROUNDS} times", f"run {plan.run_id}", "try again")


def _decide(
    control: ControlPlane, wanted: Sequence[WorkloadRequest], snapshot: Snapshot
) -> tuple[tuple[Step, ...], Snapshot, str]:
    """Decide with the warm clusters that stand ready, or without them where the run's permit would outlast the chosen one.

    Returns:
        The steps, the snapshot that they were decided on, and the lease of the warm cluster that is used, or "".
    """
    warmed, ready = with_warm(snapshot, ready_clusters(control, snapshot.now_at), wanted, START_ALLOWANCE_S)
    if ready:
        steps = descend(wanted, warmed)
        decision = steps[-1].decision
        if decision.outcome is Outcome.RUN and decision.chosen is not None:
            chosen = decision.chosen
            cluster = ready.get((chosen.site, chosen.offer))
            if cluster is None:
                return steps, warmed, ""
            if _permit_ends(chosen, snapshot.now_at) <= cluster.expires_at:
                return steps, warmed, cluster.lease_id
    return descend(wanted, snapshot), snapshot, ""


def _permit_ends(chosen: Candidate, now_at: float) -> float:
    assert chosen.finish_high_at is not None
    return now_at + START_ALLOWANCE_S + OVERRUN * (chosen.finish_high_at - now_at)


def require_current_policy(control: ControlPlane, snapshot: Snapshot) -> None:
    """Inside the transaction that records a decision: refuse one that was made with an older policy.

    A policy changes in a write transaction, and there is one of those at a time. So either this one sees the new version
    and refuses, or it ends before the change does.

    Raises:
        ConflictError: ``POLICY_CHANGED``: decide again.
    """
    version = current_policy(control.database).version
    if version != snapshot.policy.version:
        raise ConflictError(
            "POLICY_CHANGED", f"it is {version[:19]} now", f"policy {snapshot.policy.version[:19]}", "decide again"
        )


def recheck_policy(request: WorkloadRequest, snapshot: Snapshot, chosen: Candidate) -> None:
    """Hold the chosen offer against the policy once more, the slow way.

    Raises:
        RefusedError: ``POLICY_RECHECK_FAILED``: the two ways differ, so neither is trusted.
    """
    rules = forbidding_in_full(request, snapshot, chosen)
    if rules:
        raise RefusedError(
            "POLICY_RECHECK_FAILED",
            f"chosen, and forbidden by {', '.join(rules)}",
            f"{chosen.site}/{chosen.offer} under policy {snapshot.policy.version[:19]}",
            "report this with `headrace policy explain`; nothing was placed",
        )


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


def site_work(
    control: ControlPlane, plan: RunPlan, attempt: int, site: str, snapshot: Snapshot, rung: Rung | None
) -> SiteWork:
    """What the site is asked to do. Equal inputs give equal work, so that the permit's digest holds after a restart.

    Args:
        rung: The rung that the attempt was opened on, whose parameters replace the plan's.
    """
    sites = {each.name: each for each in snapshot.sites}
    down = {each.site for each in snapshot.health if each.health is Health.DOWN}
    inputs = []
    for role, ref in plan.roles:
        entry = _entry(control, ref)
        version = entry.version
        source = cheapest_source(version, sites[site], sites, down)
        assert source is not None, "the decision found a source"
        prefix = f"datasets/{version.name}/{version.version}"
        inputs.append(
            InputRef(role, version.name, version.version, prefix, source.name, entry.manifest_sha256, version.bytes)
        )
    parameters, lighter = (dict(rung.parameters), rung.work) if rung is not None else ({}, "")
    return SiteWork(plan.run_id, attempt, plan.request.kind, tuple(inputs), {**plan.parameters, **parameters}, lighter)


def _attempt(
    control: ControlPlane,
    plan: RunPlan,
    number: int,
    chosen: Candidate,
    snapshot: Snapshot,
    request: WorkloadRequest,
    cluster_lease: str,
) -> AttemptRecord:
    """The attempt that a decision about ``request`` opens, with its permit.

    A warm run's permit ends when what it reserved is used up, and never gets more: what its machines can cost is paid for
    before they boot. Its devices are expected back when it has idled out.
    """
    assert chosen.finish_at is not None
    assert chosen.finish_high_at is not None
    now_at, serve_s = snapshot.now_at, 0.0 if plan.kept is None else plan.kept.serve_s
    permit = PermitClaims(
        id=str(uuid.uuid4()),
        run_id=plan.run_id,
        attempt=number,
        site=chosen.site,
        pool=chosen.pool,
        offer=chosen.offer,
        devices=chosen.devices,
        work_sha256=digest(site_work(control, plan, number, chosen.site, snapshot, request.on)),
        datasets=tuple(_permitted(_entry(control, ref)) for _, ref in plan.roles),
        residency=plan.request.residency,
        trust_zone=plan.request.trust_zone,
        cap_micro=chosen.cap_micro,
        issued_at=now_at,
        expires_at=_permit_ends(chosen, now_at) if plan.kept is None else chosen.finish_high_at,
        most_micro=most_for(chosen.cap_micro, request.budget_micro) if plan.kept is None else 0,
        cluster_lease=cluster_lease,
    )
    return AttemptRecord(
        run_id=plan.run_id,
        attempt=number,
        state=AttemptState.RESERVED,
        site=chosen.site,
        pool=chosen.pool,
        offer=chosen.offer,
        purchase=chosen.purchase,
        device=chosen.device,
        devices=chosen.devices,
        cap_micro=chosen.cap_micro,
        permit=permit,
        started_at=now_at,
        expected_finish_at=chosen.finish_at - serve_s,
        late_finish_at=None if chosen.finish_p90_at is None else chosen.finish_p90_at - serve_s,
    )


def _permitted(entry: CatalogEntry) -> PermittedDataset:
    version = entry.version
    return PermittedDataset(version.name, version.version, version.residency, version.trust_zone, entry.manifest_sha256)


def _entry(control: ControlPlane, ref: DatasetRef) -> CatalogEntry:
    entry = control.database.catalog.find(ref.name, ref.version)
    if entry is None or entry.quarantined:
        raise InputError(
            "UNKNOWN_DATASET", f"{ref} is not an accepted version", "request: datasets", "see `headrace data versions`"
        )
    return entry

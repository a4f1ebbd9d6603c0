"""Places a run: snapshot → decide → claim devices and reserve money → permit. Everything is recorded.

Plain functions over the control plane's ports; ``tasks/entry.py`` shows them to Prefect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infra import faults
from infra.adapters.current_policy import current_policy
from infra.core.errors import BudgetError, ConflictError, RefusedError
from infra.core.lifecycle import RunState
from infra.core.placement.decision import Candidate, Decision, Outcome, Step
from infra.core.placement.ladder import descend
from infra.core.placement.queue import entry_of
from infra.core.placement.recheck import forbidding_in_full
from infra.core.placement.snapshot import Snapshot
from infra.core.placement.warm import only_at, with_warm
from infra.core.units import period_of
from infra.core.workload import WorkloadRequest
from infra.faults import Point
from infra.ports import AttemptRecord, RunRecord
from infra.wiring import ControlPlane
from tasks.permits import START_ALLOWANCE_S, attempt_of, permit_ends
from tasks.run_plan import RunPlan, priced, remaining
from tasks.warming import ready_clusters

ROUNDS = 20
"""How often a placement is tried again after somebody else took the devices or the money in between."""


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
                record = attempt_of(control, plan, run.attempt + 1, decision.chosen, snapshot, request, cluster_lease)
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
            if permit_ends(chosen, snapshot.now_at) <= cluster.expires_at:
                return steps, warmed, cluster.lease_id
    return descend(wanted, snapshot), snapshot, ""


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

"""The public JSON of a decision, as ``headrace place --json`` prints it. Its schema: ``headrace schema decision``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra.core.canonical import digest
from infra.core.errors import HeadraceError
from infra.core.placement.decision import (
    Candidate,
    Change,
    ChangeKind,
    CostParts,
    Counterfactual,
    Decision,
    Reason,
    Step,
    TimeParts,
)
from infra.core.placement.snapshot import Snapshot
from infra.core.units import iso, usd_float
from infra.core.workload import WorkloadRequest
from infra.documents import answer
from infra.render.prose import change_text, is_simulated, reason_text

_MONEY_CHANGES = (ChangeKind.BUDGET, ChangeKind.TENANT_BUDGET)


def decision_answer(
    decision: Decision, request: WorkloadRequest, snapshot: Snapshot, steps: Sequence[Step] = ()
) -> dict[str, Any]:
    """Plain JSON values: dollars, ISO 8601 times, codes with parameters and their texts.

    Args:
        steps: All rungs of the request's ladder that were tried, this decision's as the last.
    """
    now_at, chosen = snapshot.now_at, decision.chosen
    finish_high_at = chosen.finish_high_at if chosen else None
    model = answer.DecisionAnswer(
        outcome=decision.outcome,
        offer=_offer(chosen) if chosen else None,
        cost_usd=usd_float(chosen.cost.total_micro) if chosen else None,
        cost=cost_answer(chosen.cost) if chosen else None,
        cap_usd=usd_float(chosen.cap_micro) if chosen else None,
        start=_iso(chosen.start_at if chosen else None),
        finish=_iso(chosen.finish_at if chosen else None),
        finish_high=_iso(finish_high_at),
        deadline_probability=chosen.deadline_probability if chosen else None,
        required_probability=request.deadline_probability,
        wait_until=_iso(decision.wait_until_at),
        candidates=tuple(_candidate(item, chosen, now_at) for item in decision.candidates),
        binding=decision.binding,
        counterfactuals=tuple(_counterfactual(item, now_at) for item in decision.counterfactuals),
        rung=request.rung,
        ladder=tuple(
            answer.StepAnswer(rung=each.request.rung, outcome=each.decision.outcome, binding=each.decision.binding)
            for each in (steps if request.ladder else ())
        ),
        simulated=is_simulated(decision, {site.name: site.simulated for site in snapshot.sites}),
        decided_at=iso(now_at),
        engine=decision.engine,
        digests=answer.DigestsAnswer(request=digest(request), snapshot=digest(snapshot), decision=digest(decision)),
    )
    return model.model_dump(mode="json")


def error_answer(error: HeadraceError) -> dict[str, Any]:
    """An error where a decision was asked for: ``outcome`` is ``error``."""
    return answer.ErrorAnswer(outcome="error", error=answer.ProblemAnswer(**error.as_dict())).model_dump(mode="json")


def _iso(at: float | None) -> str | None:
    return None if at is None else iso(at)


def _offer(candidate: Candidate) -> answer.OfferAnswer:
    return answer.OfferAnswer(
        site=candidate.site,
        pool=candidate.pool,
        offer=candidate.offer,
        purchase=candidate.purchase,
        device=candidate.device,
        devices=candidate.devices,
    )


def _candidate(candidate: Candidate, chosen: Candidate | None, now_at: float) -> answer.CandidateAnswer:
    planned = candidate.start_at is not None
    return answer.CandidateAnswer(
        **dict(_offer(candidate)),
        chosen=candidate == chosen,
        feasible=candidate.feasible,
        reasons=tuple(reason_answer(item, now_at) for item in candidate.reasons),
        start=_iso(candidate.start_at),
        finish=_iso(candidate.finish_at),
        finish_p90=_iso(candidate.finish_p90_at),
        finish_high=_iso(candidate.finish_high_at),
        deadline_probability=candidate.deadline_probability,
        cost_usd=usd_float(candidate.cost.total_micro) if planned else None,
        cost=cost_answer(candidate.cost) if planned else None,
        wait_usd=usd_float(candidate.wait_micro) if planned else None,
        cost_p90_usd=usd_float(candidate.cost_p90_micro) if planned else None,
        cost_high_usd=usd_float(candidate.cost_high_micro) if planned else None,
        time=time_answer(candidate.time) if planned else None,
        time_high=time_answer(candidate.time_high) if planned else None,
        cap_usd=usd_float(candidate.cap_micro) if planned else None,
    )


def reason_answer(reason: Reason, now_at: float) -> answer.ReasonAnswer:
    return answer.ReasonAnswer(code=reason.code, params=dict(reason.params), text=reason_text(reason, now_at))


def cost_answer(cost: CostParts) -> answer.CostAnswer:
    return answer.CostAnswer(
        compute_usd=usd_float(cost.compute_micro),
        boot_usd=usd_float(cost.boot_micro),
        egress_usd=usd_float(cost.egress_micro),
        rework_usd=usd_float(cost.rework_micro),
        total_usd=usd_float(cost.total_micro),
    )


def time_answer(time: TimeParts) -> answer.TimeAnswer:
    return answer.TimeAnswer(
        wait_s=time.wait_s,
        handover_s=time.handover_s,
        boot_s=time.boot_s,
        transfer_s=time.transfer_s,
        compute_s=time.compute_s,
        rework_s=time.rework_s,
        total_s=time.total_s,
    )


def _counterfactual(item: Counterfactual, now_at: float) -> answer.CounterfactualAnswer:
    return answer.CounterfactualAnswer(
        changes=tuple(change_answer(change, now_at) for change in item.changes),
        site=item.site,
        offer=item.offer,
        cost_usd=usd_float(item.cost_micro),
        finish=iso(item.finish_at),
    )


def change_answer(change: Change, now_at: float) -> answer.ChangeAnswer:
    value: str | int | float = change.value
    if change.kind in _MONEY_CHANGES:
        value = usd_float(int(change.value))
    elif change.kind is ChangeKind.DEADLINE:
        value = iso(float(change.value))
    return answer.ChangeAnswer(kind=change.kind, value=value, text=change_text(change, now_at))

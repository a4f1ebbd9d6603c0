"""The policy in a decision: reasons of offers and of starts, windows that are waited for, ceilings, and the full check."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.core.canonical import canonical
from infra.core.placement.decide import decide
from infra.core.placement.decision import ChangeKind, Outcome, ReasonCode
from infra.core.placement.recheck import forbidding_in_full
from infra.core.placement.snapshot import Health, SiteHealth
from infra.core.policy import PERMIT_ALL, Policy, Span, TenantRules, Window
from infra.documents import snapshot_from_json
from tests.unit.placement_world import (
    DOCS,
    HOUR_S,
    NOW_AT,
    USD,
    busy,
    candidate,
    codes,
    on_docs,
    params,
    request,
    snapshot,
)

R = ReasonCode
EVERYWHERE = replace(DOCS, copies=("onprem", "cloud-eu", "cloud-us"))
AWAY = {"health": (SiteHealth("onprem", Health.DOWN),), "datasets": (EVERYWHERE,)}
"""The owned site is down, and the documents are everywhere."""
NO_WAIT = {"fallbacks": ()}


def policy(condition: str, *spans: tuple[float, float], **changes) -> Policy:
    """Bursting is forbidden when the condition holds; ``night`` is the spans, in hours from now."""
    text = PERMIT_ALL + f'@id("r") forbid (principal, action == Action::"burst", resource) when {{ {condition} }};'
    window = Window("night", tuple(Span(NOW_AT + start * HOUR_S, NOW_AT + end * HOUR_S) for start, end in spans))
    return Policy("v", text, windows=(window,), **changes)


BY_NIGHT = '!context.windows.contains("night")'


def test_a_start_that_a_window_forbids_is_waited_for():
    decision = decide(on_docs(), snapshot(policy=policy(BY_NIGHT, (5, 9)), **AWAY))
    assert decision.outcome is Outcome.WAIT
    assert decision.wait_until_at == NOW_AT + 5 * HOUR_S
    assert R.POLICY_FORBIDS not in codes(decision, "cloud-us", "od")


def test_now_is_taken_when_the_window_holds():
    decision = decide(on_docs(), snapshot(policy=policy(BY_NIGHT, (-1, 1)), **AWAY))
    assert (decision.outcome, decision.chosen.start_at) == (Outcome.RUN, NOW_AT)


def test_a_window_that_ends_lets_start_at_its_end():
    by_day = 'context.windows.contains("night")'
    decision = decide(on_docs(), snapshot(policy=policy(by_day, (-1, 2)), **AWAY))
    assert decision.wait_until_at == NOW_AT + 2 * HOUR_S


def test_beyond_two_days_only_the_first_allowed_edge_is_waited_for():
    decision = decide(on_docs(), snapshot(policy=policy(BY_NIGHT, (100, 110), (120, 130)), **AWAY))
    assert decision.wait_until_at == NOW_AT + 100 * HOUR_S
    near = decide(on_docs(), snapshot(policy=policy(BY_NIGHT, (47, 48.5), (100, 110)), **AWAY))
    assert near.wait_until_at == NOW_AT + 47 * HOUR_S


def test_who_may_not_wait_is_told_the_policy_and_that_waiting_helps():
    decision = decide(on_docs(**NO_WAIT), snapshot(policy=policy(BY_NIGHT, (5, 9)), **AWAY))
    assert decision.outcome is Outcome.INFEASIBLE
    assert params(decision, "cloud-us", "od", R.POLICY_FORBIDS) == {"rules": ("r",)}
    assert [change.kind for change in decision.counterfactuals[0].changes] == [ChangeKind.WAIT]


def test_a_deadline_before_the_window_is_binding_and_a_later_one_helps():
    asked = on_docs(deadline_at=NOW_AT + 2 * HOUR_S)
    decision = decide(asked, snapshot(policy=policy(BY_NIGHT, (5, 9)), **AWAY))
    assert decision.outcome is Outcome.INFEASIBLE
    (change,) = decision.counterfactuals[0].changes
    assert change.kind is ChangeKind.DEADLINE
    assert change.value > NOW_AT + 5 * HOUR_S


def test_a_window_does_not_delay_what_it_does_not_forbid():
    decision = decide(on_docs(), snapshot(policy=policy(BY_NIGHT, (5, 9)), loads=(busy(2 * HOUR_S),)))
    assert (decision.chosen.site, decision.wait_until_at) == ("onprem", NOW_AT + 2 * HOUR_S)


def test_a_ceiling_on_one_run_is_held_against_what_it_needs():
    needs = decide(on_docs(), snapshot(**AWAY)).chosen
    for limit_usd, expected in ((0.001, Outcome.INFEASIBLE), (100, Outcome.RUN)):
        rules = (TenantRules("vision", (), round(limit_usd * USD)),)
        told = policy("principal has burst_run_cents && context.cost_cents > principal.burst_run_cents", tenants=rules)
        decision = decide(on_docs(), snapshot(policy=told, **AWAY))
        assert decision.outcome is expected
        if expected is Outcome.RUN:
            assert replace(decision.chosen) == needs


def test_a_share_of_the_budget_counts_what_is_committed():
    told = policy("context.budget_percent > 80")
    world = snapshot(policy=told, **AWAY)
    assert decide(on_docs(), world).outcome is Outcome.RUN
    spent = tuple(replace(balance, settled_micro=balance.limit_micro * 4 // 5) for balance in world.balances)
    decision = decide(on_docs(), replace(world, balances=spent))
    assert decision.outcome is Outcome.INFEASIBLE
    assert params(decision, "cloud-us", "od", R.POLICY_FORBIDS) == {"rules": ("r",)}


def test_egress_is_what_this_site_would_cause():
    told = Policy("v", PERMIT_ALL + '@id("e") forbid (principal, action, resource) when { context.egress_gb >= 4 };')
    decision = decide(request(), snapshot(policy=told))
    assert "POLICY_FORBIDS" in codes(decision, "cloud-eu", "od")
    assert candidate(decision, "onprem", "owned").feasible


@pytest.mark.parametrize("text", ["", 'permit (principal, action == Action::"place", resource);'])
def test_what_nobody_permits_is_forbidden_by_default(text):
    decision = decide(on_docs(), snapshot(policy=Policy("v", text)))
    assert params(decision, "cloud-us", "od", R.POLICY_FORBIDS) == {"rules": ("default-deny",)}
    assert candidate(decision, "onprem", "owned").feasible is bool(text)


def test_an_emergency_stop_leaves_what_is_owned():
    decision = decide(on_docs(), snapshot(policy=Policy("v", bursting_stopped=True)))
    assert decision.chosen.site == "onprem"
    assert params(decision, "cloud-eu", "spot", R.POLICY_FORBIDS) == {"rules": ("bursting-stopped",)}


def test_an_offer_without_a_plan_is_still_told_the_policy():
    decision = decide(request(), snapshot(policy=policy(BY_NIGHT, (5, 9)), rates=()))
    assert {R.ESTIMATE_UNKNOWN, R.POLICY_FORBIDS} <= set(codes(decision, "cloud-eu", "od"))


def test_replay_from_the_stored_snapshot_gives_the_same_bytes():
    world = snapshot(policy=policy(BY_NIGHT, (5, 9.5), tenants=(TenantRules("vision", ("g",), 3, 4),)), **AWAY)
    again = snapshot_from_json(canonical(world))
    assert canonical(again) == canonical(world)
    assert canonical(decide(on_docs(), again)) == canonical(decide(on_docs(), world))


def test_what_is_chosen_stands_up_to_the_full_check():
    world = snapshot(policy=policy("context.cost_cents > 10000 || context.devices > 3"))
    decision = decide(on_docs(), world)
    assert forbidding_in_full(on_docs(), world, decision.chosen) == ()
    stopped = replace(world, policy=replace(world.policy, bursting_stopped=True))
    chosen = decide(on_docs(), replace(world, **AWAY)).chosen
    assert forbidding_in_full(on_docs(), replace(stopped, **AWAY), chosen) == ("bursting-stopped",)

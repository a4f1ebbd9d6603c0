"""Why an offer is out: every reason with its parameters, alone and together."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from infra.core.inventory import Purchase, TrustZone
from infra.core.placement.decide import decide
from infra.core.placement.decision import Outcome, ReasonCode
from infra.core.placement.estimate import LONGEST_RUN_S
from infra.core.placement.snapshot import Health, OfferLoad, Rate, Release, SiteHealth
from infra.core.policy import Policy
from infra.core.pricing import Price
from infra.core.workload import Resources, WorkKind
from tests.policy_support import Rule, policy_of
from tests.unit.placement_world import (
    DIGITS,
    DOCS,
    EU,
    NOW_AT,
    ONPREM,
    US,
    USD,
    busy,
    candidate,
    codes,
    high_s,
    offer,
    on_docs,
    params,
    request,
    site,
    snapshot,
)

US_NEED = math.ceil(math.ceil(3 * USD * high_s(100.0, 1000.0) / 3600.0) * 110 / 100)
"""Micro-dollars: boot and work at $3 an hour, and a tenth."""

R = ReasonCode
NO_US = policy_of(Rule("no-us", jurisdictions=("US",)), Rule("no-spot", purchases=("spot",)))


@pytest.mark.parametrize(
    ("asked", "world", "where", "code", "told"),
    [
        pytest.param(
            request(), {}, ("cloud-us", "od"), R.RESIDENCY_EXCLUDED,
            {"dataset": "digits", "tags": ("EU",), "jurisdiction": "US"}, id="residency of the data",
        ),
        pytest.param(
            on_docs(residency=("DE", "CH")), {}, ("cloud-us", "od"), R.RESIDENCY_EXCLUDED,
            {"dataset": "", "tags": ("CH", "DE"), "jurisdiction": "US"}, id="residency of the request",
        ),
        pytest.param(
            on_docs(trust_zone=TrustZone.PARTNER), {}, ("cloud-us", "od"), R.TRUST_ZONE_TOO_LOW,
            {"zone": "public", "needed": "partner"}, id="trust of the request",
        ),
        pytest.param(
            on_docs(), {"datasets": (replace(DOCS, trust_zone=TrustZone.PRIVATE),)}, ("cloud-us", "od"),
            R.TRUST_ZONE_TOO_LOW, {"zone": "public", "needed": "private"}, id="trust of the data",
        ),
        pytest.param(
            on_docs(), {"policy": Policy("p0", valid_until_at=NOW_AT - 1)}, ("cloud-us", "od"), R.POLICY_STALE,
            {"policy": "p0", "valid_until_at": NOW_AT - 1}, id="stale policy",
        ),
        pytest.param(
            on_docs(), {"policy": NO_US}, ("cloud-us", "od"), R.POLICY_FORBIDS, {"rules": ("no-us",)}, id="policy",
        ),
        pytest.param(
            on_docs(), {"health": (SiteHealth("cloud-us", Health.DOWN, "no heartbeat"),)}, ("cloud-us", "od"),
            R.SITE_DOWN, {"site": "cloud-us", "detail": "no heartbeat"}, id="site down",
        ),
        pytest.param(
            on_docs(purchases=(Purchase.SPOT, Purchase.OWNED)), {}, ("cloud-us", "od"), R.PURCHASE_NOT_ALLOWED,
            {"purchase": "on_demand", "allowed": ("owned", "spot")}, id="purchase",
        ),
        pytest.param(
            on_docs(resources=Resources(1, ("gpu-x", "gpu-b"))),
            {"sites": (ONPREM, US, site("x", "US", offer("x", device="gpu-x"), offer("b", device="gpu-b")))},
            ("cloud-us", "od"), R.DEVICE_KIND_MISMATCH, {"device": "gpu-sim", "wanted": ("gpu-b", "gpu-x")}, id="kind",
        ),
        pytest.param(
            on_docs(resources=Resources(1, (), 24.0)), {}, ("cloud-us", "od"), R.MEMORY_TOO_SMALL,
            {"memory_gb": 16.0, "needed_gb": 24.0}, id="memory",
        ),
        pytest.param(
            on_docs(resources=Resources(5)), {}, ("cloud-us", "od"), R.CAPACITY_TOO_SMALL,
            {"capacity": 4, "needed": 5}, id="too few devices",
        ),
        pytest.param(
            on_docs(), {"sites": (ONPREM, site("x", "DE", offer("o", price=None)))}, ("x", "o"), R.PRICE_MISSING,
            {"offer": "o"}, id="no price",
        ),
        pytest.param(
            on_docs(), {"sites": (ONPREM, site("x", "DE", offer("o", price=Price(1, NOW_AT - 5))))}, ("x", "o"),
            R.PRICE_STALE, {"valid_until_at": NOW_AT - 5}, id="stale price",
        ),
        pytest.param(
            on_docs(), {"rates": ()}, ("onprem", "owned"), R.ESTIMATE_UNKNOWN,
            {"kind": "training", "device": "gpu-sim", "why": "NO_RATE", "longest_s": LONGEST_RUN_S}, id="no rate",
        ),
        pytest.param(
            on_docs(units=1e12), {}, ("onprem", "owned"), R.ESTIMATE_UNKNOWN,
            {"kind": "training", "device": "gpu-sim", "why": "TOO_LONG", "longest_s": LONGEST_RUN_S}, id="too long",
        ),
        pytest.param(
            on_docs(), {"datasets": (replace(DOCS, copies=("gone",)),)}, ("onprem", "owned"), R.DATASET_UNREACHABLE,
            {"dataset": "docs", "copies": ("gone",)}, id="no copy",
        ),
        pytest.param(
            on_docs(deadline_at=NOW_AT + 1000.0), {}, ("onprem", "owned"), R.DEADLINE_MISSED,
            {"deadline_at": NOW_AT + 1000.0, "finish_high_at": NOW_AT + 1500.0, "late_s": 500.0, "probability": 0.5,
             "required": 0.9}, id="deadline",
        ),
        pytest.param(
            on_docs(budget_micro=1), {}, ("cloud-us", "od"), R.BUDGET_RUN_EXCEEDED,
            {"budget_micro": 1, "needed_micro": US_NEED, "short_micro": US_NEED - 1}, id="budget of the run",
        ),
        pytest.param(
            on_docs(tenant="poor"), {}, ("cloud-us", "od"), R.BUDGET_TENANT_EXCEEDED,
            {"tenant": "poor", "available_micro": 0, "needed_micro": US_NEED, "short_micro": US_NEED},
            id="budget of the tenant",
        ),
    ],
)  # fmt: skip
def test_each_reason_alone(asked, world, where, code, told):
    decision = decide(asked, snapshot(**world))
    assert codes(decision, *where) == [code]
    assert params(decision, *where, code) == told


def test_an_offer_keeps_all_of_its_reasons_in_a_fixed_order():
    asked = request(
        tenant="poor",
        budget_micro=5,
        deadline_at=NOW_AT + 60.0,
        trust_zone=TrustZone.PARTNER,
        purchases=(Purchase.OWNED,),
        resources=Resources(1, (), 20.0),
        residency=("FR",),
    )
    health = (SiteHealth("cloud-us", Health.DOWN),)
    decision = decide(asked, snapshot(policy=NO_US, health=health))
    assert codes(decision, "cloud-us", "od") == [
        R.RESIDENCY_EXCLUDED,
        R.RESIDENCY_EXCLUDED,
        R.TRUST_ZONE_TOO_LOW,
        R.POLICY_FORBIDS,
        R.SITE_DOWN,
        R.PURCHASE_NOT_ALLOWED,
        R.MEMORY_TOO_SMALL,
        R.DEADLINE_MISSED,
        R.BUDGET_RUN_EXCEEDED,
        R.BUDGET_TENANT_EXCEEDED,
    ]


def test_a_stale_policy_stops_everything():
    decision = decide(on_docs(), snapshot(policy=Policy("p0", valid_until_at=NOW_AT - 0.5)))
    assert decision.outcome is Outcome.INFEASIBLE
    assert all(R.POLICY_STALE in {r.code for r in c.reasons} for c in decision.candidates)
    assert decision.binding == (R.POLICY_STALE,)
    assert decision.counterfactuals == ()


def test_a_policy_is_good_until_its_last_instant():
    assert decide(on_docs(), snapshot(policy=Policy("p0", valid_until_at=NOW_AT))).outcome is Outcome.RUN


def test_policy_names_every_rule_that_forbids():
    rules = (
        Rule("a", "x", tenants=("vision",)),
        Rule("b", "x", kinds=(WorkKind.TRAINING,)),
        Rule("c", "x", sites=("z",)),
    )
    decision = decide(on_docs(), snapshot(policy=policy_of(*rules)))
    assert params(decision, "onprem", "owned", R.POLICY_FORBIDS) == {"rules": ("a", "b")}


def test_feasible_but_dearer_says_by_how_much_and_how_much_later():
    decision = decide(request(), snapshot())
    assert params(decision, "cloud-eu", "od", R.NOT_CHEAPEST) == {
        "extra_micro": candidate(decision, "cloud-eu", "od").cost.total_micro,
        "later_s": 132.0,
    }


def test_busy_is_told_when_waiting_misses_the_deadline():
    decision = decide(request(deadline_at=NOW_AT + 1600.0), snapshot(loads=(busy(600.0),)))
    assert codes(decision, "onprem", "owned") == [R.CAPACITY_BUSY, R.DEADLINE_MISSED]
    assert params(decision, "onprem", "owned", R.CAPACITY_BUSY) == {
        "free": 0, "needed": 1, "free_at": NOW_AT + 600.0,
    }  # fmt: skip


def test_devices_that_do_not_come_back_within_a_year_are_busy_without_an_end():
    load = OfferLoad("onprem", "owned", (Release(NOW_AT + 2 * LONGEST_RUN_S, 2),))
    decision = decide(request(), snapshot(loads=(load,)))
    assert params(decision, "onprem", "owned", R.CAPACITY_BUSY) == {"free": 0, "needed": 1}
    assert candidate(decision, "onprem", "owned").start_at is None


def test_a_copy_that_lies_where_it_may_not_is_not_read():
    misplaced = replace(DIGITS, copies=("cloud-us",))
    decision = decide(request(), snapshot(datasets=(misplaced, DOCS)))
    assert codes(decision, "onprem", "owned") == [R.DATASET_UNREACHABLE]
    assert decision.outcome is Outcome.INFEASIBLE


def test_binding_names_the_nearest_constraints_only():
    """Residency alone keeps the US out; money alone the EU; waiting too long the owned devices."""
    asked = request(deadline_at=NOW_AT + 2000.0, budget_micro=1_600_000)
    decision = decide(asked, snapshot(loads=(busy(),), sites=(ONPREM, replace_offers(EU), US)))
    assert decision.binding == (R.RESIDENCY_EXCLUDED, R.CAPACITY_BUSY, R.DEADLINE_MISSED, R.BUDGET_RUN_EXCEEDED)


def replace_offers(original):
    pool = original.pools[0]
    kept = tuple(o for o in pool.offers if o.purchase is Purchase.ON_DEMAND)
    return replace(original, pools=(replace(pool, offers=kept),))


def test_an_offer_without_price_still_shows_its_times():
    unpriced = site("x", "DE", offer("o", price=None, boot_s=10.0))
    decision = decide(request(deadline_at=NOW_AT + 100.0), snapshot(sites=(ONPREM, unpriced)))
    assert codes(decision, "x", "o") == [R.PRICE_MISSING, R.DEADLINE_MISSED]
    assert candidate(decision, "x", "o").time.compute_s == 1000.0
    assert candidate(decision, "x", "o").cost.total_micro == 0


@pytest.mark.parametrize(
    ("probability", "runs"), [(0.51, True), (0.66, True), (0.68, False), (0.75, False), (0.9, False), (0.99, False)]
)
def test_the_deadline_is_met_at_the_required_probability(probability, runs):
    """1,150 s for work of 1,000 s: one standard deviation, a spread of 0.5 at 1.28 of them, is 1,372 s."""
    asked = on_docs(
        deadline_at=NOW_AT + 1150.0, deadline_probability=probability, purchases=(Purchase.OWNED,), fallbacks=()
    )
    decision = decide(asked, snapshot())
    assert (decision.outcome is Outcome.RUN) == runs
    told = candidate(decision, "onprem", "owned")
    assert told.deadline_probability == pytest.approx(0.67, abs=0.005)
    if not runs:
        missed = params(decision, "onprem", "owned", R.DEADLINE_MISSED)
        assert missed["probability"] == told.deadline_probability < missed["required"] == probability


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_the_deadline_is_held_against_the_high_estimate(spread):
    rates = (Rate(WorkKind.TRAINING, "", 0.0, 1.0, spread),)
    decision = decide(on_docs(deadline_at=NOW_AT + 1200.0, purchases=(Purchase.OWNED,)), snapshot(rates=rates))
    assert decision.outcome is (Outcome.RUN if spread == 0.0 else Outcome.INFEASIBLE)


def test_money_of_other_tenants_does_not_count():
    assert decide(on_docs(tenant="poor"), snapshot()).chosen.site == "onprem"
    rich = decide(on_docs(purchases=(Purchase.ON_DEMAND,)), snapshot())
    assert rich.chosen.cap_micro < 100 * USD

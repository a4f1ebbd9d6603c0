"""What would have to change: each kind alone, then pairs and triples, exact and verified."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.core.budget import Balance
from infra.core.inventory import Purchase, TrustZone
from infra.core.placement.changes import apply_changes
from infra.core.placement.decide import decide
from infra.core.placement.decision import Change, ChangeKind, Outcome
from infra.core.placement.snapshot import Health, OfferLoad, Release, SiteHealth
from infra.core.policy import Policy
from infra.core.pricing import Price, PriceWindow
from infra.core.workload import Resources
from tests.policy_support import Rule, policy_of
from tests.unit.placement_world import (
    DIGITS,
    DOCS,
    EU,
    HOUR_S,
    NOW_AT,
    ONPREM,
    US,
    USD,
    busy,
    candidate,
    offer,
    on_docs,
    request,
    site,
    snapshot,
)

K = ChangeKind
PAID = (Purchase.ON_DEMAND, Purchase.SPOT)


def told(decision):
    assert decision.outcome is Outcome.INFEASIBLE
    return [tuple((change.kind, change.value) for change in found.changes) for found in decision.counterfactuals]


def test_budget_is_the_cap_of_the_cheapest_way():
    asked = on_docs(budget_micro=1, purchases=(Purchase.ON_DEMAND,))
    decision = decide(asked, snapshot())
    cap = candidate(decision, "cloud-us", "od").cap_micro
    assert told(decision) == [((K.BUDGET, cap),), ((K.PURCHASE, "owned"),)]
    assert decision.counterfactuals[0].site == "cloud-us"
    assert decide(replace(asked, budget_micro=cap), snapshot()).outcome is Outcome.RUN
    assert decide(replace(asked, budget_micro=cap - 1), snapshot()).outcome is Outcome.INFEASIBLE


def test_tenant_budget_is_a_new_limit():
    balances = (Balance("vision", "2026-11", 1_000, reserved_micro=600, settled_micro=300),)
    decision = decide(on_docs(purchases=(Purchase.ON_DEMAND,)), snapshot(balances=balances))
    cap = candidate(decision, "cloud-us", "od").cap_micro
    assert ((K.TENANT_BUDGET, cap + 900),) in told(decision)


def test_deadline_is_the_first_whole_second_that_is_enough():
    asked = request(deadline_at=NOW_AT + 60.5, purchases=(Purchase.OWNED,), units=1000.3)
    decision = decide(asked, snapshot())
    assert ((K.DEADLINE, NOW_AT + 1501.0),) in told(decision)


def test_residency_names_the_country_of_the_site():
    decision = decide(request(), snapshot(sites=(US,), datasets=(replace(DIGITS, copies=("cloud-us",)),)))
    assert told(decision) == [((K.RESIDENCY, "US"),)]
    assert decision.counterfactuals[0].site == "cloud-us"


def test_residency_relaxes_request_and_data_together():
    decision = decide(request(residency=("FR",)), snapshot(sites=(ONPREM, US)))
    assert told(decision) == [((K.RESIDENCY, "DE"),), ((K.RESIDENCY, "US"),)]
    changed, world = apply_changes(request(residency=("FR",)), snapshot(), (Change(K.RESIDENCY, "US"),))
    assert changed.residency == ("FR", "US")
    assert [version.residency for version in world.datasets] == [("EU", "US"), ("PUBLIC",)]


def test_a_country_that_the_policy_forbids_is_no_remedy():
    policy = policy_of(Rule("no-us", jurisdictions=("US",)))
    decision = decide(
        request(), snapshot(sites=(ONPREM, US), policy=policy, health=(SiteHealth("onprem", Health.DOWN),))
    )
    assert told(decision) == []


def test_the_cheapest_three_countries_are_told():
    far = [
        site(f"far-{c}", c, offer("o", price=price))
        for c, price in (("JP", 4 * USD), ("BR", USD), ("IN", 3 * USD), ("KR", 2 * USD))
    ]
    datasets = (replace(DIGITS, copies=tuple(s.name for s in far), residency=("DE", "JP", "BR", "IN", "KR")),)
    decision = decide(request(residency=("DE",)), snapshot(sites=tuple(far), datasets=datasets))
    assert told(decision) == [((K.RESIDENCY, "BR"),), ((K.RESIDENCY, "KR"),), ((K.RESIDENCY, "IN"),)]


def test_trust_zone_is_lowered_no_further_than_needed():
    partner = site("partner", "DE", offer("o", price=9), zone=TrustZone.PARTNER)
    sites = (partner, EU)
    datasets = (replace(DOCS, trust_zone=TrustZone.PRIVATE, copies=("partner", "cloud-eu")),)
    decision = decide(on_docs(), snapshot(sites=sites, datasets=datasets))
    assert told(decision) == [((K.TRUST_ZONE, "partner"),)]


def test_fewer_devices_as_many_as_possible():
    decision = decide(on_docs(resources=Resources(9)), snapshot())
    assert told(decision) == [((K.DEVICES, 4),)]


def test_fewer_devices_may_be_free_in_time():
    load = OfferLoad("onprem", "owned", (Release(NOW_AT + HOUR_S, 1),))
    asked = request(resources=Resources(2), deadline_at=NOW_AT + 1600.0, purchases=(Purchase.OWNED,))
    decision = decide(asked, snapshot(loads=(load,), sites=(ONPREM,)))
    assert ((K.DEVICES, 1),) in told(decision)


def test_device_kind():
    other = site("z", "DE", offer("o", price=1, device="gpu-x", capacity=1))
    datasets = (replace(DOCS, copies=("onprem", "z")),)
    decision = decide(on_docs(resources=Resources(2, ("gpu-x",))), snapshot(sites=(ONPREM, other), datasets=datasets))
    assert told(decision) == [((K.DEVICES, 1),), ((K.DEVICE_KIND, "gpu-sim"),)]


def test_memory_is_the_largest_that_is_sold():
    roomy = site("z", "DE", offer("a", price=9, memory_gb=24.0), offer("b", price=1, memory_gb=20.0))
    decision = decide(on_docs(resources=Resources(1, (), 80.0)), snapshot(sites=(ONPREM, roomy)))
    assert told(decision) == [((K.MEMORY, 24.0),)]


def test_purchase():
    decision = decide(request(purchases=(Purchase.SPOT,)), snapshot(sites=(ONPREM,)))
    assert told(decision) == [((K.PURCHASE, "owned"),)]


def test_leave_to_wait():
    decision = decide(request(fallbacks=(), purchases=(Purchase.OWNED,)), snapshot(loads=(busy(),), sites=(ONPREM,)))
    assert told(decision) == [((K.WAIT, "wait"),)]
    assert decision.counterfactuals[0].finish_at == NOW_AT + HOUR_S + 1000.0


def test_several_single_changes_are_told_in_the_order_of_kinds():
    asked = request(deadline_at=NOW_AT + 2000.0, budget_micro=10_000)
    decision = decide(asked, snapshot(loads=(busy(),)))
    assert [[kind for kind, _ in changes] for changes in told(decision)] == [[K.BUDGET], [K.DEADLINE]]


def test_a_pair_when_no_single_change_is_enough():
    asked = request(purchases=PAID, budget_micro=1, residency=("FR",))
    decision = decide(asked, snapshot())
    pairs = told(decision)
    assert all(len(pair) == 2 for pair in pairs)
    spot = candidate(decision, "cloud-eu", "spot").cap_micro
    assert ((K.BUDGET, spot), (K.RESIDENCY, "DE")) in pairs
    for found in decision.counterfactuals:
        assert decide(*apply_changes(asked, snapshot(), found.changes)).outcome is not Outcome.INFEASIBLE


def test_a_triple_when_no_pair_is_enough():
    asked = request(purchases=(Purchase.ON_DEMAND,), budget_micro=1, residency=("FR",), trust_zone=TrustZone.PARTNER)
    decision = decide(asked, snapshot(sites=(EU,), datasets=(replace(DIGITS, copies=("cloud-eu",)),)))
    cap = candidate(decision, "cloud-eu", "od").cap_micro
    assert ((K.BUDGET, cap), (K.RESIDENCY, "DE"), (K.TRUST_ZONE, "public")) in told(decision)


def test_nothing_is_promised_when_four_changes_would_be_needed():
    asked = on_docs(
        purchases=(Purchase.SPOT,),
        budget_micro=1,
        residency=("FR",),
        trust_zone=TrustZone.PARTNER,
        resources=Resources(1, (), 99.0),
    )
    assert told(decide(asked, snapshot(sites=(US,), datasets=(replace(DOCS, copies=("cloud-us",)),)))) == []


@pytest.mark.parametrize(
    "world",
    [
        {"policy": Policy("old", valid_until_at=NOW_AT - 1)},
        {"rates": ()},
        {"health": tuple(SiteHealth(s.name, Health.DOWN) for s in (ONPREM, EU, US))},
        {"datasets": (replace(DIGITS, copies=()), DOCS)},
    ],
)
def test_what_no_change_of_the_request_can_help_has_no_remedy(world):
    assert told(decide(request(), snapshot(**world))) == []


def test_a_tenant_without_money_and_a_run_without_budget_need_both():
    asked = on_docs(tenant="poor", budget_micro=0, purchases=(Purchase.ON_DEMAND,))
    decision = decide(asked, snapshot(sites=(US,), datasets=(replace(DOCS, copies=("cloud-us",)),)))
    cap = candidate(decision, "cloud-us", "od").cap_micro
    assert told(decision) == [((K.BUDGET, cap), (K.TENANT_BUDGET, cap))]


def test_no_account_holds_more_than_money_can_count():
    gold = site("gold", "DE", offer("o", price=int(9e17)))
    datasets = (replace(DOCS, copies=("gold",)),)
    decision = decide(on_docs(units=1e6, budget_micro=1), snapshot(sites=(gold,), datasets=datasets))
    assert told(decision) == []


def test_many_devices_are_searched_coarsely_but_found():
    wide = site("wide", "DE", offer("o", price=USD, capacity=100_000))
    datasets = (replace(DOCS, copies=("wide",)),)
    asked = on_docs(resources=Resources(90_000), budget_micro=10 * USD)
    decision = decide(asked, snapshot(sites=(wide,), datasets=datasets))
    found = dict(pair for changes in told(decision) for pair in changes)
    assert 1 <= found[K.DEVICES] < 90_000


def test_a_copy_that_lies_where_it_may_not_be_read_names_its_country():
    misplaced = (replace(DIGITS, copies=("cloud-us",)), DOCS)
    assert told(decide(request(), snapshot(datasets=misplaced))) == [((K.RESIDENCY, "US"),)]


def test_every_start_of_an_offer_is_considered():
    """Now is too dear and the cheap window too late: either limit may be moved."""
    price = Price(4 * USD, windows=(PriceWindow(14 * 60, 16 * 60, 0.1),))
    cloud = site("cloud", "DE", offer("od", price=price))
    asked = on_docs(budget_micro=USD, deadline_at=NOW_AT + 2 * HOUR_S + 1000.0)
    decision = decide(asked, snapshot(sites=(cloud,), datasets=(replace(DOCS, copies=("cloud",)),)))
    assert told(decision) == [((K.BUDGET, 1_833_334),), ((K.DEADLINE, NOW_AT + 2 * HOUR_S + 1500.0),)]

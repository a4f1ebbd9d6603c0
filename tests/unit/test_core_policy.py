"""Policy rules: what one matches."""

from __future__ import annotations

import pytest

from infra.core.inventory import Purchase, TrustZone
from infra.core.policy import Policy, Rule
from infra.core.workload import WorkKind
from tests.unit.placement_world import ONPREM, OWNED, US, request

US_OFFER = US.pools[0].offers[0]


@pytest.mark.parametrize(
    ("fields", "forbidden"),
    [
        ({}, True),
        ({"tenants": ("vision",)}, True),
        ({"tenants": ("search",)}, False),
        ({"kinds": (WorkKind.TRAINING,)}, True),
        ({"kinds": (WorkKind.EVALUATION,)}, False),
        ({"sites": ("cloud-us", "x")}, True),
        ({"sites": ("onprem",)}, False),
        ({"jurisdictions": ("US",)}, True),
        ({"jurisdictions": ("DE",)}, False),
        ({"trust_zones": (TrustZone.PUBLIC,)}, True),
        ({"trust_zones": (TrustZone.PRIVATE,)}, False),
        ({"purchases": (Purchase.ON_DEMAND,)}, True),
        ({"purchases": (Purchase.SPOT,)}, False),
        ({"datasets": ("digits",)}, True),
        ({"datasets": ("docs",)}, False),
        ({"tenants": ("vision",), "sites": ("onprem",)}, False),
        ({"tenants": ("vision",), "sites": ("cloud-us",)}, True),
    ],
)
def test_a_rule_forbids_what_matches_all_of_its_fields(fields, forbidden):
    assert Rule("r", "why", **fields).forbids(request(), US, US_OFFER) is forbidden


def test_ids_come_in_the_order_of_the_file():
    policy = Policy("v", (Rule("b", ""), Rule("x", "", sites=("nowhere",)), Rule("a", "")))
    assert policy.forbidding(request(), ONPREM, OWNED) == ("b", "a")


def test_a_rule_about_datasets_does_not_touch_a_run_without_data():
    assert not Rule("r", "", datasets=("digits",)).forbids(request(datasets=()), US, US_OFFER)

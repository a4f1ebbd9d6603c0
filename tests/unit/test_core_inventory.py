"""Sites, offers, datasets, requests: what is refused when it is built."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from infra.core.budget import Balance
from infra.core.errors import InputError
from infra.core.inventory import Cluster, DatasetVersion, Pool, Purchase, Site, TrustZone
from infra.core.placement.snapshot import OfferLoad, Rate, Release
from infra.core.workload import DatasetRef, Resources, WorkKind
from tests.unit.placement_world import DIGITS, ONPREM, offer, request, snapshot


def test_zones_are_ordered():
    assert [zone.rank for zone in (TrustZone.PUBLIC, TrustZone.PARTNER, TrustZone.PRIVATE)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("build", "code"),
    [
        (lambda: offer(capacity=-1), "BAD_NUMBER"),
        (lambda: offer(memory_gb=0.0), "BAD_NUMBER"),
        (lambda: offer(relative_speed=0.0), "BAD_NUMBER"),
        (lambda: offer(relative_speed=math.nan), "BAD_NUMBER"),
        (lambda: offer(boot_s=-1.0), "BAD_NUMBER"),
        (lambda: offer(interruptions_per_hour=0.1), "CONTRADICTORY_OFFER"),
        (lambda: replace(ONPREM, jurisdiction="EU"), "UNKNOWN_JURISDICTION"),
        (lambda: replace(ONPREM, egress_micro_per_gb=-1), "BAD_NUMBER"),
        (lambda: replace(ONPREM, bandwidth_mbps=0.0), "BAD_NUMBER"),
        (lambda: replace(ONPREM, pools=()), "EMPTY_SITE"),
        (lambda: replace(ONPREM, pools=(Pool("p", Cluster.LOCAL, ()),)), "EMPTY_SITE"),
        (lambda: replace(ONPREM, simulated=False), "CONTRADICTORY_SITE"),
        (lambda: two_offers_of_one_name(), "DUPLICATE_OFFER"),
        (lambda: replace(DIGITS, bytes=-1), "BAD_NUMBER"),
        (lambda: replace(DIGITS, residency=()), "NO_RESIDENCY"),
        (lambda: replace(DIGITS, residency=("MOON",)), "UNKNOWN_RESIDENCY_TAG"),
        (lambda: request(units=math.nan), "BAD_NUMBER"),
        (lambda: request(units=-1.0), "BAD_NUMBER"),
        (lambda: request(deadline_at=math.inf), "BAD_TIME"),
        (lambda: request(budget_micro=-1), "BAD_NUMBER"),
        (lambda: request(priority=101), "BAD_PRIORITY"),
        (lambda: request(purchases=()), "NO_PURCHASE"),
        (lambda: request(residency=("mars",)), "UNKNOWN_RESIDENCY_TAG"),
        (lambda: request(datasets=(DatasetRef("a", "1"), DatasetRef("a", "1"))), "DUPLICATE_DATASET"),
        (lambda: Resources(0), "BAD_NUMBER"),
        (lambda: Resources(1, (), -1.0), "BAD_NUMBER"),
        (lambda: Balance("t", "2026-11", -1), "BAD_NUMBER"),
        (lambda: Release(math.nan, 1), "BAD_TIME"),
        (lambda: Release(0.0, 0), "BAD_NUMBER"),
        (lambda: OfferLoad("s", "o", boot_s=-1.0), "BAD_NUMBER"),
        (lambda: Rate(WorkKind.PROBE, "", -1.0, 0.0, 0.0), "BAD_NUMBER"),
        (lambda: snapshot(now_at=math.nan), "BAD_TIME"),
    ],
)
def test_contradictions_and_impossible_numbers_are_refused(build, code):
    with pytest.raises(InputError) as raised:
        build()
    assert raised.value.code == code
    assert raised.value.where
    assert raised.value.remedy


def two_offers_of_one_name() -> Site:
    pools = (Pool("a", Cluster.LOCAL, (offer("same"),)), Pool("b", Cluster.LOCAL, (offer("same"),)))
    return replace(ONPREM, pools=pools)


def test_spot_may_be_interrupted():
    assert offer(purchase=Purchase.SPOT, interruptions_per_hour=0.1).interruptions_per_hour == 0.1


def test_what_a_tenant_has_left():
    assert Balance("t", "2026-11", 100, reserved_micro=30, settled_micro=20).available_micro == 50


def test_a_dataset_reference_reads_as_name_and_version():
    assert str(DatasetRef("digits", "v1")) == "digits@v1"
    assert DatasetVersion("d", "1", 0, (), ("PUBLIC",)).trust_zone is TrustZone.PUBLIC

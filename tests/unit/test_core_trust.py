"""What a site checks of a permit before it acts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.core.errors import RefusedError
from infra.core.inventory import TrustZone
from infra.core.trust import CLOCK_LEEWAY_S, PermitClaims, PermittedDataset, check_permit
from tests.unit.placement_world import EU, NOW_AT

WORK = "ab" * 32
DATA = PermittedDataset("digits", "v1", ("EU",), TrustZone.PUBLIC, "cd" * 32)
CLAIMS = PermitClaims(
    id="p1",
    run_id="run",
    attempt=1,
    site="cloud-eu",
    pool="cloud-eu",
    offer="spot",
    devices=1,
    work_sha256=WORK,
    datasets=(DATA,),
    residency=("EU",),
    trust_zone=TrustZone.PUBLIC,
    cap_micro=5,
    issued_at=NOW_AT,
    expires_at=NOW_AT + 60.0,
)


@pytest.mark.parametrize("at", [NOW_AT - CLOCK_LEEWAY_S, NOW_AT, NOW_AT + 59.9])
def test_a_good_permit_passes_while_it_is_valid(at):
    check_permit(CLAIMS, EU, "cloud-eu", WORK, at)


@pytest.mark.parametrize(
    ("changes", "at", "code"),
    [
        ({"site": "onprem"}, NOW_AT, "PERMIT_WRONG_SITE"),
        ({"pool": "other"}, NOW_AT, "PERMIT_WRONG_POOL"),
        ({}, NOW_AT + 60.0, "PERMIT_EXPIRED"),
        ({}, NOW_AT - CLOCK_LEEWAY_S - 0.1, "PERMIT_NOT_YET_VALID"),
        ({"work_sha256": "00" * 32}, NOW_AT, "PERMIT_WRONG_WORK"),
        ({"offer": "gold"}, NOW_AT, "PERMIT_UNKNOWN_OFFER"),
        ({"residency": ("US",)}, NOW_AT, "RESIDENCY_EXCLUDED"),
        ({"trust_zone": TrustZone.PARTNER}, NOW_AT, "TRUST_ZONE_TOO_LOW"),
        ({"datasets": (replace(DATA, residency=("US",)),)}, NOW_AT, "RESIDENCY_EXCLUDED"),
        ({"datasets": (DATA, replace(DATA, name="b", residency=("FR",)))}, NOW_AT, "RESIDENCY_EXCLUDED"),
        ({"datasets": (replace(DATA, trust_zone=TrustZone.PRIVATE),)}, NOW_AT, "RESIDENCY_EXCLUDED"),
        ({"datasets": (replace(DATA, residency=()),)}, NOW_AT, "RESIDENCY_EXCLUDED"),
    ],
)
def test_refusals(changes, at, code):
    with pytest.raises(RefusedError) as raised:
        check_permit(replace(CLAIMS, **changes), EU, "cloud-eu", WORK, at)
    assert raised.value.code == code
    assert "cloud-eu" in raised.value.where

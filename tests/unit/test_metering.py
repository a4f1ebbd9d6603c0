"""What was measured, what it costs, and reports that only their site can have signed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.adapters.objects import MemoryStore
from infra.adapters.reports import read_report, report_key, sign_report, write_report
from infra.core.errors import InputError, RefusedError
from infra.core.metering import (
    ReportKind,
    ReportOutcome,
    SiteReport,
    cap_reached_at,
    charge_parts,
    machine_cost_micro,
    sighting_of,
)
from infra.core.placement.decision import CostParts
from infra.core.pricing import Price, PriceWindow
from infra.core.spot.sightings import Sighting, SpotSighting

SITE, OTHER = (Ed25519PrivateKey.from_private_bytes(letter * 32) for letter in (b"s", b"o"))
KEYS = {"cloud-eu": SITE.public_key(), "cloud-us": OTHER.public_key()}
REPORT = SiteReport(
    kind=ReportKind.CLOSED,
    run_id="run-1:embed",
    attempt=2,
    lease_id="lease-1",
    site="cloud-eu",
    offer="gpu",
    devices=2,
    outcome=ReportOutcome.FINISHED,
    started_at=1000.0,
    ready_at=1030.0,
    ended_at=1130.0,
    exit_code=0,
    egress_bytes=2_000_000_000,
    egress_sources=("onprem-fra",),
    result_manifest_sha256="ab" * 32,
)
DOLLAR_AN_HOUR = Price(1_000_000)


def test_the_parts_of_a_charge() -> None:
    parts = charge_parts(REPORT, DOLLAR_AN_HOUR, 90_000, 10_000_000)
    assert parts == CostParts(compute_micro=55_556, boot_micro=16_667, egress_micro=180_000)
    assert REPORT.measures() == {"machine_s": 130.0, "boot_s": 30.0, "run_s": 100.0, "egress_bytes": 2e9}


def test_a_cluster_that_never_came_up_is_all_boot() -> None:
    report = replace(REPORT, ready_at=None, egress_bytes=0)
    parts = charge_parts(report, DOLLAR_AN_HOUR, 90_000, 10_000_000)
    assert parts == CostParts(boot_micro=72_223)


@pytest.mark.parametrize(
    ("cap_micro", "parts"),
    [
        (0, CostParts()),
        (100_000, CostParts(egress_micro=100_000)),
        (190_000, CostParts(egress_micro=180_000, boot_micro=10_000)),
        (200_000, CostParts(egress_micro=180_000, boot_micro=16_667, compute_micro=3_333)),
    ],
)
def test_a_charge_never_passes_the_cap(cap_micro: int, parts: CostParts) -> None:
    assert charge_parts(REPORT, DOLLAR_AN_HOUR, 90_000, cap_micro) == parts


PRICES = st.builds(
    Price,
    st.integers(0, 10**8),
    st.none(),
    st.lists(st.builds(PriceWindow, st.integers(0, 700), st.integers(701, 1439), st.floats(0, 4)), max_size=2).map(
        tuple
    ),
)


@given(
    PRICES, st.integers(0, 8), st.floats(0, 10**6), st.floats(0, 10**6), st.integers(0, 10**12), st.integers(0, 10**9)
)
@settings(max_examples=150, deadline=None)
def test_charges_are_whole_and_bounded(
    price: Price, devices: int, boot_s: float, run_s: float, egress_bytes: int, cap_micro: int
) -> None:
    report = replace(
        REPORT,
        devices=devices,
        ready_at=1000.0 + boot_s,
        ended_at=1000.0 + boot_s + run_s,
        egress_bytes=egress_bytes,
    )
    parts = charge_parts(report, price, 90_000, cap_micro)
    assert min(parts.compute_micro, parts.boot_micro, parts.egress_micro) >= 0
    assert parts.total_micro <= cap_micro
    free = charge_parts(report, price, 0, 10**18)
    assert free.total_micro == machine_cost_micro(price, devices, report.started_at, report.ended_at)


@given(PRICES, st.integers(1, 8), st.floats(0, 10**7), st.integers(0, 10**7))
@settings(max_examples=150, deadline=None)
def test_at_the_instant_of_the_cap_it_is_just_spent(price: Price, devices: int, at: float, cap_micro: int) -> None:
    until_at = cap_reached_at(price, devices, at, cap_micro)
    assert until_at >= at
    if not math.isinf(until_at):
        assert machine_cost_micro(price, devices, at, until_at) <= cap_micro + 1
        assert machine_cost_micro(price, devices, at, until_at + 86_400.0) >= cap_micro - 1


def test_free_devices_reach_no_cap() -> None:
    assert cap_reached_at(Price(0), 4, 0.0, 0) == math.inf
    assert cap_reached_at(None, 4, 0.0, 0) == math.inf


@pytest.mark.parametrize(
    "changes", [{"ended_at": 999.0}, {"ready_at": 999.0}, {"egress_bytes": -1}, {"started_at": float("nan")}]
)
def test_an_impossible_report_cannot_be_made(changes: dict) -> None:
    with pytest.raises(InputError):
        replace(REPORT, **changes)


def test_a_report_comes_back_as_it_was_written() -> None:
    store = MemoryStore()
    assert read_report(store, KEYS, REPORT.run_id, 2, "closed", "cloud-eu") is None
    write_report(store, SITE, REPORT)
    assert store.list("reports") == ["reports/run-1--embed/2/closed.jws"]
    assert read_report(store, KEYS, REPORT.run_id, 2, "closed", "cloud-eu") == REPORT


@pytest.mark.parametrize(
    "token",
    [
        sign_report(OTHER, REPORT),
        sign_report(OTHER, replace(REPORT, site="cloud-us")),
        sign_report(SITE, replace(REPORT, site="unknown")),
        sign_report(SITE, replace(REPORT, run_id="run-2")),
        sign_report(SITE, replace(REPORT, attempt=1)),
        sign_report(SITE, replace(REPORT, kind=ReportKind.METER)),
        sign_report(SITE, REPORT)[:-8],
        '{"outcome": "finished"}',
        "",
    ],
)
def test_a_report_of_anybody_or_anything_else_is_forged(token: str) -> None:
    store = MemoryStore()
    store.put(report_key(REPORT.run_id, 2, "closed"), token.encode())
    with pytest.raises(RefusedError) as refused:
        read_report(store, KEYS, REPORT.run_id, 2, "closed", "cloud-eu")
    assert refused.value.code == "REPORT_FORGED"


@pytest.mark.parametrize(
    ("changes", "what", "since_at"),
    [
        ({}, Sighting.HELD, 1030.0),
        ({"outcome": ReportOutcome.CANCELLED}, Sighting.HELD, 1030.0),
        ({"kind": ReportKind.METER, "outcome": ReportOutcome.RUNNING}, Sighting.OPENED, 1030.0),
        ({"outcome": ReportOutcome.LOST, "message": "WORKERS_LOST at dask: none"}, Sighting.RECLAIMED, 1030.0),
        ({"outcome": ReportOutcome.LOST, "message": "PROCESS_DIED: status -9"}, None, None),
        (
            {"outcome": ReportOutcome.LOST, "message": "CLUSTER_START_FAILED at x: no", "ready_at": None},
            Sighting.REFUSED,
            1130.0,
        ),
        ({"outcome": ReportOutcome.CANCELLED, "message": "CANCELLED", "ready_at": None}, None, None),
        ({"kind": ReportKind.OPENED, "outcome": ReportOutcome.RUNNING, "ready_at": None}, None, None),
    ],
)
def test_what_a_report_shows_of_spot_capacity(changes: dict, what: Sighting | None, since_at: float | None) -> None:
    seen = sighting_of(replace(REPORT, **changes))
    if what is None:
        assert seen is None
        return
    at = 1030.0 if what is Sighting.OPENED else 1130.0
    assert seen == SpotSighting("run-1:embed", 2, "cloud-eu", "gpu", what, since_at, at)

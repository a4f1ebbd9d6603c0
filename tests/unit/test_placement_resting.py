"""Offers that rest after machines did not come up: for how long, and what a decision makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.core.inventory import DatasetVersion, Purchase
from infra.core.placement.decide import decide
from infra.core.placement.decision import Outcome, ReasonCode
from infra.core.placement.resting import FIRST_REST_S, LONGEST_REST_S, Rest, rests_of, with_rests
from infra.core.placement.snapshot import OfferLoad, Release
from infra.core.spot.sightings import Sighting, SpotSighting
from tests.unit.placement_world import DOCS, NOW_AT, ONPREM, US, busy, codes, offer, on_docs, params, site, snapshot

WHERE = ("cloud-us", "od")
DEARER = site("cloud-eu", "DE", offer("od", Purchase.ON_DEMAND, 4_000_000, boot_s=100.0))
SITES = (ONPREM, DEARER, US)


def seen(what: Sighting, ago_s: float, attempt: int = 1) -> SpotSighting:
    at = NOW_AT - ago_s
    return SpotSighting("run", attempt, *WHERE, what, at, at)


@pytest.mark.parametrize(
    ("sightings", "expected"),
    [
        pytest.param([], None, id="never seen"),
        pytest.param([seen(Sighting.REFUSED, 10)], Rest(1, NOW_AT - 10 + FIRST_REST_S), id="refused once"),
        pytest.param(
            [seen(Sighting.REFUSED, 10, 3), seen(Sighting.REFUSED, 200, 1), seen(Sighting.REFUSED, 100, 2)],
            Rest(3, NOW_AT - 10 + 4 * FIRST_REST_S),
            id="three times in a row",
        ),
        pytest.param([seen(Sighting.REFUSED, FIRST_REST_S)], None, id="rested enough"),
        pytest.param([seen(Sighting.REFUSED, 20), seen(Sighting.OPENED, 10, 2)], None, id="works again"),
        pytest.param(
            [seen(Sighting.REFUSED, 90), seen(Sighting.HELD, 50, 2), seen(Sighting.REFUSED, 5, 3)],
            Rest(1, NOW_AT - 5 + FIRST_REST_S),
            id="a success in between starts anew",
        ),
        pytest.param(
            [seen(Sighting.REFUSED, number, number) for number in range(1, 40)],
            Rest(39, NOW_AT - 1 + LONGEST_REST_S),
            id="never longer than the longest",
        ),
    ],
)
def test_how_long_an_offer_rests(sightings: list[SpotSighting], expected: Rest | None) -> None:
    assert rests_of(sightings, NOW_AT).get(WHERE) == expected
    assert rests_of(sightings[::-1], NOW_AT).get(WHERE) == expected


def test_a_resting_offer_has_no_free_devices_until_its_rest_ends() -> None:
    until_at = NOW_AT + 300.0
    early, late = Release(NOW_AT + 100.0, 1), Release(NOW_AT + 400.0, 2)
    used = OfferLoad(*WHERE, (early, late), boot_s=7.0)
    (rested,) = with_rests((used,), {WHERE: Rest(2, until_at)}, SITES)
    assert rested.releases == (Release(until_at, 1), Release(until_at, 1), late)
    assert (rested.boot_s, rested.rests_until_at) == (7.0, until_at)
    (fresh,) = with_rests((), {WHERE: Rest(1, until_at), ("gone", "od"): Rest(1, until_at)}, SITES)
    assert fresh == OfferLoad(*WHERE, (Release(until_at, 4),), rests_until_at=until_at)
    assert with_rests((used,), {}, SITES) == (used,)


def test_a_run_goes_elsewhere_while_its_cheapest_offer_rests() -> None:
    asked = on_docs(deadline_at=NOW_AT + 3000.0)
    usual = decide(asked, snapshot(sites=SITES, loads=(busy(),)))
    assert usual.chosen is not None
    assert (usual.chosen.site, usual.chosen.offer) == WHERE
    until_at = NOW_AT + 2000.0
    loads = with_rests((busy(),), {WHERE: Rest(1, until_at)}, SITES)
    now = decide(asked, snapshot(sites=SITES, loads=loads))
    assert now.outcome is Outcome.RUN
    assert now.chosen is not None
    assert (now.chosen.site, now.chosen.offer) == ("cloud-eu", "od")
    assert ReasonCode.CAPACITY_BUSY in codes(now, *WHERE)
    told = params(now, *WHERE, ReasonCode.CAPACITY_BUSY)
    assert (told["free"], told["rests_until_at"]) == (0, until_at)


def test_a_run_that_can_go_nowhere_else_waits_for_the_rests_end() -> None:
    until_at = NOW_AT + 240.0
    loads = with_rests((), {WHERE: Rest(3, until_at)}, (US,))
    decision = decide(on_docs(), snapshot(sites=(US,), datasets=(on_us(),), loads=loads))
    assert decision.outcome is Outcome.WAIT
    assert decision.wait_until_at == until_at


def on_us() -> DatasetVersion:
    return replace(DOCS, copies=("cloud-us",))

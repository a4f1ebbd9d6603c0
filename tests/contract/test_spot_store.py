"""What every store of spot sightings does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.core.spot.sightings import Sighting
from infra.ports import ControlStore, SpotStore
from tests.contract import examples
from tests.databases import ALL, NOW

pytestmark = pytest.mark.parametrize("database", ALL, indirect=True)

OPENED = examples.sighting()


@pytest.fixture
def spot(database: ControlStore) -> SpotStore:
    return database.spot


def test_sightings_are_kept_without_loss_newest_first(spot: SpotStore) -> None:
    assert spot.sightings() == ()
    lost = replace(OPENED, what=Sighting.RECLAIMED, at=NOW + 1 / 3)
    refused = replace(OPENED, attempt=2, what=Sighting.REFUSED, since_at=NOW + 9.7, at=NOW + 9.7)
    for sighting in (OPENED, refused, lost):
        spot.add(sighting)
    assert spot.sightings() == (refused, lost, OPENED)


def test_what_was_seen_once_stays_as_it_was_seen(spot: SpotStore) -> None:
    spot.add(OPENED)
    spot.add(replace(OPENED, at=NOW + 50.0))
    assert spot.sightings() == (OPENED,)


def test_each_offer_shows_its_newest(spot: SpotStore) -> None:
    for attempt in range(1, 5):
        spot.add(replace(OPENED, attempt=attempt, at=NOW + attempt))
    other = replace(OPENED, attempt=9, offer="spot-large")
    spot.add(other)
    found = spot.sightings(limit_per_offer=2)
    assert [(each.offer, each.attempt) for each in found] == [("spot", 4), ("spot", 3), ("spot-large", 9)]


def test_a_sighting_that_is_rolled_back_was_not_seen(database: ControlStore) -> None:
    def add_and_fail() -> None:
        with database.transaction():
            database.spot.add(OPENED)
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        add_and_fail()
    assert database.spot.sightings() == ()

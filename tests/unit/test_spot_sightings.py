"""From what was seen of spot capacity to the spell that an offer is in."""

from __future__ import annotations

import math
import random

import pytest

from infra.core.errors import InputError
from infra.core.spot.availability import Spell
from infra.core.spot.model import POOLED
from infra.core.spot.sightings import UNSEEN_S, Sighting, SpotCapacity, SpotSighting, learn_capacity, spell_now

AT = 1_795_521_600.0
HOUR_S = 3600.0
TICK_H = 1 / 6
TYPICAL_H = pytest.approx(1.5)


def seen(what: Sighting, since_h: float, at_h: float, offer: str = "spot", attempt: int = 1) -> SpotSighting:
    return SpotSighting("run", attempt, "eu", offer, what, AT + since_h * HOUR_S, AT + at_h * HOUR_S)


def learnt(*sightings: SpotSighting) -> SpotCapacity:
    (found,) = learn_capacity(sightings)
    return found


def mean(before_h: float, length_h: float) -> float:
    return pytest.approx(math.exp(POOLED.memory * math.log(before_h) + (1 - POOLED.memory) * math.log(length_h)))


def test_machines_that_are_up_show_a_spell_from_their_start() -> None:
    opened = learnt(seen(Sighting.OPENED, 0, 0))
    assert (opened.available, opened.since_at, opened.seen_at, opened.up_h) == (True, AT, AT, TYPICAL_H)
    held = learnt(seen(Sighting.OPENED, 0, 0), seen(Sighting.HELD, 0, 12))
    assert (held.available, held.since_at, held.seen_at) == (True, AT, AT + 12 * HOUR_S)
    assert (held.up_h, held.down_h) == (TYPICAL_H, TYPICAL_H)


def test_a_reclaim_ends_the_spell_and_its_length_is_learnt() -> None:
    gone = learnt(seen(Sighting.RECLAIMED, 0, 6))
    assert (gone.available, gone.since_at, gone.seen_at) == (False, AT + 6 * HOUR_S, AT + 6 * HOUR_S)
    assert gone.up_h == mean(1.5, 6.0)
    back = learnt(seen(Sighting.RECLAIMED, 0, 6), seen(Sighting.REFUSED, 6.5, 6.5), seen(Sighting.OPENED, 7, 7))
    assert (back.available, back.since_at) == (True, AT + 7 * HOUR_S)
    assert (back.up_h, back.down_h) == (mean(1.5, 6.0), mean(1.5, 1.0))


def test_what_nobody_saw_in_between_is_not_counted_as_one_spell() -> None:
    apart = learnt(seen(Sighting.HELD, 0, 2), seen(Sighting.OPENED, 50, 50, attempt=2))
    assert (apart.available, apart.since_at) == (True, AT + 50 * HOUR_S)
    assert apart.up_h == mean(1.5, 2.0)


def test_offers_are_learnt_apart_and_the_order_does_not_matter() -> None:
    sightings = [
        seen(Sighting.RECLAIMED, 0, 6),
        seen(Sighting.REFUSED, 6.5, 6.5, attempt=2),
        seen(Sighting.OPENED, 1, 1, offer="big"),
        seen(Sighting.HELD, 1, 3, offer="big"),
    ]
    found = learn_capacity(sightings)
    assert [capacity.offer for capacity in found] == ["big", "spot"]
    for seed in range(5):
        assert learn_capacity(random.Random(seed).sample(sightings, 4)) == found
    assert learn_capacity([]) == ()


def test_the_spell_now() -> None:
    up = SpotCapacity("eu", "spot", True, AT, AT + 2 * HOUR_S, 3.0, 0.5)
    assert spell_now(up, AT + 2.5 * HOUR_S, TICK_H) == Spell(True, 2.5, math.log(3.0), math.log(0.5))
    long_ago = spell_now(up, AT + 2 * HOUR_S + UNSEEN_S + 1, TICK_H)
    assert (long_ago.available, long_ago.age_h) == (True, TICK_H)
    assert math.exp(long_ago.up_log_h) == mean(3.0, 2.0)
    assert spell_now(None, AT, TICK_H) == Spell(True, TICK_H, POOLED.typical_log_h, POOLED.typical_log_h)


def test_capacity_that_went_is_gone_for_a_tick_and_then_asked_for_again() -> None:
    gone = SpotCapacity("eu", "spot", False, AT, AT + 0.5 * HOUR_S, 3.0, 0.5)
    now = spell_now(gone, AT + 0.6 * HOUR_S, TICK_H)
    assert (now.available, now.age_h) == (False, pytest.approx(0.6))
    later = spell_now(gone, AT + 0.7 * HOUR_S, TICK_H)
    assert (later.available, later.age_h) == (True, TICK_H)
    assert math.exp(later.down_log_h) == mean(0.5, 0.7)


def test_a_sighting_does_not_end_before_it_begins() -> None:
    with pytest.raises(InputError, match="BAD_NUMBER"):
        seen(Sighting.HELD, 1, 0)

"""What was seen of spot capacity by running on it, and what that says of an offer now.

Nobody tells whether capacity is obtainable; it shows when machines are asked for, while they are held, and when they are
taken back. Each of these is a sighting with its instants. Sightings become spells here, so that what the policy knows of a zone
is a function of what happened there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from infra.core.errors import InputError
from infra.core.spot.availability import Spell, SpellModel
from infra.core.spot.model import POOLED
from infra.core.units import SECONDS_PER_HOUR, require_instant, require_number

UNSEEN_S = 3600.0
"""What was seen longer ago than this no longer says how capacity is now, only how long it tends to last."""

SHORTEST_SPELL_S = 60.0
"""Shorter spells are not told apart: the lengths enter by their logarithm."""


class Sighting(StrEnum):
    """What happened to machines on an offer."""

    OPENED = "opened"
    """They came up."""
    HELD = "held"
    """They were still there when the work was over."""
    RECLAIMED = "reclaimed"
    """They were taken back."""
    REFUSED = "refused"
    """They never came up."""

    @property
    def obtainable(self) -> bool:
        """Whether capacity was there at the sighting's end."""
        return self in (Sighting.OPENED, Sighting.HELD)


@dataclass(frozen=True, slots=True)
class SpotSighting:
    """One thing that an attempt showed of an offer's capacity.

    Attributes:
        since_at: From when on the machines were held without a break; equal to ``at`` when they were not held before.
        at: When it was seen.
    """

    run_id: str
    attempt: int
    site: str
    offer: str
    what: Sighting
    since_at: float
    at: float

    def __post_init__(self) -> None:
        where = f"sighting of {self.site}/{self.offer}"
        require_instant(self.since_at, f"{where}: since_at")
        require_instant(self.at, f"{where}: at")
        if self.at < self.since_at:
            raise InputError("BAD_NUMBER", "it ends before it begins", f"{where}: at", "give a later instant")


@dataclass(frozen=True, slots=True)
class SpotCapacity:
    """What past runs say of a spot offer's capacity.

    Attributes:
        available: Whether it was obtainable when it was last seen.
        since_at: From when on it was seen so.
        seen_at: When it was last seen.
        up_h: Hours that spells with capacity lasted here: a running geometric mean.
        down_h: The same of spells without.
    """

    site: str
    offer: str
    available: bool
    since_at: float
    seen_at: float
    up_h: float
    down_h: float

    def __post_init__(self) -> None:
        where = f"spot capacity of {self.site}/{self.offer}"
        for name in ("up_h", "down_h"):
            require_number(getattr(self, name), f"{where}: {name}", exclusive=True)
        for name in ("since_at", "seen_at"):
            require_instant(getattr(self, name), f"{where}: {name}")


def learn_capacity(sightings: Iterable[SpotSighting], model: SpellModel = POOLED) -> tuple[SpotCapacity, ...]:
    """What each offer's sightings teach, in the order of (site, offer). The order of the sightings does not matter."""
    points: dict[tuple[str, str], list[tuple[float, bool, float]]] = {}
    for seen in sightings:
        of_offer = points.setdefault((seen.site, seen.offer), [])
        if seen.what is not Sighting.REFUSED:
            of_offer.append((seen.since_at, True, seen.since_at))
        # What is taken back or refused was not there at that instant, whatever was held until then.
        held = seen.what is not Sighting.REFUSED
        of_offer.append((seen.at, seen.what.obtainable, seen.since_at if held else seen.at))
    return tuple(_learnt(*offer, sorted(found), model) for offer, found in sorted(points.items()))


def _learnt(site: str, offer: str, points: list[tuple[float, bool, float]], model: SpellModel) -> SpotCapacity:
    """One offer's capacity from (instant, whether obtainable, held since), oldest first."""
    up_log_h = down_log_h = model.typical_log_h
    since_at, available, _ = points[0]
    seen_at = since_at
    for at, obtainable, held_since_at in points[1:]:
        unseen = held_since_at > seen_at and at - seen_at > UNSEEN_S
        if obtainable != available or unseen:
            # A spell of which the end was not seen lasted as long as it was seen, at least.
            length_s = (seen_at if unseen else at) - since_at
            if available:
                up_log_h = _mean(model, up_log_h, length_s)
            else:
                down_log_h = _mean(model, down_log_h, length_s)
            since_at, available = at, obtainable
        seen_at = at
    return SpotCapacity(site, offer, available, since_at, seen_at, math.exp(up_log_h), math.exp(down_log_h))


def _mean(model: SpellModel, mean_log_h: float, length_s: float) -> float:
    length_h = max(length_s, SHORTEST_SPELL_S) / SECONDS_PER_HOUR
    return model.memory * mean_log_h + (1.0 - model.memory) * math.log(length_h)


def seen_lately(capacity: SpotCapacity | None, now_at: float) -> bool:
    """Whether capacity was seen to be there within the last hour, and not only may be."""
    return capacity is not None and capacity.available and now_at - capacity.seen_at <= UNSEEN_S


def spell_now(capacity: SpotCapacity | None, now_at: float, tick_h: float, model: SpellModel = POOLED) -> Spell:
    """The spell that an offer is in now, as far as anybody can say.

    Capacity that went is believed gone for one tick; from then on asking again is what shows whether it is back, so it
    counts as a spell that has just begun. The same holds of an offer that nobody has seen for an hour, or ever.
    """
    if capacity is None:
        return Spell(True, tick_h, model.typical_log_h, model.typical_log_h)
    up_log_h, down_log_h = math.log(capacity.up_h), math.log(capacity.down_h)
    age_s, unseen_s = now_at - capacity.since_at, now_at - capacity.seen_at
    age_h = max(tick_h, age_s / SECONDS_PER_HOUR)
    if capacity.available:
        if unseen_s <= UNSEEN_S:
            return Spell(True, age_h, up_log_h, down_log_h)
        up_log_h = _mean(model, up_log_h, capacity.seen_at - capacity.since_at)
        return Spell(True, tick_h, up_log_h, down_log_h)
    if unseen_s < tick_h * SECONDS_PER_HOUR:
        return Spell(False, age_h, up_log_h, down_log_h)
    length_s = age_s if unseen_s <= UNSEEN_S else capacity.seen_at - capacity.since_at
    return Spell(True, tick_h, up_log_h, _mean(model, down_log_h, length_s))

"""Offers that rest: where machines did not come up lately, nothing is tried again for a while.

A refused start says more than that one attempt failed: the next one there would most likely fail as well, and cost a boot. So
the offer's free devices count as taken for a while, which doubles with each further refusal and ends with the first
start that works. A run may then go elsewhere, or wait for the rest's end like for anybody's devices.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from infra.core.inventory import Site
from infra.core.placement.snapshot import OfferLoad, Release
from infra.core.spot.sightings import Sighting, SpotSighting

FIRST_REST_S = 60.0
LONGEST_REST_S = 1800.0


@dataclass(frozen=True, slots=True)
class Rest:
    """Why an offer rests: how many starts in a row it refused, and until when nothing is tried there."""

    refusals: int
    until_at: float


def rests_of(sightings: Iterable[SpotSighting], now_at: float) -> dict[tuple[str, str], Rest]:
    """The offers that rest now, by (site, offer). The order of the sightings does not matter.

    The rest after ``n`` refusals in a row lasts ``FIRST_REST_S · 2^(n - 1)``, at most ``LONGEST_REST_S``, from the last one.
    """
    by_offer: dict[tuple[str, str], list[SpotSighting]] = {}
    for seen in sightings:
        by_offer.setdefault((seen.site, seen.offer), []).append(seen)
    rests = {}
    for offer, found in by_offer.items():
        worked_at = max((seen.at for seen in found if seen.what is not Sighting.REFUSED), default=0.0)
        refused = [seen.at for seen in found if seen.what is Sighting.REFUSED and seen.at > worked_at]
        if not refused:
            continue
        doublings = min(len(refused) - 1, 16)
        until_at = max(refused) + min(LONGEST_REST_S, FIRST_REST_S * 2**doublings)
        if until_at > now_at:
            rests[offer] = Rest(len(refused), until_at)
    return rests


def with_rests(
    loads: tuple[OfferLoad, ...], rests: dict[tuple[str, str], Rest], sites: tuple[Site, ...]
) -> tuple[OfferLoad, ...]:
    """The loads with the free devices of resting offers taken until their rests' ends, in the order of (site, offer)."""
    by_offer = {(load.site, load.offer): load for load in loads}
    capacity = {
        (site.name, offer.name): offer.capacity for site in sites for pool in site.pools for offer in pool.offers
    }
    for key in rests.keys() & capacity.keys():
        load, until_at = by_offer.get(key, OfferLoad(*key)), rests[key].until_at
        # Devices that come back during the rest stay untouched until its end as well.
        back = [_not_before(release, until_at) for release in load.releases]
        free = capacity[key] - sum(release.devices for release in back)
        if free > 0:
            back.append(Release(until_at, free))
        back.sort(key=lambda release: (release.at, release.devices))
        by_offer[key] = replace(load, releases=tuple(back), rests_until_at=until_at)
    return tuple(load for _, load in sorted(by_offer.items()))


def _not_before(release: Release, until_at: float) -> Release:
    late_at = release.late_at if release.late_at is None else max(release.late_at, until_at)
    return replace(release, at=max(release.at, until_at), late_at=late_at)

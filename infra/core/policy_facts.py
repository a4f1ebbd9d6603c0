"""What a policy may see of a request and of an offer, as whole numbers and texts, in few different values."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from infra.core.budget import Balance
from infra.core.inventory import DatasetVersion, Offer, Site
from infra.core.jurisdictions import GROUPS
from infra.core.workload import WorkloadRequest

MICRO_PER_CENT = 10_000
MOST_PERCENT = 1000


@dataclass(frozen=True, slots=True)
class Facts:
    """What a policy may see of a request, the same for all offers and starts.

    Attributes:
        residency_tags: All tags of the datasets and the request, sorted.
        needed_zone: The least trusted zone that the request and its datasets accept.
        committed_micro: What of the tenant's budget is settled or reserved.
    """

    tenant: str
    kind: str
    datasets: tuple[str, ...]
    residency_tags: tuple[str, ...]
    needed_zone: str
    devices: int
    priority: int
    checkpointed: bool
    limit_micro: int
    committed_micro: int

    @classmethod
    def of(cls, request: WorkloadRequest, datasets: tuple[DatasetVersion, ...], balance: Balance) -> Facts:
        """Facts of a request that reads these datasets and is paid from this account."""
        zones = [request.trust_zone, *(dataset.trust_zone for dataset in datasets)]
        tags = {tag for dataset in datasets for tag in dataset.residency} | set(request.residency)
        return cls(
            tenant=request.tenant,
            kind=request.kind.value,
            datasets=tuple(sorted({ref.name for ref in request.datasets})),
            residency_tags=tuple(sorted(tags)),
            needed_zone=max(zones, key=lambda zone: zone.rank).value,
            devices=request.resources.devices,
            priority=request.priority,
            checkpointed=request.checkpointed,
            limit_micro=balance.limit_micro,
            committed_micro=balance.settled_micro + balance.reserved_micro,
        )


@dataclass(frozen=True, slots=True)
class Moved:
    """Data that a run at a site reads from other sites: names, bytes, and what leaving them costs in micro-dollars."""

    datasets: tuple[str, ...] = ()
    bytes: int = 0
    egress_micro: int = 0


NOTHING_MOVED = Moved()


def graded(value: int) -> int:
    """Rounded up to three significant digits, so that figures form few classes: at most 1 % more than it is."""
    step = 10 ** max(0, len(str(value)) - 3)
    return -(-value // step) * step


def stepped(value: int, limits: tuple[int, ...]) -> int:
    """A value that lies between the same limits, or on the same one, and is the same for all such values.

    Args:
        limits: Sorted.
    """
    place = bisect_left(limits, value)
    if place < len(limits) and limits[place] == value:
        return value
    return limits[place - 1] + 1 if place else min(0, value)


def cents(micro: int) -> int:
    """Whole cents of micro-dollars, rounded up."""
    return -(-micro // MICRO_PER_CENT)


def percent(part: int, whole: int) -> int:
    """Percent that a part is of a whole, rounded up, at most 1000; 1000 for something of nothing."""
    return min(MOST_PERCENT, -(-100 * part // whole)) if whole else MOST_PERCENT if part else 0


@lru_cache(maxsize=512)
def _regions(country: str) -> tuple[str, ...]:
    return (country, *sorted(name for name, countries in GROUPS.items() if country in countries))


OFFER_ATTRIBUTES: dict[str, Callable[[Site, Offer], Any]] = {
    "jurisdiction": lambda site, _: site.jurisdiction,
    "regions": lambda site, _: _regions(site.jurisdiction),
    "trust_zone": lambda site, _: site.trust_zone.value,
    "trust_rank": lambda site, _: site.trust_zone.rank,
    "simulated": lambda site, _: site.simulated,
    "purchase": lambda _, offer: offer.purchase.value,
    "device": lambda _, offer: offer.device,
    "price_cents_per_hour": lambda _, offer: cents(offer.price.micro_per_hour) if offer.price else 0,
}
"""Attributes of an ``Offer`` in the Cedar schema, and where each comes from."""

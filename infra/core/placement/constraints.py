"""Hard constraints that do not depend on when a run starts: where it may go, and what fits it.

Each broken constraint becomes a :class:`Reason` with the figures a person needs. Constraints that depend on the
start (deadline, budgets, devices in use) are in :mod:`infra.core.placement.starts`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from infra.core.inventory import DatasetVersion, Offer, Site, TrustZone
from infra.core.jurisdictions import permits
from infra.core.placement.decision import Reason, ReasonCode
from infra.core.placement.policing import policy_reasons
from infra.core.placement.world import World
from infra.core.policy_facts import NOTHING_MOVED, Moved
from infra.core.units import BYTES_PER_GB

Bandwidth = TypeVar("Bandwidth", float, np.ndarray)


def reason(code: ReasonCode, **params: str | int | float | tuple[str, ...]) -> Reason:
    """A reason with its parameters sorted by name."""
    return Reason(code, tuple(sorted(params.items())))


def may_hold(dataset: DatasetVersion, site: Site) -> bool:
    """Whether the dataset's residency and trust zone let a process at this site read it (invariant I1)."""
    return permits(dataset.residency, site.jurisdiction) and dataset.trust_zone.rank <= site.trust_zone.rank


@dataclass(frozen=True, slots=True)
class Move:
    """A dataset that a run at a site reads from another site.

    Attributes:
        egress_micro: What leaving the source costs, in micro-dollars.
        transfer_s: Time on the slower of the two sites' links.
    """

    dataset: str
    version: str
    source: str
    bytes: int
    egress_micro: int
    transfer_s: float


@dataclass(frozen=True, slots=True)
class SiteView:
    """What holds for every offer of a site: worked out once per site.

    Attributes:
        moves: Datasets without a copy here; ``None`` when some dataset can be read from nowhere.
    """

    reasons: tuple[Reason, ...]
    moves: tuple[Move, ...] | None

    @property
    def egress_micro(self) -> int:
        return sum(move.egress_micro for move in self.moves or ())

    @property
    def transfer_s(self) -> float:
        return sum(move.transfer_s for move in self.moves or ())

    @property
    def moved(self) -> Moved:
        """What the policy sees of it."""
        moves = self.moves
        if not moves:
            return NOTHING_MOVED
        names = tuple(sorted({move.dataset for move in moves}))
        return Moved(names, sum(move.bytes for move in moves), self.egress_micro)


def cheapest_source(
    dataset: DatasetVersion, target: Site | None, sites: Mapping[str, Site], down: Collection[str] = ()
) -> Site | None:
    """The site that a run at ``target`` reads this dataset from; ``None`` when there is none.

    A copy at the target costs nothing. Otherwise: of the copies that lie where they may and whose site is up, the
    one with the cheapest egress, then the fastest link, then the first name.

    Args:
        target: ``None`` for any site without a copy of its own.
        sites: All sites by name.
        down: Names of those that do not answer.
    """
    if target is not None and target.name in dataset.copies:
        return target
    usable = [
        sites[name] for name in dataset.copies if name in sites and name not in down and may_hold(dataset, sites[name])
    ]
    return min(usable, key=lambda site: (site.egress_micro_per_gb, -site.bandwidth_mbps, site.name), default=None)


def view_site(world: World, site: Site) -> SiteView:
    """Reasons and data moves that all offers of a site share."""
    reasons = [*_residency(world, site), *_trust(world, site), *_policy_age(world)]
    if site.name in world.down:
        reasons.append(reason(ReasonCode.SITE_DOWN, site=site.name, detail=world.down[site.name]))
    moves: list[Move] = []
    reachable = True
    for dataset in world.datasets:
        source = cheapest_source(dataset, site, world.site_by_name, world.down)
        if source is None:
            reachable = False
            reasons.append(
                reason(ReasonCode.DATASET_UNREACHABLE, dataset=dataset.name, copies=tuple(sorted(dataset.copies)))
            )
        elif source is not site:
            moves.append(_move(dataset, source, site))
    return SiteView(tuple(reasons), tuple(moves) if reachable else None)


def _move(dataset: DatasetVersion, source: Site, target: Site) -> Move:
    return Move(
        dataset=dataset.name,
        version=dataset.version,
        source=source.name,
        bytes=dataset.bytes,
        egress_micro=egress_micro(dataset, source),
        transfer_s=transfer_s(dataset, min(source.bandwidth_mbps, target.bandwidth_mbps)),
    )


def egress_micro(dataset: DatasetVersion, source: Site) -> int:
    """Micro-dollars for taking the dataset out of its source, rounded up."""
    return -(-dataset.bytes * source.egress_micro_per_gb // BYTES_PER_GB)


def transfer_s(dataset: DatasetVersion, bandwidth_mbps: Bandwidth) -> Bandwidth:
    """Seconds for moving the dataset over a link, or over each of an array of links."""
    return dataset.bytes / (bandwidth_mbps * 1e6 / 8)


def _residency(world: World, site: Site) -> list[Reason]:
    scopes = [(dataset.name, dataset.residency) for dataset in world.datasets]
    if world.request.residency:
        scopes.insert(0, ("", world.request.residency))  # "" stands for the request's own restriction
    return [
        reason(ReasonCode.RESIDENCY_EXCLUDED, dataset=name, tags=tuple(sorted(tags)), jurisdiction=site.jurisdiction)
        for name, tags in scopes
        if not permits(tags, site.jurisdiction)
    ]


def needed_zone(world: World) -> TrustZone:
    """The least trusted zone that the request and all of its datasets accept."""
    zones = [world.request.trust_zone, *(dataset.trust_zone for dataset in world.datasets)]
    return max(zones, key=lambda zone: zone.rank)


def _trust(world: World, site: Site) -> list[Reason]:
    needed = needed_zone(world)
    if site.trust_zone.rank >= needed.rank:
        return []
    return [reason(ReasonCode.TRUST_ZONE_TOO_LOW, zone=site.trust_zone.value, needed=needed.value)]


def _policy_age(world: World) -> list[Reason]:
    policy = world.snapshot.policy
    if policy.valid_until_at is None or world.now_at <= policy.valid_until_at:
        return []
    return [reason(ReasonCode.POLICY_STALE, policy=policy.version, valid_until_at=policy.valid_until_at)]


def offer_reasons(world: World, site: Site, offer: Offer, view: SiteView) -> list[Reason]:
    """Broken constraints of one offer, beyond those of its site."""
    forbidden: list[Reason] = []
    if not world.snapshot.policy.timed:
        forbidden = policy_reasons(world, site, offer, view.moved, world.now_at)
    return forbidden + fit_reasons(world, offer)


def fit_reasons(world: World, offer: Offer) -> list[Reason]:
    """Why an offer does not fit, wherever its site is: follows from its price, and what the request says of purchases and
    resources."""
    request, wanted = world.request, world.request.resources
    reasons: list[Reason] = []
    if offer.purchase not in request.purchases:
        allowed = tuple(sorted(purchase.value for purchase in request.purchases))
        reasons.append(reason(ReasonCode.PURCHASE_NOT_ALLOWED, purchase=offer.purchase.value, allowed=allowed))
    if wanted.device_kinds and offer.device not in wanted.device_kinds:
        reasons.append(
            reason(ReasonCode.DEVICE_KIND_MISMATCH, device=offer.device, wanted=tuple(sorted(wanted.device_kinds)))
        )
    if offer.memory_gb < wanted.memory_gb:
        reasons.append(reason(ReasonCode.MEMORY_TOO_SMALL, memory_gb=offer.memory_gb, needed_gb=wanted.memory_gb))
    if offer.capacity < wanted.devices:
        reasons.append(reason(ReasonCode.CAPACITY_TOO_SMALL, capacity=offer.capacity, needed=wanted.devices))
    if offer.price is None:
        reasons.append(reason(ReasonCode.PRICE_MISSING, offer=offer.name))
    elif offer.price.valid_until_at is not None and offer.price.valid_until_at < world.now_at:
        reasons.append(reason(ReasonCode.PRICE_STALE, valid_until_at=offer.price.valid_until_at))
    return reasons

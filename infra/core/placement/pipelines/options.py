"""Which offers can take a stage of a pipeline, and why the others cannot.

Most stages of a pipeline differ in few things, so what follows from the offers alone, or from an offer's site and the data that
a stage reads, is worked out once for all stages. Reasons are told only of stages that find no offer at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from infra.core.inventory import Offer, Pool, Site, TrustZone
from infra.core.jurisdictions import permits
from infra.core.placement.constraints import SiteView, fit_reasons, offer_reasons, reason, view_site
from infra.core.placement.decision import Reason, ReasonCode
from infra.core.placement.estimate import LONGEST_RUN_S, Durations, rate_for
from infra.core.placement.policing import policy_reasons
from infra.core.placement.snapshot import Snapshot
from infra.core.placement.starts import HORIZON_S, availability, durations_at
from infra.core.placement.world import World
from infra.core.policy import OfferClass
from infra.core.policy_facts import Moved
from infra.core.pricing import Price


@dataclass(frozen=True, slots=True)
class Row:
    """One offer and what follows from it alone.

    Attributes:
        index: Its place among all offers, which are in the order of their keys.
        site: Index of the site.
        key: (site, offer) by name.
        price: As far as starts can tell: what costs nothing has no windows.
        edges: Instants from now on at which its price changes, as far ahead as a cheaper window is waited for.
    """

    index: int
    site: int
    where: Site
    pool: Pool
    offer: Offer
    key: tuple[str, str]
    price: Price | None
    edges: tuple[float, ...]


@dataclass(slots=True)
class Option:
    """One offer that can take a stage. Not frozen: one is made for each stage and offer.

    Attributes:
        row: Of the offer among all offers.
        site: Index of the site.
        key: (site, offer) by name.
        free_at: From when on enough of its devices are free of the runs that are there already.
        edges: Later starts at edges of its price windows; empty when the stage may not wait or there are none.
        durations: Without moves of the results of other stages, as are the three figures below.
        high_s: Seconds that are kept with the required probability.
    """

    row: int
    site: int
    where: Site
    pool: Pool
    offer: Offer
    view: SiteView
    price: Price
    key: tuple[str, str]
    free_at: float
    edges: tuple[float, ...]
    durations: Durations
    high_s: float
    egress_micro: int
    transfer_s: float


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a stage's inputs let it do: the residency of the stages that they are from, by their names, and their zones."""

    residency: tuple[tuple[str, frozenset[tuple[str, ...]]], ...] = ()
    zones: tuple[TrustZone, ...] = ()

    def allows(self, site: Site) -> bool:
        return all(zone.rank <= site.trust_zone.rank for zone in self.zones) and all(
            permits(tags, site.jurisdiction) for _, each in self.residency for tags in each
        )

    def reasons(self, site: Site) -> list[Reason]:
        """Reasons why results of other stages may not be read at a site."""
        found = []
        for (name, residency), zone in zip(self.residency, self.zones, strict=True):
            found += [
                reason(ReasonCode.RESIDENCY_EXCLUDED, dataset=name, tags=tags, jurisdiction=site.jurisdiction)
                for tags in sorted(residency)
                if not permits(tags, site.jurisdiction)
            ]
            if zone.rank > site.trust_zone.rank:
                found.append(reason(ReasonCode.TRUST_ZONE_TOO_LOW, zone=site.trust_zone.value, needed=zone.value))
        return found


class OfferBook:
    """The offers of a snapshot, and what stages that read the same may do at each site.

    Attributes:
        sites: Sorted by name.
        rows: All offers, sorted by (site, offer).
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._now_at = snapshot.now_at
        self._edges: dict[Price, tuple[float, ...]] = {}
        self._views: dict[object, list[SiteView]] = {}
        self._fit: dict[object, list[bool]] = {}
        self._free_at: dict[int, list[float | None]] = {}
        self._classes: list[OfferClass] = []
        self.sites = tuple(sorted(snapshot.sites, key=lambda site: site.name))
        offers = [
            (index, site, pool, offer)
            for index, site in enumerate(self.sites)
            for pool in site.pools
            for offer in pool.offers
        ]
        offers.sort(key=lambda each: (each[0], each[3].name))
        self.rows = [self._row(index, *each) for index, each in enumerate(offers)]

    def _row(self, index: int, site: int, where: Site, pool: Pool, offer: Offer) -> Row:
        price = offer.price
        if price is not None and price.windows and not price.micro_per_hour:
            price = Price(0, price.valid_until_at)
        edges = self._edges_of(price) if price is not None and price.windows else ()
        return Row(index, site, where, pool, offer, (where.name, offer.name), price, edges)

    def _edges_of(self, price: Price) -> tuple[float, ...]:
        if price not in self._edges:
            found, at = [], price.next_change_at(self._now_at)
            while at <= self._now_at + HORIZON_S:
                found.append(at)
                at = price.next_change_at(at)
            self._edges[price] = tuple(found)
        return self._edges[price]

    def views(self, world: World) -> list[SiteView]:
        """What holds for every offer of a site, by site."""
        request = world.request
        key = (request.datasets, request.residency, request.trust_zone)
        if key not in self._views:
            self._views[key] = [view_site(world, site) for site in self.sites]
        return self._views[key]

    def _fitting(self, world: World) -> list[bool]:
        """Which offers fit, wherever their sites are, by row."""
        request = world.request
        key = (request.purchases, request.resources)
        if key not in self._fit:
            self._fit[key] = [not fit_reasons(world, row.offer) for row in self.rows]
        return self._fit[key]

    def _free(self, world: World) -> list[float | None]:
        """When enough devices are free at offers where no start is kept for others, by row; ``None`` when too late."""
        devices = world.request.resources.devices
        if devices not in self._free_at:
            self._free_at[devices] = [
                world.now_at if row.key not in world.loads else free_at(world, row, 0.0) for row in self.rows
            ]
        return self._free_at[devices]

    def _forbidden(self, world: World, row: Row, moved: Moved) -> bool:
        """Whether the policy forbids a start now: when the stage will start is not known yet."""
        if not self._classes:
            self._classes = [world.snapshot.policy.class_of(each.where, each.offer) for each in self.rows]
        return bool(world.question.forbidding(self._classes[row.index], world.now_at, 0, moved))

    def options(self, world: World, inherited: Inherited, may_wait: bool) -> list[Option]:
        """The offers that can take a stage, in their order."""
        sites = [
            None
            if view.reasons or not inherited.allows(site)
            else (view, view.moved, view.egress_micro, view.transfer_s)
            for site, view in zip(self.sites, self.views(world), strict=True)
        ]
        probability, fits, free, found = world.request.deadline_probability, self._fitting(world), self._free(world), []
        for row in self.rows:
            site, index = sites[row.site], row.index
            if site is None or not fits[index] or row.price is None:
                continue
            view, moved, egress_micro, transfer_s = site
            if self._forbidden(world, row, moved):
                continue
            durations = durations_at(world, row.where, row.offer, transfer_s)
            if durations is None:
                continue
            open_at = free_at(world, row, durations.total_s) if row.key in world.queue else free[index]
            if open_at is None:
                continue
            found.append(
                Option(
                    index,
                    row.site,
                    row.where,
                    row.pool,
                    row.offer,
                    view,
                    row.price,
                    row.key,
                    open_at,
                    row.edges if may_wait else (),
                    durations,
                    durations.at(probability),
                    egress_micro,
                    transfer_s,
                )
            )
        return found

    def refusals(self, world: World, inherited: Inherited) -> tuple[tuple[str, str, tuple[Reason, ...]], ...]:
        """Of a stage that no offer can take: what stands in the way at each, as (site, offer, reasons)."""
        views, found = self.views(world), []
        for row in self.rows:
            view = views[row.site]
            reasons = [*view.reasons, *inherited.reasons(row.where), *_reasons(world, row, view)]
            found.append((*row.key, tuple(reasons)))
        return tuple(sorted(found))


def free_at(world: World, row: Row, seconds: float) -> float | None:
    """When its devices are free for so long of the runs that are there already; ``None`` when not within the longest run."""
    enough_at = availability(world, row.where, row.offer, seconds).enough_at
    return None if enough_at is None or enough_at > world.now_at + LONGEST_RUN_S else enough_at


def _reasons(world: World, row: Row, view: SiteView) -> Iterable[Reason]:
    """Everything that stands in the way at an offer besides its site."""
    yield from offer_reasons(world, row.where, row.offer, view)
    if world.snapshot.policy.timed:
        yield from policy_reasons(world, row.where, row.offer, view.moved, world.now_at)
    durations = durations_at(world, row.where, row.offer, view.transfer_s)
    if durations is None:
        why = "TOO_LONG" if rate_for(world.rates, row.offer) else "NO_RATE"
        kind, device = world.request.kind.value, row.offer.device
        yield reason(ReasonCode.ESTIMATE_UNKNOWN, kind=kind, device=device, why=why, longest_s=LONGEST_RUN_S)
    elif free_at(world, row, durations.total_s) is None:
        free = availability(world, row.where, row.offer, durations.total_s).free
        yield reason(ReasonCode.CAPACITY_BUSY, free=free, needed=world.request.resources.devices)

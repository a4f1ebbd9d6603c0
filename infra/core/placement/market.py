"""Every offer of every site as columns, so that a decision looks at thousands of them at once.

Columns that follow from the sites alone are made once for a list of sites and used for as long as it is the same list.
The order of the rows is (site, offer) by name: the last tie of the objective.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from infra.core.inventory import Offer, Pool, Purchase, Site
from infra.core.placement.fitting import OVERDUE_GRACE_S
from infra.core.placement.snapshot import OfferLoad
from infra.core.recent import remembered

Floats = np.ndarray
"""``[offers] float64`` unless said otherwise."""

_MAX_EXACT = 1 << 62
"""Products of whole numbers below this fit a machine integer with room to spare."""


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """The offers as columns, each ``[offers]`` in the order of ``rows``.

    Attributes:
        rows: What each row stands for.
        row_of: Row of an offer, by (site, offer).
        site: Index into ``sites``.
        sites: Sorted by name; ``site_row`` finds one by its name.
        device: Index into ``device_names``, which are sorted.
        usable_until_at: Until when the price may be used: minus infinity where it is not known.
        price_micro: Price of one device for one hour; 0 where it is not known.
        least_factor: The smallest factor of the price's windows, at most 1; 1 without windows.
        windowed: Whether the price has windows.
        dearest_micro: The largest price, for a check that whole numbers stay exact.
    """

    rows: tuple[tuple[Site, Pool, Offer], ...]
    row_of: dict[tuple[str, str], int]
    sites: tuple[Site, ...]
    site_row: dict[str, int]
    site: np.ndarray
    bandwidth_mbps: Floats
    zone_rank: np.ndarray
    purchases: dict[Purchase, np.ndarray]
    device: np.ndarray
    device_names: tuple[str, ...]
    capacity: np.ndarray
    memory_gb: Floats
    relative_speed: Floats
    usable_until_at: Floats
    price_micro: np.ndarray
    least_factor: Floats
    windowed: np.ndarray
    boot_s: Floats
    interruptions_per_hour: Floats
    dearest_micro: int

    @property
    def sold(self) -> frozenset[str]:
        """Kinds of device that some site sells."""
        return frozenset(self.device_names)

    def stays_exact(self, devices: int) -> bool:
        """Whether prices times devices, with every factor on top, fit a machine integer."""
        return self.dearest_micro * devices * 400 < _MAX_EXACT


@remembered(8)
def market_of(sites: tuple[Site, ...]) -> Market:
    """The columns of these sites' offers."""
    ordered = tuple(sorted(sites, key=lambda site: site.name))
    rows = tuple(
        row
        for site in ordered
        for row in sorted(
            ((site, pool, offer) for pool in site.pools for offer in pool.offers), key=lambda row: row[2].name
        )
    )
    site_row = {site.name: index for index, site in enumerate(ordered)}

    def column(value: Callable[[Offer], object], kind: type) -> np.ndarray:
        return np.array([value(offer) for _, _, offer in rows], dtype=kind)

    prices = [offer.price for _, _, offer in rows]
    micro = [price.micro_per_hour if price else 0 for price in prices]
    names = tuple(sorted({offer.device for _, _, offer in rows}))
    name_index = {name: index for index, name in enumerate(names)}
    purchase = column(lambda offer: offer.purchase, object)
    site_index = np.array([site_row[site.name] for site, _, _ in rows], dtype=np.int64)
    return Market(
        rows=rows,
        row_of={(site.name, offer.name): index for index, (site, _, offer) in enumerate(rows)},
        sites=ordered,
        site_row=site_row,
        site=site_index,
        bandwidth_mbps=np.array([site.bandwidth_mbps for site in ordered]),
        zone_rank=np.array([site.trust_zone.rank for site in ordered], dtype=np.int64),
        purchases={kind: purchase == kind for kind in Purchase},
        device=column(lambda offer: name_index[offer.device], np.int64),
        device_names=names,
        capacity=np.minimum(column(lambda offer: min(offer.capacity, _MAX_EXACT), np.int64), _MAX_EXACT),
        memory_gb=column(lambda offer: offer.memory_gb, np.float64),
        relative_speed=column(lambda offer: offer.relative_speed, np.float64),
        usable_until_at=column(_usable_until, np.float64),
        price_micro=np.array([min(value, _MAX_EXACT) for value in micro], dtype=np.int64),
        least_factor=np.array(
            [min((window.factor for window in price.windows), default=1.0) if price else 1.0 for price in prices]
        ).clip(max=1.0),
        windowed=np.array([bool(price and price.windows) for price in prices], dtype=bool),
        boot_s=column(lambda offer: offer.boot_s, np.float64),
        interruptions_per_hour=column(lambda offer: offer.interruptions_per_hour, np.float64),
        dearest_micro=max(micro, default=0),
    )


def _usable_until(offer: Offer) -> float:
    if offer.price is None:
        return -math.inf
    return math.inf if offer.price.valid_until_at is None else offer.price.valid_until_at


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """What of some of the market's offers is in use, and what was measured of them lately. Places are among those offers.

    Attributes:
        measured: Places with a boot time, a spread of it or a hand-over that was measured, with the load that says so.
        busy: Places with releases; ``starts`` are their first positions in the two columns below.
        at, free_after: For each release, by place and then instant: when it is, and how many devices are free after it.
        free: Devices of the busy ones that are free now; below 0 when the capacity was lowered meanwhile.
    """

    measured: tuple[tuple[int, OfferLoad], ...]
    busy: np.ndarray
    free: np.ndarray
    starts: np.ndarray
    at: Floats
    free_after: np.ndarray


def use_of(market: Market, rows: np.ndarray, loads: Mapping[tuple[str, str], OfferLoad], now_at: float) -> Use:
    """What these loads, by (site, offer), take of the offers in these rows."""
    within = np.zeros(len(market.rows), dtype=bool)
    within[rows] = True
    wanted = within.tobytes()  # its items are had for less than an array's
    found = [
        (row, load)
        for row, load in zip(map(market.row_of.get, loads), loads.values(), strict=True)
        if row is not None and wanted[row]
    ]
    using = [(row, load.releases) for row, load in found if load.releases]
    busy = rows.searchsorted(np.array([row for row, _ in using], dtype=np.int64))
    counts = np.array([len(releases) for _, releases in using], dtype=np.int64)
    at = np.array([release.at for _, releases in using for release in releases])
    devices = np.array([release.devices for _, releases in using for release in releases], dtype=np.int64)
    at = np.where(at > now_at, at, now_at + OVERDUE_GRACE_S)  # as in ``fitting.back_at``
    if at.size > busy.size:
        order = np.lexsort((at, np.arange(busy.size).repeat(counts)))
        at, devices = at[order], devices[order]
    given_back, ends = devices.cumsum(), counts.cumsum()
    starts = ends - counts
    before = given_back[starts] - devices[starts]
    free = market.capacity[rows[busy]] - (given_back[ends - 1] - before)
    measured = [
        (row, load) for row, load in found if load.boot_s is not None or load.boot_spread is not None or load.handover_s
    ]
    places = rows.searchsorted(np.array([row for row, _ in measured], dtype=np.int64)).tolist()
    return Use(
        measured=tuple(zip(places, [load for _, load in measured], strict=True)),
        busy=busy,
        free=free,
        starts=starts,
        at=at,
        free_after=given_back + (free - before).repeat(counts),
    )

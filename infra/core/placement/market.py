"""Every offer of every site as columns, so that a decision looks at thousands of them at once.

Columns that follow from the sites alone are made once for a list of sites and used for as long as it is the same list.
The order of the rows is (site, offer) by name: the last tie of the objective.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from infra.core.inventory import Offer, Pool, Purchase, Site
from infra.core.placement.snapshot import OfferLoad
from infra.core.placement.uncertainty import Spread
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
        price_micro: Price of one device for one hour; meaningless where ``priced`` is false.
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
    devices: dict[str, np.ndarray]
    capacity: np.ndarray
    memory_gb: Floats
    relative_speed: Floats
    priced: np.ndarray
    price_micro: np.ndarray
    price_valid_until_at: Floats
    least_factor: Floats
    windowed: np.ndarray
    boot_s: Floats
    interruptions_per_hour: Floats
    dearest_micro: int

    @property
    def sold(self) -> frozenset[str]:
        """Kinds of device that some site sells."""
        return frozenset(self.devices)

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
    names = column(lambda offer: offer.device, object)
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
        devices={name: names == name for name in sorted(set(names))},
        capacity=np.minimum(column(lambda offer: min(offer.capacity, _MAX_EXACT), np.int64), _MAX_EXACT),
        memory_gb=column(lambda offer: offer.memory_gb, np.float64),
        relative_speed=column(lambda offer: offer.relative_speed, np.float64),
        priced=np.array([price is not None for price in prices], dtype=bool),
        price_micro=np.array([min(value, _MAX_EXACT) for value in micro], dtype=np.int64),
        price_valid_until_at=np.array(
            [math.inf if price is None or price.valid_until_at is None else price.valid_until_at for price in prices]
        ),
        least_factor=np.array(
            [min((window.factor for window in price.windows), default=1.0) if price else 1.0 for price in prices]
        ).clip(max=1.0),
        windowed=np.array([bool(price and price.windows) for price in prices], dtype=bool),
        boot_s=column(lambda offer: offer.boot_s, np.float64),
        interruptions_per_hour=column(lambda offer: offer.interruptions_per_hour, np.float64),
        dearest_micro=max(micro, default=0),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """What of the offers is in use, as columns.

    Attributes:
        free: Devices that are free now, per offer; below 0 when the capacity was lowered meanwhile.
        boot_s: Boot time per offer, as measured lately where it was.
        handover_s: Time per offer before machines are asked for, 0 where nobody has measured it.
        boot_spreads, handover_spreads: Rows whose spread was measured, with it.
        busy: Rows with releases; ``starts`` are their first positions in the two columns below.
        at, free_after: For each release, by row and then instant: when it is, and how many devices are free after it.
    """

    free: np.ndarray
    boot_s: Floats
    handover_s: Floats
    boot_spreads: tuple[tuple[int, Spread], ...]
    handover_spreads: tuple[tuple[int, Spread], ...]
    busy: np.ndarray
    starts: np.ndarray
    at: Floats
    free_after: np.ndarray


@remembered(8)
def use_of(market: Market, loads: tuple[OfferLoad, ...]) -> Use:
    """What of the market these loads take; loads of offers that nobody sells count for nothing."""
    free, boot_s = market.capacity.copy(), market.boot_s.copy()
    offered = market.capacity.tolist()
    handover_s = np.zeros(len(market.rows))
    boot_spreads: list[tuple[int, Spread]] = []
    handover_spreads: list[tuple[int, Spread]] = []
    busy: list[int] = []
    left_of_busy: list[int] = []
    starts: list[int] = []
    at: list[float] = []
    free_after: list[int] = []
    for load in loads:
        row = market.row_of.get((load.site, load.offer))
        if row is None:
            continue
        if load.boot_s is not None:
            boot_s[row] = load.boot_s
        if load.boot_spread is not None:
            boot_spreads.append((row, load.boot_spread))
        if load.handover_s:
            handover_s[row] = load.handover_s
            handover_spreads.append((row, load.handover_spread))
        if not load.releases:
            continue
        back = [(release.at, release.devices) for release in load.releases]
        if len(back) > 1:
            back.sort()
        left = offered[row] - sum([devices for _, devices in back])
        busy.append(row)
        left_of_busy.append(left)
        starts.append(len(at))
        for back_at, devices in back:
            left += devices
            at.append(back_at)
            free_after.append(left)
    free[busy] = left_of_busy
    return Use(
        free=free,
        boot_s=boot_s,
        handover_s=handover_s,
        boot_spreads=tuple(boot_spreads),
        handover_spreads=tuple(handover_spreads),
        busy=np.array(busy, dtype=np.int64),
        starts=np.array(starts, dtype=np.int64),
        at=np.array(at),
        free_after=np.array(free_after, dtype=np.int64),
    )

"""What each offer would cost and when it would end, for all offers at once.

What can never be chosen is left out first, so that figures are worked out for the rest only. For prices without windows, where
no start is kept for others and no run is begun again from nothing, cost and finish are those of ``assess``, operation by
operation. Else they are bounds from below, and so is the finish at the required probability everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from infra.core.inventory import DatasetVersion, Purchase
from infra.core.jurisdictions import permits
from infra.core.placement.constraints import cheapest_source, egress_micro, needed_zone, transfer_s
from infra.core.placement.costing import needed
from infra.core.placement.estimate import (
    BOOT_SPREAD,
    CHECKPOINT_INTERVAL_S,
    LONGEST_RUN_S,
    REWORK_STEPS,
    TRANSFER_SPREAD,
    speed_up,
    spread_at,
)
from infra.core.placement.market import Floats, Market, Use, use_of
from infra.core.placement.snapshot import Rate
from infra.core.placement.uncertainty import place_of, ratios
from infra.core.placement.world import World
from infra.core.recent import remembered
from infra.core.units import SECONDS_PER_HOUR
from infra.core.workload import Fallback, WorkKind

_LARGEST = 1 << 56
"""Money is cut here, at some 70 billion dollars, so that margins and sums of it stay whole numbers of the machine."""


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """Weight and finish of the offers that break no hard constraint that is known here, at their best.

    Attributes:
        rows: Their rows in the market, ascending.
        weight_micro: Cost, and what the wait is worth: ``[rows] int64``.
        finish_at: Earliest expected finish: ``[rows] float64``.
    """

    rows: np.ndarray
    weight_micro: np.ndarray
    finish_at: Floats


def figures(world: World, market: Market) -> Figures:
    """Leave out what cannot be, and put figures on the rest."""
    may, moving_s, egress = _sites(world, market)
    rows = np.flatnonzero(_lasting(world, market, may))
    use = use_of(market, rows, world.loads, world.now_at)
    site = market.site.take(rows)
    with np.errstate(over="ignore", invalid="ignore"):  # what has no end is left out below
        parts = _parts(world, market, rows, use, moving_s.take(site))
        machine_s = parts.boot_s + parts.transfer_s + parts.compute_s + parts.rework_s
        total_s = machine_s + parts.handover_s
        high_s = _high(world, market, rows, use, parts, total_s)
        cost, high = _money(world, market, rows, machine_s, high_s - parts.handover_s)
    moved = egress.take(site)
    start_at = _starts(world, rows.size, use)
    return _fitting(world, rows, start_at, total_s, high_s, cost + moved, needed(high, moved))


def _fitting(
    world: World,
    rows: np.ndarray,
    start_at: Floats,
    total_s: Floats,
    high_s: Floats,
    cost: np.ndarray,
    needed_micro: np.ndarray,
) -> Figures:
    """Leave out what is too late, too dear or busy, and weigh the rest."""
    request, available_micro = world.request, world.balance.available_micro
    fits = needed_micro <= (
        available_micro if request.budget_micro is None else min(request.budget_micro, available_micro)
    )
    fits &= high_s <= LONGEST_RUN_S
    fits &= start_at <= (world.now_at + LONGEST_RUN_S if Fallback.WAIT in request.fallbacks else world.now_at)
    if request.deadline_at is not None:
        fits &= start_at + high_s <= request.deadline_at
    kept = np.flatnonzero(fits)
    weight, start_at = cost.take(kept), start_at.take(kept)
    if request.wait_micro_per_hour:
        worth = np.floor_divide(request.wait_micro_per_hour * (start_at - world.now_at), SECONDS_PER_HOUR)
        weight = weight + np.fmin(worth, _LARGEST).astype(np.int64)
    return Figures(rows.take(kept), weight, start_at + total_s.take(kept))


def _lasting(world: World, market: Market, may: np.ndarray) -> np.ndarray:
    """Per offer: whether no constraint that is the same for every start and every use of it is broken. ``[offers] bool``"""
    request, policy = world.request, world.snapshot.policy
    if policy.valid_until_at is not None and world.now_at > policy.valid_until_at:
        return np.zeros(len(market.rows), dtype=bool)
    left = may.take(market.site)
    left &= market.capacity >= request.resources.devices
    left &= market.usable_until_at >= world.now_at
    if request.resources.memory_gb:
        left &= market.memory_gb >= request.resources.memory_gb
    refused = [market.purchases[purchase] for purchase in Purchase if purchase not in request.purchases]
    for purchase in refused:
        left &= ~purchase
    kinds = request.resources.device_kinds
    if kinds or "" not in world.rates:
        takes = [
            (not kinds or name in kinds) and ("" in world.rates or name in world.rates) for name in market.device_names
        ]
        left &= np.array(takes, dtype=bool).take(market.device)
    return left


@remembered(8)
def _permitted_in(market: Market) -> Callable[[tuple[str, ...]], np.ndarray]:
    """Says for residency tags at which sites data with them may be processed: ``[sites] bool``."""

    @lru_cache(maxsize=512)
    def permitted(tags: tuple[str, ...]) -> np.ndarray:
        allowed = {country: permits(tags, country) for country in {site.jurisdiction for site in market.sites}}
        return np.array([allowed[site.jurisdiction] for site in market.sites], dtype=bool)

    return permitted


class _Moving(NamedTuple):
    """What it takes to have a dataset at each site: whether it may be there, seconds, and micro-dollars; each ``[sites]``."""

    may: np.ndarray
    seconds: Floats
    egress: np.ndarray


@remembered(8)
def _moving_in(market: Market) -> Callable[[DatasetVersion, frozenset[str]], _Moving]:
    """Says for a dataset and the names of the sites that are down what it takes to have it at each site."""
    by_name = {site.name: site for site in market.sites}

    @lru_cache(maxsize=512)
    def moving(dataset: DatasetVersion, down: frozenset[str]) -> _Moving:
        may, seconds = _permitted_in(market)(dataset.residency), np.zeros(len(market.sites))
        egress = np.zeros(len(market.sites), dtype=np.int64)
        here = [market.site_row[name] for name in dataset.copies if name in market.site_row]
        source = cheapest_source(dataset, None, by_name, down)
        if source is None:
            there = np.zeros(len(market.sites), dtype=bool)
            there[here] = True
            return _Moving(may & there, seconds, egress)
        seconds += transfer_s(dataset, np.minimum(source.bandwidth_mbps, market.bandwidth_mbps))
        egress += min(egress_micro(dataset, source), _LARGEST)
        seconds[here], egress[here] = 0.0, 0
        return _Moving(may, seconds, egress)

    return moving


def _sites(world: World, market: Market) -> _Moving:
    """What it takes to have the run, with its data, at each site."""
    may = market.zone_rank >= needed_zone(world).rank
    if world.request.residency:
        may &= _permitted_in(market)(world.request.residency)
    for name in world.down:
        row = market.site_row.get(name)
        if row is not None:
            may[row] = False
    moving_s, egress = np.zeros(len(market.sites)), np.zeros(len(market.sites), dtype=np.int64)
    for dataset in world.datasets:
        moving = _moving_in(market)(dataset, frozenset(world.down))
        may &= moving.may
        moving_s += moving.seconds
        egress = np.minimum(egress + moving.egress, _LARGEST)
    return _Moving(may, moving_s, egress)


class _Parts(NamedTuple):
    """Seconds by part, each ``[rows]``: medians; of the rework what is expected, with its standard deviation."""

    boot_s: Floats
    transfer_s: Floats
    compute_s: Floats
    rework_s: Floats
    deviation_s: Floats
    handover_s: Floats


def _parts(world: World, market: Market, rows: np.ndarray, use: Use, transfer_s: Floats) -> _Parts:
    """The parts as ``estimate`` has them."""
    boot_s, handover_s = market.boot_s.take(rows), np.zeros(rows.size)
    for place, load in use.measured:
        if load.boot_s is not None:
            boot_s[place] = load.boot_s
        handover_s[place] = load.handover_s
    units, faster = world.request.units, speed_up(world.request.resources.devices)
    rates, device = _rates(world, market), market.device.take(rows)
    fixed_s = np.array([rate.fixed_s for rate in rates]).take(device)
    work_s = np.array([units * rate.unit_s for rate in rates]).take(device)
    speed = market.relative_speed.take(rows)
    if len(world.rates) > ("" in world.rates):  # a device's own rate is in its own speed
        speed = np.where(np.array([not rate.device for rate in rates]).take(device), speed, 1.0)
    compute_s = fixed_s + work_s / (faster * speed)
    rework_s, deviation_s = _rework(world, market.interruptions_per_hour.take(rows), transfer_s + compute_s, boot_s)
    return _Parts(boot_s, transfer_s, compute_s, rework_s, deviation_s, handover_s)


_UNKNOWN = Rate(WorkKind.PROBE, "", 0.0, 0.0, 0.0)
"""Of devices that nobody has a rate for: they are left out already."""


def _rates(world: World, market: Market) -> list[Rate]:
    """The rate of each kind of device, by its index."""
    reference = world.rates.get("", _UNKNOWN)
    return [world.rates.get(name, reference) for name in market.device_names]


def _rework(world: World, per_hour: Floats, work_s: Floats, boot_s: Floats) -> tuple[Floats, Floats]:
    """Expected seconds that interruptions add, and their standard deviation: as ``estimate`` has them, or a little less
    where interrupted runs begin again from nothing."""
    if not per_hour.any():
        return np.zeros(per_hour.size), np.zeros(per_hour.size)
    rate = per_hour * world.request.resources.devices / SECONDS_PER_HOUR
    expected = rate * work_s
    if world.request.checkpointed:
        longest_s = np.minimum(CHECKPOINT_INTERVAL_S, work_s)
        variance = expected * (longest_s**2 / 3.0 + longest_s * boot_s + boot_s**2)
        return expected * (longest_s / 2 + boot_s), np.sqrt(variance)
    some = np.flatnonzero(rate)
    rework_s, deviation_s = np.zeros(rate.size), np.zeros(rate.size)
    rework_s[some], deviation_s[some] = _from_nothing(rate[some], expected[some], work_s[some], boot_s[some])
    return rework_s, deviation_s


def _from_nothing(rate: Floats, expected: Floats, work_s: Floats, boot_s: Floats) -> tuple[Floats, Floats]:
    """A little less than ``expected_rework`` and ``rework_deviation`` for runs without checkpoints.

    Exponentials of arrays may differ from those of numbers in the last bit, and differences make more of that.
    """
    tries = np.expm1(np.minimum(expected, 500.0))  # what expects more is longer than any run may be
    rework_s = tries * (1.0 / rate + boot_s) - work_s
    rework_s -= 1e-12 * (rework_s + work_s)
    mean_s = 1.0 / rate - work_s / tries
    square = 2.0 / rate**2 - (work_s**2 + 2.0 * work_s / rate) / tries
    many = tries * np.maximum(0.0, square - mean_s**2) + tries * (tries + 1.0) * (mean_s + boot_s) ** 2
    few = expected * (work_s**2 / 3.0 + work_s * boot_s + boot_s**2)
    deviation_s = np.sqrt(np.where(expected < 1e-4, few, many))
    return np.maximum(0.0, rework_s), deviation_s * (1.0 - 2e-3)


def _high(world: World, market: Market, rows: np.ndarray, use: Use, parts: _Parts, total_s: Floats) -> Floats:
    """Seconds at the required probability, as ``Durations.at``, a hair less for the sake of rounding."""
    lower, share = place_of(world.request.deadline_probability)
    high_s = _at_level(world, market, rows, use, parts, total_s, lower)
    if share:
        upper_s = _at_level(world, market, rows, use, parts, total_s, lower + 1)
        geometric = high_s * (upper_s / np.where(high_s > 0.0, high_s, 1.0)) ** share
        high_s = np.where(high_s > 0.0, geometric, high_s + share * (upper_s - high_s))
    return high_s * (1 - 1e-9)


def _at_level(
    world: World, market: Market, rows: np.ndarray, use: Use, parts: _Parts, total_s: Floats, level: int
) -> Floats:
    """The quantile at a level, as ``Durations.at_level`` for levels that are not below the median."""
    units = world.request.units / speed_up(world.request.resources.devices)
    compute = [ratios(spread_at(rate, units))[level] - 1.0 for rate in _rates(world, market)]
    boot_s = parts.boot_s * (ratios(BOOT_SPREAD)[level] - 1.0)
    for place, load in use.measured:
        if load.boot_spread is not None:
            boot_s[place] = parts.boot_s[place] * (ratios(load.boot_spread)[level] - 1.0)
    squares = boot_s**2
    squares += (parts.transfer_s * (ratios(TRANSFER_SPREAD)[level] - 1.0)) ** 2
    squares += (parts.compute_s * np.array(compute).take(market.device.take(rows))) ** 2
    squares += (parts.deviation_s * REWORK_STEPS[level]) ** 2
    for place, load in use.measured:
        if load.handover_s:
            squares[place] += (load.handover_s * (ratios(load.handover_spread)[level] - 1.0)) ** 2
    return total_s + np.sqrt(squares)


def _starts(world: World, count: int, use: Use) -> Floats:
    """The first instant at which enough devices are free; infinity when never."""
    devices, start_at = world.request.resources.devices, np.full(count, world.now_at)
    if use.busy.size:
        enough_at = np.minimum.reduceat(np.where(use.free_after >= devices, use.at, math.inf), use.starts)
        start_at[use.busy] = np.where(use.free >= devices, world.now_at, enough_at)
    return start_at


def _money(
    world: World, market: Market, rows: np.ndarray, machine_s: Floats, high_s: Floats
) -> tuple[np.ndarray, np.ndarray]:
    """What the machines are expected to cost, and what they cost for the high estimate, in micro-dollars."""
    devices, price_micro = world.request.resources.devices, market.price_micro.take(rows)
    if market.stays_exact(devices):
        per_hour = (price_micro * devices).astype(np.float64)
        varying = np.flatnonzero(market.windowed.take(rows))
    else:
        per_hour = price_micro.astype(np.float64) * devices
        varying = np.arange(rows.size)
    least_per_hour = per_hour[varying] * market.least_factor[rows[varying]] * (1 - 1e-9)

    def paid(seconds: Floats) -> np.ndarray:
        whole = np.ceil(per_hour * seconds / SECONDS_PER_HOUR - 1e-6)
        if varying.size:
            whole[varying] = np.floor(least_per_hour * seconds[varying] / SECONDS_PER_HOUR) - 1
        # Not a number comes of 0 times infinity: time without end, which no estimate allows anyway.
        return np.fmin(np.maximum(whole, 0.0), _LARGEST).astype(np.int64)

    expected = paid(machine_s)
    return expected, np.maximum(expected, paid(high_s))

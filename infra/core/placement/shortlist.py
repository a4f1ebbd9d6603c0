"""Which offer wins, found without working out every candidate.

All offers are looked at as columns: what breaks a hard constraint is struck out, the others get their cost and finish.
For prices without windows both figures are those of ``assess``, operation by operation; with windows, and where starts are
kept for others, they are bounds from below. The best row is then worked out in full, policy and windows included, and the next one only while its figures can
still beat the best candidate found. Thousands of offers cost a few array operations and, as a rule, one or two candidates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from infra.core.inventory import Purchase
from infra.core.jurisdictions import permits
from infra.core.placement.constraints import cheapest_source, egress_micro, needed_zone, transfer_s, view_site
from infra.core.placement.costing import CAP_MARGIN_PERCENT
from infra.core.placement.decision import Candidate, Reason, ReasonCode
from infra.core.placement.estimate import (
    BOOT_SPREAD,
    CHECKPOINT_INTERVAL_S,
    LONGEST_RUN_S,
    REWORK_STEPS,
    TRANSFER_SPREAD,
    expected_rework,
    rework_deviation,
    speed_up,
    spread_at,
)
from infra.core.placement.fitting import OVERDUE_GRACE_S
from infra.core.placement.market import Floats, Market, Use, market_of, use_of
from infra.core.placement.optimise import assess, best_candidate, by_cost
from infra.core.placement.snapshot import Rate
from infra.core.placement.uncertainty import place_of, ratios
from infra.core.placement.world import World
from infra.core.policy import Policy, Settled
from infra.core.units import SECONDS_PER_HOUR
from infra.core.workload import Fallback

OUT = np.iinfo(np.int64).max
"""Cost of a row that cannot be chosen."""

_LARGEST = 1 << 60
"""Bounds are cut here, so that sums of them stay whole numbers of the machine."""


@dataclass(frozen=True, slots=True, eq=False)
class Shortlist:
    """Weight and finish of every row at its best, as columns.

    Attributes:
        weight_micro: Cost, and what the wait is worth: ``[offers] int64``; ``OUT`` where a hard constraint is broken. Exact, or a bound from below.
        finish_at: ``[offers] float64``; the earliest expected finish.
    """

    market: Market
    weight_micro: np.ndarray
    finish_at: Floats


def choose(world: World) -> Candidate | None:
    """The candidate that wins; ``None`` when every offer breaks some constraint."""
    return next(iter(_best(world, shortlist(world), 1)), None)


def cheapest(world: World, purchase: Purchase, most: int) -> list[Candidate]:
    """The feasible candidates of one way of paying that weigh least, best first, ``most`` of them if there are."""
    listed = shortlist(world)
    listed.weight_micro[~listed.market.purchases[purchase]] = OUT
    return _best(world, listed, most)


def _best(world: World, listed: Shortlist, most: int) -> list[Candidate]:
    """The best ``most`` feasible candidates; the list's weights are used up."""
    weight = listed.weight_micro
    best: list[Candidate] = []
    while weight.size:
        least = int(weight.min())
        if least == OUT:
            return best
        ties = np.flatnonzero(weight == least)
        row = int(ties[np.argmin(listed.finish_at[ties])])  # of equal finishes the first: rows are sorted by name
        site, pool, offer = listed.market.rows[row]
        bound = (least, float(listed.finish_at[row]), site.name, offer.name)
        if len(best) == most and bound >= by_cost(best[-1]):
            return best
        candidate = best_candidate(world, assess(world, site, pool, offer, view_site(world, site)))
        if candidate.feasible:
            best = sorted([*best, candidate], key=by_cost)[:most]
        weight[row] = OUT
        for reason in candidate.reasons:
            if reason.code is ReasonCode.POLICY_FORBIDS:
                _strike_out(world.snapshot.policy, reason, listed.market, row, weight)
    return best


def shortlist(world: World) -> Shortlist:
    """Strike out what cannot be, and put figures on the rest."""
    request, market = world.request, market_of(world.snapshot.sites)
    use = use_of(market, world.snapshot.loads)
    devices = request.resources.devices
    may, moving_s, egress = _sites(world, market)
    boot_s, transfer = use.boot_s, moving_s[market.site]
    compute_s, known = _compute(world, market)
    rework_s, deviation_s = _rework(world, market, transfer + compute_s, boot_s)
    machine_s = boot_s + transfer + compute_s + rework_s
    total_s = machine_s + use.handover_s
    high_s = _high(world, market, use, Parts(boot_s, transfer, compute_s, rework_s, deviation_s), total_s)
    start_at = _starts(world, market, use)
    finish_high_at = start_at + high_s
    cost, needed = _money(market, devices, machine_s, high_s - use.handover_s, egress[market.site])
    policy = world.snapshot.policy
    stale = policy.valid_until_at is not None and world.now_at > policy.valid_until_at
    fits = (
        may[market.site]
        & known
        & (high_s <= LONGEST_RUN_S)
        & (start_at <= world.now_at + LONGEST_RUN_S)
        & (market.capacity >= devices)
        & (market.memory_gb >= request.resources.memory_gb)
        & market.priced
        & (market.price_valid_until_at >= world.now_at)
        & (needed <= world.balance.available_micro)
        & _wanted(world, market)
    )
    if request.deadline_at is not None:
        fits &= finish_high_at <= request.deadline_at
    if request.budget_micro is not None:
        fits &= needed <= request.budget_micro
    if Fallback.WAIT not in request.fallbacks:
        fits &= use.free >= devices
    if stale:
        fits[:] = False
    wait_s = np.where(start_at < math.inf, start_at - world.now_at, 0.0)
    worth = np.floor_divide((request.wait_micro_per_hour or 0) * wait_s, SECONDS_PER_HOUR)
    weight = cost + np.fmin(worth, _LARGEST).astype(np.int64)
    return Shortlist(market, np.where(fits, weight, OUT), start_at + total_s)


def _strike_out(policy: Policy, reason: Reason, market: Market, row: int, weight: np.ndarray) -> None:
    """Strike out every offer between which and the forbidden one the policy cannot tell, whenever it starts."""
    settled = policy.settled(dict(reason.params)["rules"])
    if settled is Settled.NOTHING:
        return
    classes = _classes(market, policy.text)
    alike = classes == classes[row]
    if settled is Settled.CLASS_AT_SITE:
        alike &= market.site == market.site[row]
    weight[alike] = OUT


@lru_cache(maxsize=16)
def _classes(market: Market, text: str) -> np.ndarray:
    """``[offers] int64``: equal numbers for offers that a policy's text cannot tell apart."""
    policy, numbers = Policy("", text), {}
    found = [policy.class_of(site, offer) for site, _, offer in market.rows]
    return np.array([numbers.setdefault(each, len(numbers)) for each in found], dtype=np.int64)


@lru_cache(maxsize=512)
def _permitted(market: Market, tags: tuple[str, ...]) -> np.ndarray:
    """``[sites] bool``: whether data with these tags may be processed there."""
    allowed = {country: permits(tags, country) for country in {site.jurisdiction for site in market.sites}}
    return np.array([allowed[site.jurisdiction] for site in market.sites], dtype=bool)


def _sites(world: World, market: Market) -> tuple[np.ndarray, Floats, np.ndarray]:
    """Per site: whether the run may be there, seconds of moving its data there, and micro-dollars for that."""
    request = world.request
    may = market.zone_rank >= needed_zone(world).rank
    if request.residency:
        may = may & _permitted(market, request.residency)
    for name in world.down:
        row = market.site_row.get(name)
        if row is not None:
            may[row] = False
    moving_s, egress = np.zeros(len(market.sites)), np.zeros(len(market.sites), dtype=np.int64)
    for dataset in world.datasets:
        may = may & _permitted(market, dataset.residency)
        here = [market.site_row[name] for name in dataset.copies if name in market.site_row]
        source = cheapest_source(dataset, None, world.site_by_name, world.down)
        if source is None:
            there = np.zeros(len(market.sites), dtype=bool)
            there[here] = True
            may = may & there
            continue
        seconds = transfer_s(dataset, np.minimum(source.bandwidth_mbps, market.bandwidth_mbps))
        seconds[here] = 0.0
        price = np.full(len(market.sites), min(egress_micro(dataset, source), _LARGEST), dtype=np.int64)
        price[here] = 0
        moving_s, egress = moving_s + seconds, np.minimum(egress + price, _LARGEST)
    return may, moving_s, egress


def _compute(world: World, market: Market) -> tuple[Floats, np.ndarray]:
    """Per offer: seconds of computing, and whether there is a rate at all."""
    faster, units = speed_up(world.request.resources.devices), world.request.units
    seconds, known = np.zeros(len(market.rows)), np.zeros(len(market.rows), dtype=bool)
    for rows, rate, of_reference in _rated(world, market):
        speed = market.relative_speed[rows] if of_reference else 1.0
        seconds[rows], known[rows] = rate.fixed_s + units * rate.unit_s / (faster * speed), True
    return seconds, known


def _rated(world: World, market: Market) -> Iterator[tuple[np.ndarray | slice, Rate, bool]]:
    """Which rows a rate describes, and whether it is in the reference device's speed; later ones count."""
    if "" in world.rates:
        yield slice(None), world.rates[""], True
    for device, rate in world.rates.items():
        if device in market.devices:
            yield market.devices[device], rate, False


def _rework(world: World, market: Market, work_s: Floats, boot_s: Floats) -> tuple[Floats, Floats]:
    """Per offer: expected seconds that interruptions add, and their standard deviation, as in ``estimate``."""
    per_hour = market.interruptions_per_hour * world.request.resources.devices
    if world.request.checkpointed:
        expected = per_hour / SECONDS_PER_HOUR * work_s
        longest_s = np.minimum(CHECKPOINT_INTERVAL_S, work_s)
        variance = expected * (longest_s**2 / 3.0 + longest_s * boot_s + boot_s**2)
        return expected * (longest_s / 2 + boot_s), np.sqrt(variance)
    rework_s, deviation_s = np.zeros(len(market.rows)), np.zeros(len(market.rows))
    for row in np.flatnonzero(per_hour):  # the exponential is the scalar one: the array's may differ in the last bit
        interruptions = (float(work_s[row]), float(boot_s[row]), float(per_hour[row]), False)
        rework_s[row] = expected_rework(*interruptions)
        if rework_s[row] < math.inf:
            deviation_s[row] = rework_deviation(*interruptions)
    return rework_s, deviation_s


class Parts(NamedTuple):
    """Seconds by part, each ``[offers]``; medians but for the rework, which is expected, with its deviation."""

    boot_s: Floats
    transfer_s: Floats
    compute_s: Floats
    rework_s: Floats
    deviation_s: Floats


def _high(world: World, market: Market, use: Use, parts: Parts, total_s: Floats) -> Floats:
    """Per offer: seconds at the required probability, as ``Durations.at``, a hair less for the sake of rounding."""
    lower, share = place_of(world.request.deadline_probability)
    high_s = _at_level(world, market, use, parts, total_s, lower)
    if share:
        upper_s = _at_level(world, market, use, parts, total_s, lower + 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            geometric = high_s * (upper_s / high_s) ** share
        high_s = np.where(high_s > 0.0, geometric, high_s + share * (upper_s - high_s))
    return high_s * (1 - 1e-9)


def _at_level(world: World, market: Market, use: Use, parts: Parts, total_s: Floats, level: int) -> Floats:
    """Per offer: the quantile at a level, as ``Durations.at_level`` for levels above the median."""
    units = world.request.units / speed_up(world.request.resources.devices)
    boot = np.full(len(market.rows), ratios(BOOT_SPREAD)[level] - 1.0)
    for row, spread in use.boot_spreads:
        boot[row] = ratios(spread)[level] - 1.0
    compute = np.zeros(len(market.rows))
    for rows, rate, _ in _rated(world, market):
        compute[rows] = ratios(spread_at(rate, units))[level] - 1.0
    handover = np.zeros(len(market.rows))
    for row, spread in use.handover_spreads:
        handover[row] = use.handover_s[row] * (ratios(spread)[level] - 1.0)
    transfer = ratios(TRANSFER_SPREAD)[level] - 1.0
    rework = np.maximum(-parts.rework_s, parts.deviation_s * REWORK_STEPS[level])
    squares = (parts.boot_s * boot) ** 2 + (parts.transfer_s * transfer) ** 2 + (parts.compute_s * compute) ** 2
    return total_s + np.sqrt(squares + rework**2 + handover**2)


def _starts(world: World, market: Market, use: Use) -> Floats:
    """Per offer: the first instant at which enough devices are free; infinity when never."""
    devices = world.request.resources.devices
    start_at = np.where(use.free >= devices, world.now_at, math.inf)
    if use.busy.size:
        enough_at = np.minimum.reduceat(np.where(use.free_after >= devices, use.at, math.inf), use.starts)
        enough_at = np.where(enough_at > world.now_at, enough_at, world.now_at + OVERDUE_GRACE_S)
        start_at[use.busy] = np.where(use.free[use.busy] >= devices, world.now_at, enough_at)
    return start_at


def _money(
    market: Market, devices: int, machine_s: Floats, high_s: Floats, egress: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Per offer: expected cost, and what a start needs, in micro-dollars."""
    with np.errstate(invalid="ignore", over="ignore"):
        exact = ~market.windowed & market.stays_exact(devices)
        per_hour = (market.price_micro * devices).astype(np.float64)

        def paid(seconds: Floats) -> np.ndarray:
            whole = np.ceil(per_hour * seconds / SECONDS_PER_HOUR - 1e-6)
            if not exact.all():
                bound = np.floor(per_hour * market.least_factor * seconds / SECONDS_PER_HOUR * (1 - 1e-9)) - 1
                whole = np.where(exact, whole, bound)
            # Not a number comes of 0 times infinity: time without end, which no estimate allows anyway.
            return np.fmin(np.fmax(whole, 0.0), _LARGEST).astype(np.int64)

        expected = paid(machine_s)
        high = np.maximum(expected, paid(high_s))
    margined = np.where(high < _LARGEST // 256, -(-high * (100 + CAP_MARGIN_PERCENT) // 100), high)
    return expected + egress, margined + egress


def _wanted(world: World, market: Market) -> np.ndarray:
    """Per offer: whether the request takes this way of paying and this kind of device."""
    wanted = np.zeros(len(market.rows), dtype=bool)
    for purchase in world.request.purchases:
        wanted |= market.purchases[purchase]
    kinds = world.request.resources.device_kinds
    if not kinds:
        return wanted
    named = np.zeros(len(market.rows), dtype=bool)
    for kind in kinds:
        if kind in market.devices:
            named |= market.devices[kind]
    return wanted & named

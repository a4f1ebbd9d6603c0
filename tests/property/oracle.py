"""A slow, plain second opinion on feasibility and cost, written apart from the code it checks.

It works with exact fractions, walks the day minute by minute where prices have windows, and shares no function with
``infra.core.placement``. Because the product rounds money up per part and counts time in floats, the oracle names a
small band in which it has no opinion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from statistics import NormalDist

from infra.core.inventory import DatasetVersion, Offer, Site
from infra.core.jurisdictions import COUNTRIES, GROUPS
from infra.core.placement.snapshot import Health, Snapshot
from infra.core.workload import Fallback, WorkloadRequest
from tests.policy_support import rules_of

MONEY_BAND = 3  # micro-dollars
TIME_BAND = Fraction(1, 100)  # seconds


@dataclass(frozen=True)
class Verdict:
    """One start of one offer. ``possible`` is None inside the band; ``weight`` is the cost and what the wait is worth."""

    site: str
    offer: str
    start_at: Fraction
    finish_at: Fraction
    weight: Fraction
    possible: bool | None


def allowed_countries(tags: tuple[str, ...]) -> set[str]:
    result: set[str] = set()
    for tag in tags:
        result |= COUNTRIES if tag == "PUBLIC" else GROUPS.get(tag, {tag})
    return result


def zone_number(zone: str) -> int:
    return {"public": 0, "partner": 1, "private": 2}[zone]


def verdicts(request: WorkloadRequest, snapshot: Snapshot) -> list[Verdict]:
    """Every start of every offer that passes the constraints without time."""
    wanted = [
        next(v for v in snapshot.datasets if (v.name, v.version) == (ref.name, ref.version)) for ref in request.datasets
    ]
    if snapshot.policy.valid_until_at is not None and snapshot.policy.valid_until_at < snapshot.now_at:
        return []
    found: list[Verdict] = []
    for site in snapshot.sites:
        if _site_fits(request, snapshot, wanted, site):
            sources = [_source(snapshot, dataset, site) for dataset in wanted]
            if None not in sources:
                moved = [(d, s) for d, s in zip(wanted, sources, strict=True) if s is not site]
                for offer in chain.from_iterable(pool.offers for pool in site.pools):
                    if _offer_fits(request, snapshot, site, offer):
                        found.extend(_starts(request, snapshot, site, offer, moved))
    return found


def _down(snapshot: Snapshot, name: str) -> bool:
    return any(entry.site == name and entry.health is Health.DOWN for entry in snapshot.health)


def _may_read(dataset: DatasetVersion, site: Site) -> bool:
    near = site.jurisdiction in allowed_countries(dataset.residency)
    return near and zone_number(dataset.trust_zone) <= zone_number(site.trust_zone)


def _site_fits(request: WorkloadRequest, snapshot: Snapshot, wanted: list[DatasetVersion], site: Site) -> bool:
    if _down(snapshot, site.name) or zone_number(request.trust_zone) > zone_number(site.trust_zone):
        return False
    if request.residency and site.jurisdiction not in allowed_countries(request.residency):
        return False
    return all(_may_read(dataset, site) for dataset in wanted)


def _source(snapshot: Snapshot, dataset: DatasetVersion, target: Site) -> Site | None:
    if target.name in dataset.copies:
        return target
    best = None
    for site in sorted(snapshot.sites, key=lambda each: each.name):
        if site.name in dataset.copies and not _down(snapshot, site.name) and _may_read(dataset, site):
            rank = (site.egress_micro_per_gb, -site.bandwidth_mbps)
            if best is None or rank < (best.egress_micro_per_gb, -best.bandwidth_mbps):
                best = site
    return best


def _offer_fits(request: WorkloadRequest, snapshot: Snapshot, site: Site, offer: Offer) -> bool:
    resources = request.resources
    price_known = offer.price is not None and (
        offer.price.valid_until_at is None or offer.price.valid_until_at >= snapshot.now_at
    )
    return (
        price_known
        and offer.purchase in request.purchases
        and (not resources.device_kinds or offer.device in resources.device_kinds)
        and offer.memory_gb >= resources.memory_gb
        and offer.capacity >= resources.devices
    )


def _starts(
    request: WorkloadRequest, snapshot: Snapshot, site: Site, offer: Offer, moved: list[tuple[DatasetVersion, Site]]
) -> list[Verdict]:
    seconds = _seconds(request, snapshot, site, offer, moved)
    if seconds is None:
        return []
    expected, high, handover = seconds
    load = next((x for x in snapshot.loads if (x.site, x.offer) == (site.name, offer.name)), None)
    busy = [(r.at, r.devices) for r in load.releases] if load else []
    now, needed = snapshot.now_at, request.resources.devices
    # Free at an instant: the capacity less what is still out. Overdue devices count as out for one more minute.
    kept = [
        (begins, begins + entry.runtime_s, entry.devices)
        for entry in snapshot.queue
        if (entry.site, entry.offer) == (site.name, offer.name)
        for begins in [max(entry.start_at, now)]
    ]

    def free_from(t: float, busy: list[tuple[float, int]] = busy) -> bool:
        """Whether enough is free at ``t`` and at every later change until the run has ended."""

        def left(t: float) -> int:
            out = sum(n for at, n in busy if (at if at > now else now + 60) > t)
            return offer.capacity - out - sum(n for begins, ends, n in kept if begins <= t < ends)

        ends = Fraction(t) + expected
        return left(t) >= needed and all(left(b) >= needed for b, _, _ in kept if t < b and b + TIME_BAND < ends)

    def first_of(busy: list[tuple[float, int]]) -> float | None:
        back = [at if at > now else now + 60 for at, _ in busy]
        return next((t for t in sorted({now, *back, *(end for _, end, _ in kept)}) if free_from(t, busy)), None)

    earliest = first_of(busy)
    waits = Fallback.WAIT in request.fallbacks
    if earliest is None or (earliest > now and not waits):
        return []
    starts = [earliest]
    asked = any(rule.windows for rule in rules_of(snapshot.policy))
    spans = [span for window in snapshot.policy.windows for span in window.spans] if asked else []
    if waits:
        starts += [edge for span in spans for edge in (span.start_at, span.end_at)]
        edges = {m * 60 for w in offer.price.windows for m in (w.start_minute, w.end_minute)}
        midnight = math.floor(now / 86400) * 86400
        starts += [midnight + d * 86400 + e for d in range(4) for e in edges]
        starts = [s for s in starts if s == earliest or (earliest < s <= now + 48 * 3600 and free_from(s))]
    # Nine of ten of those that hold devices bring them back by then; the rest of a normal is as far from the expected instant.
    late = first_of([(r.at if r.late_at is None else r.late_at, r.devices) for r in load.releases] if load else [])
    steps = NormalDist().inv_cdf(request.deadline_probability) / NormalDist().inv_cdf(0.9)

    def high_from(start: float) -> Fraction:
        delay = max(0.0, (late or start) - start) * steps if start > now else 0.0
        return expected + Fraction(math.hypot(float(high - expected), delay)) if delay else high

    egress = sum(math.ceil(Fraction(d.bytes * s.egress_micro_per_gb, 10**9)) for d, s in moved)
    return [
        _verdict(request, snapshot, site, offer, Fraction(s), expected, high, high_from(s), handover, egress)
        for s in starts
        if _policy_allows(request, snapshot, site, offer, s)
    ]


def _policy_allows(request: WorkloadRequest, snapshot: Snapshot, site: Site, offer: Offer, start: float) -> bool:
    holding = [
        window.name
        for window in snapshot.policy.windows
        if any(span.start_at <= start and not span.end_at <= start for span in window.spans)
    ]
    return not any(rule.forbids(request, site, offer, holding) for rule in rules_of(snapshot.policy))


def _seconds(
    request: WorkloadRequest, snapshot: Snapshot, site: Site, offer: Offer, moved: list[tuple[DatasetVersion, Site]]
) -> tuple[Fraction, Fraction, Fraction] | None:
    """Expected and high seconds from the start to the finish, and how many of them are not paid."""
    own = [r for r in snapshot.rates if r.kind == request.kind and r.device == offer.device]
    reference = [r for r in snapshot.rates if r.kind == request.kind and r.device == ""]
    if not own and not reference:
        return None
    rate = (own or reference)[0]
    n = request.resources.devices
    time_on_n = Fraction(5, 100) + Fraction(95, 100) / n  # of the time that one device takes
    per_unit = Fraction(rate.unit_s) * time_on_n / (1 if own else Fraction(offer.relative_speed))
    load = next((x for x in snapshot.loads if (x.site, x.offer) == (site.name, offer.name)), None)
    boot = Fraction(load.boot_s if load and load.boot_s is not None else offer.boot_s)
    work = Fraction(rate.fixed_s) + Fraction(request.units) * per_unit
    for dataset, source in moved:
        work += Fraction(dataset.bytes * 8) / (Fraction(min(source.bandwidth_mbps, site.bandwidth_mbps)) * 10**6)
    per_s = offer.interruptions_per_hour * n / 3600
    if not per_s:
        rework = Fraction(0)
    elif request.checkpointed:
        rework = Fraction(per_s) * work * (min(Fraction(300), work) / 2 + boot)
    else:
        exponent = per_s * float(work)
        if exponent > 50:
            return None
        rework = Fraction((math.exp(exponent) - 1) * (1 / per_s + float(boot))) - work
    rework = max(Fraction(0), rework)
    handover = Fraction(load.handover_s if load else 0)
    total = handover + boot + work + rework
    transfer = work - Fraction(rate.fixed_s) - Fraction(request.units) * per_unit
    sides = [
        float(handover) * (_ratio(load.handover_spread if load else 0.0, request) - 1),
        float(boot) * (_ratio(load.boot_spread if load and load.boot_spread is not None else 0.5, request) - 1),
        float(transfer) * (_ratio(0.5, request) - 1),
        float(work - transfer) * (_ratio(rate.spread, request) - 1),
        _rework_excess(request, per_s, float(work), float(boot)) if per_s else 0.0,
    ]
    high = total + Fraction(math.sqrt(sum(side * side for side in sides)))
    return (total, high, handover) if high <= 366 * 86400 else None


_KNOTS = {0.75: 4, 0.9: 5, 0.95: 6, 0.99: 7}


def _ratio(spread: float | tuple[float, ...], request: WorkloadRequest) -> float:
    """How many times its median a part takes at the required probability, one at which quantiles are kept."""
    if isinstance(spread, tuple):
        return spread[_KNOTS[request.deadline_probability]]
    normal = NormalDist()
    return (1 + spread) ** (normal.inv_cdf(request.deadline_probability) / normal.inv_cdf(0.9))


def _rework_excess(request: WorkloadRequest, per_s: float, work: float, boot: float) -> float:
    """Deviation of the rework, by integrating over the instant of the loss, times the longer of two tails."""
    level = request.deadline_probability
    steps = max(NormalDist().inv_cdf(level), math.log(1 / (1 - level)) - 1)
    if request.checkpointed:
        longest = min(300.0, work)
        square = ((boot + longest) ** 3 - boot**3) / (3 * longest) if longest else boot**2
        return steps * math.sqrt(per_s * work * square)
    if not work:
        return 0.0
    # First and second moment of a try that is lost, and of the whole, which starts again after it.
    pieces = 4000
    points = [work * (piece + 0.5) / pieces for piece in range(pieces)]
    weights = [per_s * math.exp(-per_s * at) * work / pieces for at in points]
    lost = sum(weights)
    kept = math.exp(-per_s * work)
    first = sum(weight * (at + boot) for weight, at in zip(weights, points, strict=True)) / lost
    second = sum(weight * (at + boot) ** 2 for weight, at in zip(weights, points, strict=True)) / lost
    tries, spread_of_tries = (1 - kept) / kept, (1 - kept) / kept**2
    return steps * math.sqrt(tries * (second - first**2) + spread_of_tries * first**2)


def _money(offer: Offer, start: Fraction, seconds: Fraction, devices: int) -> Fraction:
    """Integral of the price, minute by minute of the day."""
    price = offer.price
    if not price.windows:
        return Fraction(price.micro_per_hour * devices) * seconds / 3600
    total, at, end = Fraction(0), start, start + seconds
    while at < end:
        minute = at // 60
        until = min(end, (minute + 1) * 60)
        of_day = minute % 1440
        factor = 1.0
        for window in price.windows:
            a, b = window.start_minute, window.end_minute
            if a <= of_day < b or (b < a and (of_day >= a or of_day < b)):
                factor = window.factor
                break
        total += Fraction(price.micro_per_hour * devices) * Fraction(factor) * (until - at) / 3600
        at = until
    return total


def _verdict(
    request: WorkloadRequest,
    snapshot: Snapshot,
    site: Site,
    offer: Offer,
    start: Fraction,
    expected: Fraction,
    high: Fraction,
    high_of_all: Fraction,
    handover: Fraction,
    egress: int,
) -> Verdict:
    n = request.resources.devices
    cap = _money(offer, start, high - handover, n) * Fraction(110, 100) + egress
    period_balance = next(b for b in snapshot.balances if b.tenant == request.tenant)
    money = period_balance.limit_micro - period_balance.settled_micro - period_balance.reserved_micro
    if request.budget_micro is not None:
        money = min(money, request.budget_micro)
    slack_money = money - cap
    slack_time = (
        Fraction(request.deadline_at) - start - high_of_all if request.deadline_at is not None else Fraction(10**9)
    )
    possible: bool | None = None
    # A cap of exactly nothing is exact: no rounding can move it.
    money_fits = slack_money >= MONEY_BAND or (cap == egress and slack_money >= 0)
    if slack_money < (-MONEY_BAND if cap != egress else 0) or slack_time < -TIME_BAND:
        possible = False
    elif money_fits and slack_time >= TIME_BAND:
        possible = True
    wait = Fraction(request.wait_micro_per_hour or 0) * (start - Fraction(snapshot.now_at)) / 3600
    weight = _money(offer, start, expected - handover, n) + egress + wait
    return Verdict(site.name, offer.name, start, start + expected, weight, possible)

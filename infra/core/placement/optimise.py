"""When an offer would start, what that costs and when it ends, and which start is its best.

The rule of the house: least expected cost among the starts that break no constraint; then the earlier finish.

Cost of one start: the devices are paid from the start to the end, boot, transfer and rework included, at the
prices of the windows that this span crosses; data that must move pays its source's egress once. What a start *needs* is
the same at the high estimate plus ``CAP_MARGIN_PERCENT`` on the machine time: both budgets are held against it. What is
reserved, the cap, is up to ``CAP_HEADROOM`` times that where both budgets allow it: a run that takes longer than anybody
thought goes on instead of being stopped with money left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from infra.core.inventory import Offer, Pool, Site
from infra.core.placement.constraints import SiteView, offer_reasons, reason, view_site
from infra.core.placement.costing import run_cost
from infra.core.placement.decision import Candidate, CostParts, Reason, ReasonCode, TimeParts
from infra.core.placement.estimate import LONGEST_RUN_S, Durations, estimate, rate_for
from infra.core.placement.world import OVERDUE_GRACE_S, World
from infra.core.pricing import Price
from infra.core.workload import Fallback

HORIZON_S = 48 * 3600.0
"""How far ahead a cheaper price window is waited for."""

CAP_HEADROOM = 3
"""How many times its need a run may spend when its own budget and its tenant's have room for it."""

_FREE = Price(0)
_CODE_ORDER = {code: index for index, code in enumerate(ReasonCode)}


@dataclass(frozen=True, slots=True)
class Availability:
    """How many devices of an offer are free now, and when as many as needed are; ``None`` when never."""

    free: int
    enough_at: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """One start of one offer, with the time-dependent constraints that it breaks."""

    start_at: float
    finish_at: float
    finish_high_at: float
    time: TimeParts
    cost: CostParts
    needed_micro: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Assessment:
    """An offer with everything known about it: constraints without time, and one plan per possible start."""

    site: Site
    pool: Pool
    offer: Offer
    fixed_reasons: tuple[Reason, ...]
    plans: tuple[Plan, ...]


def availability(world: World, site: Site, offer: Offer) -> Availability:
    """Devices free now, and the instant by which releases have freed enough for the request."""
    needed = world.request.resources.devices
    load = world.loads.get((site.name, offer.name))
    releases = sorted((entry.at, entry.devices) for entry in load.releases) if load else []
    back = offer.capacity - sum(devices for _, devices in releases)  # below 0 when the capacity was lowered meanwhile
    free = max(0, back)
    if free >= needed:
        return Availability(free, world.now_at)
    for at, devices in releases:
        back += devices
        if back >= needed:
            return Availability(free, at if at > world.now_at else world.now_at + OVERDUE_GRACE_S)
    return Availability(free, None)


def assess(world: World, site: Site, pool: Pool, offer: Offer, view: SiteView) -> Assessment:
    """Every constraint and every possible start of one offer."""
    fixed = [*view.reasons, *offer_reasons(world, site, offer)]
    load = world.loads.get((site.name, offer.name))
    boot_s = load.boot_s if load and load.boot_s is not None else offer.boot_s
    durations = estimate(world.request, offer, world.rates, boot_s, view.transfer_s)
    if durations is None:
        fixed.append(
            reason(
                ReasonCode.ESTIMATE_UNKNOWN,
                kind=world.request.kind.value,
                device=offer.device,
                why="TOO_LONG" if rate_for(world.rates, offer) else "NO_RATE",
                longest_s=LONGEST_RUN_S,
            )
        )
    plans: tuple[Plan, ...] = ()
    if durations is not None and view.moves is not None and offer.capacity >= world.request.resources.devices:
        plans = _plans(world, site, offer, durations, view.egress_micro, fixed)
    return Assessment(site, pool, offer, tuple(fixed), plans)


def _plans(
    world: World, site: Site, offer: Offer, durations: Durations, egress_micro: int, fixed: list[Reason]
) -> tuple[Plan, ...]:
    """One plan per start; adds CAPACITY_BUSY to ``fixed`` when no start can be named at all."""
    available = availability(world, site, offer)
    needed = world.request.resources.devices
    if available.enough_at is None or available.enough_at > world.now_at + LONGEST_RUN_S:
        fixed.append(reason(ReasonCode.CAPACITY_BUSY, free=available.free, needed=needed))
        return ()
    starts = _starts(world, offer, available.enough_at)
    return tuple(_plan(world, offer, durations, egress_micro, start_at, available) for start_at in starts)


def _starts(world: World, offer: Offer, earliest_at: float) -> list[float]:
    """The earliest start, and the edges of price windows behind it that may be waited for."""
    starts = [earliest_at]
    if offer.price is None or not offer.price.windows or Fallback.WAIT not in world.request.fallbacks:
        return starts
    last_at = world.now_at + HORIZON_S
    if world.request.deadline_at is not None:
        last_at = min(last_at, world.request.deadline_at)
    edge_at = offer.price.next_change_at(earliest_at)
    while edge_at <= last_at:
        starts.append(edge_at)
        edge_at = offer.price.next_change_at(edge_at)
    return starts


def _plan(
    world: World, offer: Offer, durations: Durations, egress_micro: int, start_at: float, available: Availability
) -> Plan:
    price, devices = offer.price or _FREE, world.request.resources.devices
    cost, needed_micro = run_cost(price, durations, devices, egress_micro, start_at)
    finish_high_at = start_at + durations.high_s
    reasons = _timed_reasons(world, start_at, finish_high_at, needed_micro, available)
    return Plan(
        start_at=start_at,
        finish_at=start_at + durations.total_s,
        finish_high_at=finish_high_at,
        time=TimeParts(
            wait_s=start_at - world.now_at,
            boot_s=durations.boot_s,
            transfer_s=durations.transfer_s,
            compute_s=durations.compute_s,
            rework_s=durations.rework_s,
        ),
        cost=cost,
        needed_micro=needed_micro,
        reasons=tuple(reasons),
    )


def _timed_reasons(
    world: World, start_at: float, finish_high_at: float, needed_micro: int, available: Availability
) -> list[Reason]:
    request, balance = world.request, world.balance
    reasons: list[Reason] = []
    late = request.deadline_at is not None and finish_high_at > request.deadline_at
    busy = available.free < request.resources.devices
    # Busy devices are no obstacle by themselves: they are one when nobody may wait, or waiting takes too long.
    if busy and (late or Fallback.WAIT not in request.fallbacks):
        reasons.append(
            reason(ReasonCode.CAPACITY_BUSY, free=available.free, needed=request.resources.devices, free_at=start_at)
        )
    if late and request.deadline_at is not None:
        reasons.append(
            reason(
                ReasonCode.DEADLINE_MISSED,
                deadline_at=request.deadline_at,
                finish_high_at=finish_high_at,
                late_s=finish_high_at - request.deadline_at,
            )
        )
    if request.budget_micro is not None and needed_micro > request.budget_micro:
        reasons.append(
            reason(
                ReasonCode.BUDGET_RUN_EXCEEDED,
                budget_micro=request.budget_micro,
                needed_micro=needed_micro,
                short_micro=needed_micro - request.budget_micro,
            )
        )
    if needed_micro > balance.available_micro:
        reasons.append(
            reason(
                ReasonCode.BUDGET_TENANT_EXCEEDED,
                tenant=balance.tenant,
                available_micro=balance.available_micro,
                needed_micro=needed_micro,
                short_micro=needed_micro - balance.available_micro,
            )
        )
    return reasons


def best_candidate(world: World, assessment: Assessment) -> Candidate:
    """The offer at its best start: feasible before not, fewest broken constraints, least cost, earliest finish."""
    plan = min(
        assessment.plans,
        key=lambda plan: (len(plan.reasons), plan.cost.total_micro, plan.finish_at, plan.start_at),
        default=None,
    )
    broken = [*assessment.fixed_reasons, *(plan.reasons if plan else ())]
    return Candidate(
        site=assessment.site.name,
        pool=assessment.pool.name,
        offer=assessment.offer.name,
        purchase=assessment.offer.purchase,
        device=assessment.offer.device,
        devices=world.request.resources.devices,
        feasible=not broken,
        reasons=tuple(sorted(broken, key=lambda item: (_CODE_ORDER[item.code], item.params))),
        start_at=plan.start_at if plan else None,
        finish_at=plan.finish_at if plan else None,
        finish_high_at=plan.finish_high_at if plan else None,
        time=plan.time if plan else TimeParts(),
        cost=plan.cost if plan else CostParts(),
        cap_micro=_cap(world, plan.needed_micro) if plan else 0,
    )


def _cap(world: World, needed_micro: int) -> int:
    """What is reserved: the need with headroom, within both budgets, and never less than the need."""
    budget_micro, available_micro = world.request.budget_micro, world.balance.available_micro
    room_micro = available_micro if budget_micro is None else min(budget_micro, available_micro)
    return max(needed_micro, min(CAP_HEADROOM * needed_micro, room_micro))


def by_cost(candidate: Candidate) -> tuple[int, float, str, str]:
    """The objective and its ties: cost, then finish, then site, then offer."""
    finish_at = candidate.finish_at if candidate.finish_at is not None else float("inf")
    return candidate.cost.total_micro, finish_at, candidate.site, candidate.offer


def assessments(world: World, wanted: Collection[tuple[str, str]] | None = None) -> Iterator[Assessment]:
    """Every offer of every site, or only the ``wanted`` ones, as (site, offer)."""
    wanted_sites = None if wanted is None else {site for site, _ in wanted}
    for site in world.sites:
        if wanted_sites is not None and site.name not in wanted_sites:
            continue
        view = view_site(world, site)
        for pool in site.pools:
            for offer in pool.offers:
                if wanted is None or (site.name, offer.name) in wanted:
                    yield assess(world, site, pool, offer, view)


def all_candidates(world: World) -> list[Candidate]:
    """One candidate per offer, each at its best start, in no order that matters."""
    return [best_candidate(world, assessment) for assessment in assessments(world)]

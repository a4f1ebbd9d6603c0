"""When an offer would start, what that costs and when it ends, and which start is its best.

The rule of the house: least expected cost among the starts that break no constraint, where every hour of waiting counts as
what it is worth to the request; then the earlier finish.

Cost of one start: the devices are paid from the start to the end, boot, transfer and rework included, at the
prices of the windows that this span crosses; data that must move pays its source's egress once. What a start *needs* is
the same for the time that is kept with the required probability, plus ``CAP_MARGIN_PERCENT`` on the machine time: both
budgets are held against it. What is reserved, the cap, is that and the price of ``EXTENSION_S`` more seconds, at most ``CAP_HEADROOM``
times the need, where both budgets allow it: a run that takes longer than anybody thought is extended while it runs, and until an
extension has reached its site it goes on.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from infra.core.inventory import Offer, Pool, Site
from infra.core.placement.constraints import SiteView, offer_reasons, reason, view_site
from infra.core.placement.costing import needed as needed_of
from infra.core.placement.costing import run_cost
from infra.core.placement.decision import Candidate, CostParts, Reason, ReasonCode, TimeParts
from infra.core.placement.estimate import BOOT_SPREAD, LONGEST_RUN_S, Durations, estimate, rate_for
from infra.core.placement.fitting import Span, back_at, first_fit, fits, free_spans
from infra.core.placement.policing import policy_reasons, window_starts
from infra.core.placement.uncertainty import HIGH, LEVELS
from infra.core.placement.world import World
from infra.core.pricing import Price
from infra.core.units import SECONDS_PER_HOUR
from infra.core.workload import Fallback

HORIZON_S = 48 * 3600.0
"""How far ahead a cheaper price window is waited for."""

EXTENSION_S = 120.0
"""An extension of a running attempt has reached its site by then, or does not come. For so long its devices are paid beyond the need."""

CAP_HEADROOM = 3
"""And at most so many times the need is reserved: the cap of runs of a few seconds."""

_FREE = Price(0)
_CODE_ORDER = {code: index for index, code in enumerate(ReasonCode)}


@dataclass(frozen=True, slots=True)
class Availability:
    """How many devices of an offer are free now, and when as many as needed are for long enough; ``None`` when never."""

    free: int
    enough_at: float | None
    spans: tuple[Span, ...] = ()
    queued: int = 0
    rests_until_at: float | None = None

    @property
    def told(self) -> dict[str, Any]:
        """What a reason says of it besides the number of free devices."""
        queued = {"queued": self.queued} if self.queued else {}
        return queued | ({} if self.rests_until_at is None else {"rests_until_at": self.rests_until_at})


@dataclass(frozen=True, slots=True)
class Plan:
    """One start of one offer, with the time-dependent constraints that it breaks."""

    start_at: float
    finish_at: float
    finish_high_at: float
    time: TimeParts
    cost: CostParts
    wait_micro: int
    needed_micro: int
    reasons: tuple[Reason, ...]
    cost_high_micro: int = 0

    @property
    def weight_micro(self) -> int:
        """What is minimised: the cost, and what the wait is worth."""
        return self.cost.total_micro + self.wait_micro


@dataclass(frozen=True, slots=True)
class Assessment:
    """An offer with everything known about it: constraints without time, and one plan per possible start."""

    site: Site
    pool: Pool
    offer: Offer
    fixed_reasons: tuple[Reason, ...]
    plans: tuple[Plan, ...]
    durations: Durations | None = None


def availability(world: World, site: Site, offer: Offer, duration_s: float) -> Availability:
    """Devices free now, and the first instant from which enough are free without delaying a start kept for others."""
    needed = world.request.resources.devices
    load = world.loads.get((site.name, offer.name))
    kept = world.queue.get((site.name, offer.name), ())
    releases = [(back_at(entry.at, world.now_at), entry.devices) for entry in load.releases] if load else []
    left = offer.capacity - sum(devices for _, devices in releases)  # below 0 when the capacity was lowered meanwhile
    holds = [(entry.start_at, entry.start_at + entry.runtime_s, entry.devices) for entry in kept]
    spans = free_spans(left, releases, holds, needed, world.now_at)
    rests_until_at = load.rests_until_at if load else None
    return Availability(max(0, left), first_fit(spans, duration_s), spans, len(kept), rests_until_at)


def durations_at(world: World, site: Site, offer: Offer, transfer_s: float) -> Durations | None:
    """How long the request takes at an offer once it starts, or ``None`` when nobody can say."""
    load = world.loads.get((site.name, offer.name))
    boot_s = load.boot_s if load and load.boot_s is not None else offer.boot_s
    boot_spread = load.boot_spread if load and load.boot_spread is not None else BOOT_SPREAD
    handover = (load.handover_s, load.handover_spread) if load else (0.0, 0.0)
    return estimate(world.request, offer, world.rates, boot_s, transfer_s, boot_spread, *handover)


def assess(world: World, site: Site, pool: Pool, offer: Offer, view: SiteView) -> Assessment:
    """Every constraint and every possible start of one offer."""
    fixed = [*view.reasons, *offer_reasons(world, site, offer, view)]
    durations = durations_at(world, site, offer, view.transfer_s)
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
        plans = _plans(world, site, offer, durations, view, fixed)
    if not plans and world.snapshot.policy.timed:  # no start to hold it against but now
        fixed += policy_reasons(world, site, offer, view.moved, world.now_at)
    return Assessment(site, pool, offer, tuple(fixed), plans, durations)


def _plans(
    world: World, site: Site, offer: Offer, durations: Durations, view: SiteView, fixed: list[Reason]
) -> tuple[Plan, ...]:
    """One plan per start; adds CAPACITY_BUSY to ``fixed`` when no start can be named at all."""
    available = availability(world, site, offer, durations.total_s)
    needed = world.request.resources.devices
    if available.enough_at is None or available.enough_at > world.now_at + LONGEST_RUN_S:
        fixed.append(reason(ReasonCode.CAPACITY_BUSY, free=available.free, needed=needed, **available.told))
        return ()
    starts = [
        at
        for at in _starts(world, site, offer, view, available.enough_at)
        if at == available.enough_at or fits(available.spans, at, durations.total_s)
    ]
    return _planned(world, site, offer, durations, view, starts, available)


def _planned(
    world: World,
    site: Site,
    offer: Offer,
    durations: Durations,
    view: SiteView,
    starts: Iterable[float],
    available: Availability,
) -> tuple[Plan, ...]:
    """One plan per start, held against the policy too where that depends on time."""
    high_s = durations.at(world.request.deadline_probability)
    plans = (_plan(world, offer, durations, high_s, view.egress_micro, start_at, available) for start_at in starts)
    if not world.snapshot.policy.timed:
        return tuple(plans)
    moved = view.moved
    held = []
    for plan in plans:
        forbidden = policy_reasons(world, site, offer, moved, plan.start_at, plan.needed_micro)
        held.append(replace(plan, reasons=(*plan.reasons, *forbidden)) if forbidden else plan)
    return tuple(held)


def assess_at(world: World, where: tuple[str, str], start_at: float) -> Assessment | None:
    """An offer, as (site, offer), with this start and no other; ``None`` when its devices are not free then."""
    assessment = next(assessments(world, {where}))
    durations = assessment.durations
    if durations is None:
        return None
    site, offer, view = assessment.site, assessment.offer, view_site(world, assessment.site)
    available = availability(world, site, offer, durations.total_s)
    free = start_at == available.enough_at or fits(available.spans, start_at, durations.total_s)
    if view.moves is None or not free:
        return None
    return replace(assessment, plans=_planned(world, site, offer, durations, view, (start_at,), available))


def candidate_at(world: World, where: tuple[str, str], start_at: float) -> Candidate | None:
    """The candidate of :func:`assess_at`."""
    assessment = assess_at(world, where, start_at)
    return None if assessment is None else best_candidate(world, assessment)


def _starts(world: World, site: Site, offer: Offer, view: SiteView, earliest_at: float) -> list[float]:
    """The earliest start, and the edges of price and policy windows behind it that may be waited for."""
    starts = {earliest_at}
    if Fallback.WAIT not in world.request.fallbacks:
        return [earliest_at]
    end_at = math.inf if world.request.deadline_at is None else world.request.deadline_at
    last_at = min(world.now_at + HORIZON_S, end_at)
    starts.update(window_starts(world, site, offer, view.moved, earliest_at, last_at, end_at))
    price = offer.price or _FREE
    edge_at = price.next_change_at(earliest_at)
    while edge_at <= last_at:
        starts.add(edge_at)
        edge_at = price.next_change_at(edge_at)
    return sorted(starts)


def _plan(
    world: World,
    offer: Offer,
    durations: Durations,
    high_s: float,
    egress_micro: int,
    start_at: float,
    available: Availability,
) -> Plan:
    price, devices = offer.price or _FREE, world.request.resources.devices
    cost, high_micro = run_cost(price, durations, high_s, devices, egress_micro, start_at)
    needed_micro = needed_of(high_micro, egress_micro)
    finish_high_at = start_at + high_s
    reasons = _timed_reasons(world, durations, start_at, finish_high_at, needed_micro, available)
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
            handover_s=durations.handover_s,
        ),
        cost=cost,
        wait_micro=wait_worth(world, start_at - world.now_at),
        needed_micro=needed_micro,
        reasons=tuple(reasons),
        cost_high_micro=high_micro + egress_micro,
    )


def wait_worth(world: World, wait_s: float) -> int:
    """Micro-dollars that a wait is worth to the request, rounded down."""
    return int((world.request.wait_micro_per_hour or 0) * wait_s // SECONDS_PER_HOUR)


def _timed_reasons(
    world: World,
    durations: Durations,
    start_at: float,
    finish_high_at: float,
    needed_micro: int,
    available: Availability,
) -> list[Reason]:
    request, balance = world.request, world.balance
    reasons: list[Reason] = []
    late = request.deadline_at is not None and finish_high_at > request.deadline_at
    busy = available.enough_at is None or available.enough_at > world.now_at
    # Busy devices are no obstacle by themselves: they are one when nobody may wait, or waiting takes too long.
    if busy and (late or Fallback.WAIT not in request.fallbacks):
        reasons.append(
            reason(
                ReasonCode.CAPACITY_BUSY,
                free=available.free,
                needed=request.resources.devices,
                free_at=start_at,
                **available.told,
            )
        )
    if late and request.deadline_at is not None:
        reasons.append(
            reason(
                ReasonCode.DEADLINE_MISSED,
                deadline_at=request.deadline_at,
                finish_high_at=finish_high_at,
                late_s=finish_high_at - request.deadline_at,
                probability=_in_time(world, durations, start_at, finish_high_at),
                required=request.deadline_probability,
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


def _in_time(world: World, durations: Durations, start_at: float, finish_high_at: float) -> float | None:
    """The probability of finishing before the deadline; ``None`` without one.

    Never on the other side of the required probability than the finish at that probability is of the deadline: only
    rounding could put it there.
    """
    request = world.request
    if request.deadline_at is None:
        return None
    probability = durations.probability_within(request.deadline_at - start_at)
    bound = min if finish_high_at > request.deadline_at else max
    return bound(probability, request.deadline_probability)


def best_candidate(world: World, assessment: Assessment) -> Candidate:
    """The offer at its best start: feasible before not, fewest broken constraints, least cost, earliest finish."""
    plan = min(
        assessment.plans,
        key=lambda plan: (len(plan.reasons), plan.weight_micro, plan.finish_at, plan.start_at),
        default=None,
    )
    broken = [*assessment.fixed_reasons, *(plan.reasons if plan else ())]
    uncertain = _uncertainty(world, assessment, plan) if plan else {}
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
        wait_micro=plan.wait_micro if plan else 0,
        cap_micro=_cap(world, assessment.offer, plan.needed_micro) if plan else 0,
        **uncertain,
    )


def _uncertainty(world: World, assessment: Assessment, plan: Plan) -> dict[str, Any]:
    """What a candidate says about how sure its plan's figures are."""
    durations, offer, probability = assessment.durations, assessment.offer, world.request.deadline_probability
    assert durations is not None, "a plan is made from durations"
    usual = probability == LEVELS[HIGH]  # then the required quantile is the one that is wanted anyway
    p90_s = 0.0 if usual else durations.at_level(HIGH)
    handover_s, boot_s, transfer_s, compute_s, rework_s = durations.parts_at(probability)
    return {
        "finish_p90_at": plan.finish_high_at if usual else plan.start_at + p90_s,
        "deadline_probability": _in_time(world, durations, plan.start_at, plan.finish_high_at),
        "time_high": TimeParts(plan.time.wait_s, boot_s, transfer_s, compute_s, rework_s, handover_s),
        "cost_p90_micro": plan.cost_high_micro if usual else _cost_of(world, offer, plan, p90_s - durations.handover_s),
        "cost_high_micro": plan.cost_high_micro,
    }


def _cost_of(world: World, offer: Offer, plan: Plan, seconds: float) -> int:
    """What a plan costs when it lasts so long."""
    price = offer.price or _FREE
    return price.cost(plan.start_at, seconds, world.request.resources.devices) + plan.cost.egress_micro


def _cap(world: World, offer: Offer, needed_micro: int) -> int:
    """What is reserved: the need with headroom, within both budgets, and never less than the need."""
    budget_micro, available_micro = world.request.budget_micro, world.balance.available_micro
    room_micro = available_micro if budget_micro is None else min(budget_micro, available_micro)
    second_micro = (offer.price or _FREE).micro_per_hour * world.request.resources.devices / SECONDS_PER_HOUR
    headroom_micro = min((CAP_HEADROOM - 1) * needed_micro, math.ceil(EXTENSION_S * second_micro))
    return max(needed_micro, min(needed_micro + headroom_micro, room_micro))


def by_cost(candidate: Candidate) -> tuple[int, float, str, str]:
    """The objective and its ties: cost with what the wait is worth, then finish, then site, then offer."""
    finish_at = candidate.finish_at if candidate.finish_at is not None else float("inf")
    return candidate.weight_micro, finish_at, candidate.site, candidate.offer


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

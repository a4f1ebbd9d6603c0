"""When an offer would start, what each start costs and when it ends, and which time-dependent constraints it breaks.

Cost of one start: the devices are paid from the start to the end, boot, transfer and rework included, at the
prices of the windows that this span crosses; data that must move pays its source's egress once. What a start *needs* is
the same for the time that is kept with the required probability, plus ``CAP_MARGIN_PERCENT`` on the machine time: both
budgets are held against it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from infra.core.inventory import Offer, Site
from infra.core.placement.constraints import SiteView, reason
from infra.core.placement.costing import needed as needed_of
from infra.core.placement.costing import run_cost
from infra.core.placement.decision import CostParts, Reason, ReasonCode, TimeParts
from infra.core.placement.estimate import BOOT_SPREAD, LONGEST_RUN_S, Durations, estimate
from infra.core.placement.fitting import Span, back_at, first_fit, fits, free_spans
from infra.core.placement.policing import policy_reasons, window_starts
from infra.core.placement.uncertainty import HIGH, NORMALS
from infra.core.placement.world import World
from infra.core.pricing import FREE
from infra.core.units import SECONDS_PER_HOUR
from infra.core.workload import Fallback

HORIZON_S = 48 * 3600.0
"""How far ahead a cheaper price window is waited for."""


@dataclass(frozen=True, slots=True)
class Availability:
    """How many devices of an offer are free now, and when as many as needed are for long enough; ``None`` when never.

    Attributes:
        late_at: When they are with nine of ten.
    """

    free: int
    enough_at: float | None
    late_at: float | None = None
    spans: tuple[Span, ...] = ()
    queued: int = 0
    rests_until_at: float | None = None

    @property
    def told(self) -> dict[str, Any]:
        """What a reason says of it besides the number of free devices."""
        queued = {"queued": self.queued} if self.queued else {}
        return queued | ({} if self.rests_until_at is None else {"rests_until_at": self.rests_until_at})

    def delay_deviation_s(self, start_at: float) -> float:
        """How far a start that is awaited may stray, as the standard deviation of a normal."""
        return 0.0 if self.late_at is None else max(0.0, self.late_at - start_at) / NORMALS[HIGH]


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
    delay_deviation_s: float = 0.0

    @property
    def weight_micro(self) -> int:
        """What is minimised: the cost, and what the wait is worth."""
        return self.cost.total_micro + self.wait_micro


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
    enough_at = late_at = first_fit(spans, duration_s)
    if load and enough_at != world.now_at and any(entry.late_at is not None for entry in load.releases):
        late = [(back_at(entry.late_at or entry.at, world.now_at), entry.devices) for entry in load.releases]
        late_at = first_fit(free_spans(left, late, holds, needed, world.now_at), duration_s)
    return Availability(max(0, left), enough_at, late_at, spans, len(kept), rests_until_at)


def durations_at(world: World, site: Site, offer: Offer, transfer_s: float) -> Durations | None:
    """How long the request takes at an offer once it starts, or ``None`` when nobody can say."""
    load = world.loads.get((site.name, offer.name))
    boot_s = load.boot_s if load and load.boot_s is not None else offer.boot_s
    boot_spread = load.boot_spread if load and load.boot_spread is not None else BOOT_SPREAD
    handover = (load.handover_s, load.handover_spread) if load else (0.0, 0.0)
    return estimate(world.request, offer, world.rates, boot_s, transfer_s, boot_spread, *handover)


def possible_plans(
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
    return plans_at(world, site, offer, durations, view, starts, available)


def plans_at(
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
    plans = [_plan(world, offer, durations, high_s, view.egress_micro, start_at, available) for start_at in starts]
    if not world.snapshot.policy.timed:
        return tuple(plans)
    moved = view.moved
    held = []
    for plan in plans:
        forbidden = policy_reasons(world, site, offer, moved, plan.start_at, plan.needed_micro)
        held.append(replace(plan, reasons=(*plan.reasons, *forbidden)) if forbidden else plan)
    return tuple(held)


def _starts(world: World, site: Site, offer: Offer, view: SiteView, earliest_at: float) -> list[float]:
    """The earliest start, and the edges of price and policy windows behind it that may be waited for."""
    starts = {earliest_at}
    if Fallback.WAIT not in world.request.fallbacks:
        return [earliest_at]
    end_at = math.inf if world.request.deadline_at is None else world.request.deadline_at
    last_at = min(world.now_at + HORIZON_S, end_at)
    starts.update(window_starts(world, site, offer, view.moved, earliest_at, last_at, end_at))
    price = offer.price or FREE
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
    price, devices = offer.price or FREE, world.request.resources.devices
    cost, high_micro = run_cost(price, durations, high_s, devices, egress_micro, start_at)
    needed_micro = needed_of(high_micro, egress_micro)
    deviation_s = available.delay_deviation_s(start_at)
    if deviation_s:  # machines are paid from the start on, however late that is
        durations = replace(durations, delay_deviation_s=deviation_s)
        high_s = durations.at(world.request.deadline_probability)
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
        delay_deviation_s=deviation_s,
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
                probability=in_time(world, durations, start_at, finish_high_at),
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


def in_time(world: World, durations: Durations, start_at: float, finish_high_at: float) -> float | None:
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

"""Each offer as one candidate, at its best start.

The rule of the house: least expected cost among the starts that break no constraint, where every hour of waiting counts as
what it is worth to the request; then the earlier finish.

What is reserved for a candidate, the cap, is what it needs and the price of ``EXTENSION_S`` more seconds, at most
``CAP_HEADROOM`` times the need, where both budgets allow it: a run that takes longer than anybody thought is extended while it
runs, and until an extension has reached its site it goes on.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from infra.core.inventory import Offer, Pool, Site
from infra.core.placement.constraints import SiteView, offer_reasons, reason, view_site
from infra.core.placement.decision import Candidate, CostParts, Reason, ReasonCode, TimeParts
from infra.core.placement.estimate import LONGEST_RUN_S, Durations, rate_for
from infra.core.placement.fitting import fits
from infra.core.placement.policing import policy_reasons
from infra.core.placement.starts import Plan, availability, durations_at, in_time, plans_at, possible_plans
from infra.core.placement.uncertainty import HIGH, LEVELS, normal_of
from infra.core.placement.world import World
from infra.core.pricing import FREE
from infra.core.units import SECONDS_PER_HOUR

EXTENSION_S = 120.0
"""An extension of a running attempt has reached its site by then, or does not come. For so long its devices are paid beyond the need."""

CAP_HEADROOM = 3
"""And at most so many times the need is reserved: the cap of runs of a few seconds."""

_CODE_ORDER = {code: index for index, code in enumerate(ReasonCode)}


@dataclass(frozen=True, slots=True)
class Assessment:
    """An offer with everything known about it: constraints without time, and one plan per possible start."""

    site: Site
    pool: Pool
    offer: Offer
    fixed_reasons: tuple[Reason, ...]
    plans: tuple[Plan, ...]
    durations: Durations | None = None


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
        plans = possible_plans(world, site, offer, durations, view, fixed)
    if not plans and world.snapshot.policy.timed:  # no start to hold it against but now
        fixed += policy_reasons(world, site, offer, view.moved, world.now_at)
    return Assessment(site, pool, offer, tuple(fixed), plans, durations)


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
    return replace(assessment, plans=plans_at(world, site, offer, durations, view, (start_at,), available))


def candidate_at(world: World, where: tuple[str, str], start_at: float) -> Candidate | None:
    """The candidate of :func:`assess_at`."""
    assessment = assess_at(world, where, start_at)
    return None if assessment is None else best_candidate(world, assessment)


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
    delayed, wait_s = durations, plan.time.wait_s
    if plan.delay_deviation_s:
        delayed = replace(durations, delay_deviation_s=plan.delay_deviation_s)
        wait_s += plan.delay_deviation_s * normal_of(probability)
    return {
        "finish_p90_at": plan.finish_high_at if usual else plan.start_at + delayed.at_level(HIGH),
        "deadline_probability": in_time(world, delayed, plan.start_at, plan.finish_high_at),
        "time_high": TimeParts(wait_s, boot_s, transfer_s, compute_s, rework_s, handover_s),
        "cost_p90_micro": plan.cost_high_micro if usual else _cost_of(world, offer, plan, p90_s - durations.handover_s),
        "cost_high_micro": plan.cost_high_micro,
    }


def _cost_of(world: World, offer: Offer, plan: Plan, seconds: float) -> int:
    """What a plan costs when it lasts so long."""
    price = offer.price or FREE
    return price.cost(plan.start_at, seconds, world.request.resources.devices) + plan.cost.egress_micro


def _cap(world: World, offer: Offer, needed_micro: int) -> int:
    """What is reserved: the need with headroom, within both budgets, and never less than the need."""
    budget_micro, available_micro = world.request.budget_micro, world.balance.available_micro
    room_micro = available_micro if budget_micro is None else min(budget_micro, available_micro)
    second_micro = (offer.price or FREE).micro_per_hour * world.request.resources.devices / SECONDS_PER_HOUR
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

"""The decision itself: spot, on-demand, owned or pause for the next tick, at least expected cost under the guard."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from infra.core.errors import InputError
from infra.core.spot.availability import Spell, SpellModel, end_chance, observe
from infra.core.spot.guard import Choice, Job, Standing, can_risk, can_still_wait, ticks_left, ticks_needed
from infra.core.spot.model import POOLED
from infra.core.spot.tables import MOST_SLACK_H, Table, table_for
from infra.core.units import require_number

IMPOSSIBLE = math.inf


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone that the residency of the data allows, with what has been seen of its spot capacity.

    Attributes:
        name: What the decision calls it.
        spell: Its spot capacity so far, the present tick included (``availability.learn`` and ``observe``).
        spot_price: Price of an hour of spot capacity there, in any unit that all prices share.
    """

    name: str
    spell: Spell
    spot_price: float


@dataclass(frozen=True, slots=True)
class Owned:
    """Devices of one's own that can do the work: free or cheap, and never preempted once they run it.

    Attributes:
        price: Price of an hour.
        free_in_h: Hours until they are released; 0 when they are free now.
    """

    price: float = 0.0
    free_in_h: float = 0.0


@dataclass(frozen=True, slots=True)
class Option:
    """One choice for the next tick and what it is expected to cost from now to the end; infinite when the guard or the market refuses it."""

    choice: Choice
    zone: str
    expected_cost: float


@dataclass(frozen=True, slots=True)
class SpotDecision:
    """What to run in the next tick.

    Attributes:
        choice: The choice.
        zone: The zone, for spot; empty otherwise.
        expected_cost: Expected cost from now to the end; of a forced choice the certain cost.
        forced: Whether the guard left no choice.
        options: Every choice with its cost, in a fixed order.
    """

    choice: Choice
    zone: str
    expected_cost: float
    forced: bool
    options: tuple[Option, ...]


def check_job(job: Job, on_demand_price: float, spot_price: float) -> None:
    """Refuse figures that no decision can be made on.

    Raises:
        InputError: ``BAD_NUMBER``; ``DEADLINE_TOO_SHORT`` when the work does not fit before the deadline.
    """
    positive = (
        (job.total_h, "total_h"),
        (job.tick_h, "tick_h"),
        (job.deadline_h, "deadline_h"),
        (job.unit_h, "unit_h"),
    )
    for value, name in positive:
        require_number(value, name, exclusive=True)
    require_number(job.overhead_h, "overhead_h")
    require_number(on_demand_price, "on_demand_price", exclusive=True)
    require_number(spot_price, "spot_price")
    if job.deadline_h < job.total_h:
        raise InputError(
            "DEADLINE_TOO_SHORT",
            f"{job.total_h:g} h of work do not fit before a deadline of {job.deadline_h:g} h",
            "deadline_h",
            "give a later deadline or less work",
        )


def decide_spot(
    job: Job,
    standing: Standing,
    zones: tuple[Zone, ...],
    on_demand_price: float,
    owned: Owned | None = None,
    model: SpellModel = POOLED,
) -> SpotDecision:
    """Choose what runs in the next tick.

    Per zone, the cost to go is the least of a policy that keeps to that zone; with several zones the best is taken in every
    tick anew, which costs no more than keeping to the best one. On-demand capacity is the same wherever it is. Ties go to
    what runs, then to anything but a pause, then to the order of the options: spot by zone, owned, pause, on-demand.

    Args:
        job: The job.
        standing: Where it stands.
        zones: The zones that may be used; none means on-demand and owned only.
        on_demand_price: Price of an hour of on-demand capacity.
        owned: Devices of one's own, or none.
        model: How spells end.
    """
    left, work_h = ticks_left(job, standing.elapsed_h), standing.work_left_h(job)
    if work_h <= 0.0:
        return SpotDecision(Choice.PAUSE, "", 0.0, False, (Option(Choice.PAUSE, "", 0.0),))
    options = _on_market(job, standing, zones, on_demand_price, model, job)
    if owned is not None and owned.free_in_h > 0.0:
        options = _until_release(job, standing, zones, on_demand_price, owned, model, options)
    elif owned is not None:
        options.insert(len(zones), _on_owned(job, standing, owned, left, work_h))
    best = min(options, key=lambda option: _rank(standing, option))
    forced = sum(option.expected_cost < IMPOSSIBLE for option in options) == 1
    return SpotDecision(best.choice, best.zone, best.expected_cost, forced, tuple(options))


def _rank(standing: Standing, option: Option) -> tuple[float, bool, bool]:
    """Least cost first; of equals a pause last, and what runs before what would have to start."""
    runs_on = standing.running is option.choice and standing.zone == option.zone
    return option.expected_cost, option.choice is Choice.PAUSE, not runs_on


def _on_market(
    job: Job,
    standing: Standing,
    zones: tuple[Zone, ...],
    on_demand_price: float,
    model: SpellModel,
    sized_for: Job,
) -> list[Option]:
    """Spot in each zone, pause and on-demand; ``sized_for`` is a job at least as large, whose table is used."""
    left, work_h, runs = ticks_left(job, standing.elapsed_h), standing.work_left_h(job), standing.running
    on_demand_pending_h = standing.pending_h if runs is Choice.ON_DEMAND else job.overhead_h
    may_pause = can_still_wait(job, work_h, left)
    pause = on_demand = IMPOSSIBLE
    options: list[Option] = []
    for zone in zones:
        stays = runs is Choice.SPOT and standing.zone == zone.name
        spot_pending_h = standing.pending_h if stays else job.overhead_h
        may_spot = zone.spell.available and can_risk(job, work_h, spot_pending_h, left)
        spot = IMPOSSIBLE
        if may_pause or may_spot:
            table = table_for(model, sized_for, zone.spot_price / on_demand_price)
            costs = _costs(job, zone, on_demand_price, model, table, left, work_h, on_demand_pending_h, spot_pending_h)
            pause, on_demand = min(pause, costs[0]), min(on_demand, costs[1])
            spot = costs[2] if may_spot else IMPOSSIBLE
        options.append(Option(Choice.SPOT, zone.name, spot))
    if on_demand == IMPOSSIBLE:
        ticks = ticks_needed(work_h + on_demand_pending_h, job.tick_h)
        on_demand = ticks * job.tick_h * on_demand_price
    # Without a zone, waiting for anything but owned devices gains nothing: it costs what on-demand does.
    pause = (on_demand if pause == IMPOSSIBLE else pause) if may_pause else IMPOSSIBLE
    return [*options, Option(Choice.PAUSE, "", pause), Option(Choice.ON_DEMAND, "", on_demand)]


def _costs(
    job: Job,
    zone: Zone,
    on_demand_price: float,
    model: SpellModel,
    table: Table,
    left: int,
    work_h: float,
    on_demand_pending_h: float,
    spot_pending_h: float,
) -> tuple[float, float, float]:
    """Expected cost to the end of pausing, of on-demand and of spot in the next tick, in this zone alone."""
    from infra.core.spot.kernels import costs_to_go

    tick_h, real_tick_h, spell = job.tick_h, job.tick_h * job.unit_h, zone.spell
    lasts = observe(model, spell, spell.available, real_tick_h)
    ends = observe(model, spell, not spell.available, real_tick_h)
    # More slack than the table knows is worth what the most that it knows is worth.
    left_h = min(left * tick_h, work_h + MOST_SLACK_H)
    pause, on_demand, spot = costs_to_go(
        table.costs,
        table.step_h,
        table.need_nodes,
        table.slack_nodes,
        table.age_nodes,
        table.log_nodes,
        (int(lasts.available), lasts.age_h, lasts.up_log_h, lasts.down_log_h),
        (int(ends.available), ends.age_h, ends.up_log_h, ends.down_log_h),
        end_chance(model, spell, real_tick_h),
        tick_h,
        job.overhead_h,
        left_h,
        work_h,
        on_demand_pending_h,
        spot_pending_h,
    )
    step = tick_h * on_demand_price
    return (
        pause * on_demand_price,
        step + on_demand * on_demand_price,
        step * zone.spot_price / on_demand_price + spot * on_demand_price,
    )


def _on_owned(job: Job, standing: Standing, owned: Owned, left: int, work_h: float) -> Option:
    """Owned devices that are free now: the rest of the work runs there, when it fits."""
    pending_h = standing.pending_h if standing.running is Choice.OWNED else job.overhead_h
    ticks = ticks_needed(work_h + pending_h, job.tick_h)
    return Option(Choice.OWNED, "", ticks * job.tick_h * owned.price if ticks <= left else IMPOSSIBLE)


def _until_release(
    job: Job,
    standing: Standing,
    zones: tuple[Zone, ...],
    on_demand_price: float,
    owned: Owned,
    model: SpellModel,
    options: list[Option],
) -> list[Option]:
    """Options when owned devices are released later: each costs the less of going on without them and of this plan.

    The plan: do before the release what would not fit after it, as a smaller job whose deadline is the release, and the
    rest on the owned devices. The guard stays that of the whole job without them: a release that does not come costs
    money, not the deadline.
    """
    left, work_h = ticks_left(job, standing.elapsed_h), standing.work_left_h(job)
    wait = ticks_needed(owned.free_in_h, job.tick_h)
    fits_h = max(0.0, (left - wait) * job.tick_h - job.overhead_h)
    before_h = max(0.0, work_h - fits_h)
    on_owned = ticks_needed(work_h - before_h + job.overhead_h, job.tick_h) * job.tick_h * owned.price
    if left <= wait or before_h + job.overhead_h > wait * job.tick_h:
        return options
    if before_h == 0.0:
        planned = {(Choice.PAUSE, ""): on_owned}
    else:
        smaller = replace(job, total_h=before_h, deadline_h=wait * job.tick_h)
        before = replace(standing, elapsed_h=0.0, progress_h=0.0)
        market = _on_market(smaller, before, zones, on_demand_price, model, job)
        planned = {(option.choice, option.zone): option.expected_cost + on_owned for option in market}
    return [
        replace(option, expected_cost=min(option.expected_cost, planned.get((option.choice, option.zone), IMPOSSIBLE)))
        if option.expected_cost < IMPOSSIBLE
        else option
        for option in options
    ]

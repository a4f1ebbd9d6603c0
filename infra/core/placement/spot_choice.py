"""Spot, on-demand, owned or a pause for checkpointed work with a deadline: the spot policy on real candidates.

``decide`` asks when a run is (re-)placed, and the controller asks again while it runs, with the same function. The policy
enters when spot and on-demand offers are feasible now and something is known of spot capacity; else nothing changes.

What the policy is told, in hours of work on the slowest of the compared devices (of short work: in parts of them):

- *work*: the compute that is kept with the required probability;
- *overhead* of a start: boot and transfer at the required quantile, one checkpoint interval for what was lost, and the
  control plane's own time;
- *price* of an hour: the candidate's machine cost over its own hours, scaled to the device's speed.

Egress is added to what the policy expects, and so is what waiting is worth where the choice is a pause.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from infra.core.inventory import Purchase
from infra.core.placement.candidates import candidate_at
from infra.core.placement.decision import Candidate, ReasonCode
from infra.core.placement.estimate import CHECKPOINT_INTERVAL_S
from infra.core.placement.shortlist import Shortlist, cheapest, choose, shortlist
from infra.core.placement.starts import wait_worth
from infra.core.placement.world import World
from infra.core.spot.availability import Spell
from infra.core.spot.guard import Choice, Job, Standing, ticks_left, ticks_needed
from infra.core.spot.policy import Option, Owned, Zone, decide_spot
from infra.core.spot.sightings import seen_lately, spell_now
from infra.core.units import SECONDS_PER_HOUR
from infra.core.workload import Fallback

MOST_ZONES = 4
"""Spot offers that are compared: the cheapest ones."""

TICKS_S = (5.0, 20.0, 75.0, 300.0, 600.0)
"""Times between two decisions that are used: ten minutes for long work, about a sixtieth of shorter work."""

_TICKS_IN_START = 4
"""Deciding more often than this within one start's overhead gains nothing."""

TICK_H = 1.0 / 6.0
"""A tick in the job's own hours, which are shorter the shorter the work is."""

_TICKS_IN_WORK = 60
_STEPS_IN_OCTAVE = 4
"""Overheads are rounded up to so many steps in a doubling, so that runs that are alike share a table."""

_SIZES_H = tuple(10.0 * 2.0**power for power in range(13))
"""Work and slack for which tables are made, in the job's hours; a run reads one table for as long as it can."""

SHORT_WORK_S = 120.0
"""A running attempt with less work left than this is left alone: a move takes about as long."""

MOVE_S = 30.0
"""What a start takes besides, of work that is not short: noticing, stopping at a checkpoint, settling, sending."""

STARTS_TO_SPARE = 3.0
"""On-demand capacity is left for spot only when so many starts' overheads fit before the deadline besides the work."""

LEAST_GAIN = 0.1
"""A pause or a move is made for a gain of at least this share of what on-demand capacity costs in a tick. What is compared
differs in the next tick only, so a gain is never much more than a tick's price."""


@dataclass(frozen=True, slots=True)
class Standpoint:
    """What an attempt runs on while it is decided about.

    Attributes:
        pending_s: Seconds of its start that are still to come.
    """

    site: str
    offer: str
    purchase: Purchase
    pending_s: float = 0.0

    @property
    def where(self) -> tuple[str, str]:
        return self.site, self.offer


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the policy says.

    Attributes:
        choice: Spot, on-demand, owned or a pause.
        candidate: The offer to take; of a pause the one that is waited for.
        wait_until_at: When to decide again, of a pause.
        expected_micro: Expected cost from now to the end.
        compared: The same of each offer that was compared, as (site, offer); of those that the guard allows.
        forced: Whether the guard left no other choice.
        tick_s: Seconds until the next decision.
    """

    choice: Choice
    candidate: Candidate
    wait_until_at: float | None
    expected_micro: int
    compared: dict[tuple[str, str], int]
    forced: bool
    tick_s: float


@dataclass(frozen=True, slots=True)
class _Field:
    """The candidates that are compared, and the job as the policy sees it."""

    spots: tuple[Candidate, ...]
    on_demand: Candidate
    owned: Candidate | None
    job: Job
    reference_s: float

    def price(self, candidate: Candidate) -> float:
        """Micro-dollars for one of the job's hours of work on the slowest device."""
        hours = (candidate.time.transfer_s + candidate.time.compute_s) / (SECONDS_PER_HOUR * self.job.unit_h)
        return candidate.cost.compute_micro / hours * candidate.time.compute_s / self.reference_s


def pick(world: World) -> tuple[Candidate | None, Ruling | None]:
    """The candidate that wins, by the policy where it enters and else by cost; ``None`` when nothing is feasible."""
    listed = shortlist(world)
    chosen = choose(world, listed)
    ruling = _rule(world, listed, None) if chosen is not None else None
    return (chosen if ruling is None else ruling.candidate), ruling


def rule(world: World, running: Standpoint | None = None) -> Ruling | None:
    """What the policy says; ``None`` where it has nothing to say.

    Args:
        running: What the run's attempt is on, when there is one. Its devices must not count as in use.
    """
    return _rule(world, None, running)


def _rule(world: World, listed: Shortlist | None, running: Standpoint | None) -> Ruling | None:
    field = _field(world, listed, running)
    if field is None:
        return None
    job = field.job
    zones = tuple(
        Zone("/".join(_where(spot)), _spell(world, job, _where(spot), running), field.price(spot))
        for spot in field.spots
    )
    standing = _standing(job, running)
    on_demand_price, owned = field.price(field.on_demand), _owned(world, field)
    sized, standing = _sized(job, standing)
    decided = decide_spot(sized, standing, zones, on_demand_price, owned)
    market = decided if owned is None else decide_spot(sized, standing, zones, on_demand_price)
    market_pause = next(each.expected_cost for each in market.options if each.choice is Choice.PAUSE)
    # What is safe on on-demand capacity leaves it only with room for the move, a loss after it and the way back.
    roomy = ticks_needed(job.total_h + STARTS_TO_SPARE * job.overhead_h, job.tick_h) <= ticks_left(job, 0.0)
    settled = running is not None and running.purchase is Purchase.ON_DEMAND and not roomy
    found: list[tuple[float, bool, bool, int, Option, Candidate, float | None]] = []
    for index, option in enumerate(decided.options):
        taken = _taken(world, field, option, market_pause)
        if taken is None or (settled and option.choice in (Choice.SPOT, Choice.PAUSE)):
            continue
        candidate, until_at, extra_micro = taken
        stays = running is not None and option.choice is not Choice.PAUSE and _where(candidate) == running.where
        cost = option.expected_cost + (0 if stays else extra_micro)
        found.append((cost, option.choice is Choice.PAUSE, not stays, index, option, candidate, until_at))
    best = min(found, key=lambda entry: entry[:4])
    start = min((entry for entry in found if not entry[1]), key=lambda entry: entry[:4])
    least_gain = LEAST_GAIN * on_demand_price * job.tick_h
    if best[0] > start[0] - least_gain:
        best = start
    kept = next((entry for entry in found if not entry[2]), None)
    if kept is not None and best[0] > kept[0] - least_gain:
        best = kept
    compared = {_where(entry[5]): _whole(entry[0]) for entry in found if not entry[1]}
    return Ruling(best[4].choice, best[5], best[6], _whole(best[0]), compared, len(found) == 1, _tick_s(job))


def _spell(world: World, job: Job, where: tuple[str, str], running: Standpoint | None) -> Spell:
    """The spell that a spot offer is in. Nothing that runs is stopped for capacity that nobody has seen lately."""
    capacity = world.spot.get(where)
    spell = spell_now(capacity, world.now_at, TICK_H * job.unit_h)
    if running is None or running.where == where or seen_lately(capacity, world.now_at):
        return spell
    return replace(spell, available=False)


def _taken(
    world: World, field: _Field, option: Option, market_pause: float
) -> tuple[Candidate, float | None, int] | None:
    """The candidate that an option stands for, until when a pause lasts, and what it costs besides; ``None`` when refused."""
    if math.isinf(option.expected_cost):
        return None
    if option.choice is not Choice.PAUSE:
        by_zone = {"/".join(_where(spot)): spot for spot in field.spots}
        one = {Choice.SPOT: by_zone.get(option.zone), Choice.ON_DEMAND: field.on_demand, Choice.OWNED: field.owned}
        candidate = one[option.choice]
        assert candidate is not None, "the policy chooses among what it was given"
        return candidate, None, candidate.cost.egress_micro
    if Fallback.WAIT not in world.request.fallbacks:
        return None
    if field.owned is not None and field.owned.start_at is not None and option.expected_cost < market_pause:
        # The wait for a release ends in time for the guard: a release that does not come is no excuse.
        until_at = min(field.owned.start_at, _last_pause_at(world, field.job))
        return field.owned, until_at, field.owned.cost.egress_micro + field.owned.wait_micro
    tick_s = _tick_s(field.job)
    least = min(field.spots, key=lambda spot: (field.price(spot), _where(spot)))
    later = candidate_at(world, _where(least), world.now_at + tick_s)
    if later is None or not later.feasible:
        return None
    return later, later.start_at, later.cost.egress_micro + wait_worth(world, tick_s)


def _field(world: World, listed: Shortlist | None, running: Standpoint | None) -> _Field | None:
    """The candidates to compare, and the job; ``None`` when the policy does not enter."""
    request = world.request
    ways = {Purchase.SPOT, Purchase.ON_DEMAND} <= set(request.purchases)
    if not (request.checkpointed and request.deadline_at is not None and world.spot and ways):
        return None
    here = _running_candidate(world, running) if running is not None else None
    listed = shortlist(world) if listed is None else listed
    on_demands = cheapest(world, listed, Purchase.ON_DEMAND, 1)
    if here is not None and here.purchase is Purchase.ON_DEMAND:
        on_demands = [here]
    on_demand = next((each for each in on_demands if each.start_at == world.now_at), None)
    spots = [each for each in cheapest(world, listed, Purchase.SPOT, MOST_ZONES) if each.start_at == world.now_at]
    if here is not None and here.purchase is Purchase.SPOT:
        spots = [here, *(each for each in spots if _where(each) != _where(here))]
    if on_demand is None or not spots or on_demand.cost.compute_micro <= 0:
        return None
    owned = next(iter(cheapest(world, listed, Purchase.OWNED, 1)), None)
    compared = [on_demand, *spots, *([owned] if owned is not None else [])]
    if min(each.time.compute_s for each in compared) <= 0.0:
        return None
    reference_s = max(each.time.compute_s for each in compared)
    job = _job(world, on_demand, compared, reference_s)
    # Spot that costs as much as what cannot be taken back is out; the table of costs is for cheaper spot.
    field = _Field(tuple(spots), on_demand, owned, job, reference_s)
    dear = field.price(on_demand)
    worth = tuple(each for each in spots if field.price(each) < dear or each is here)
    if not worth or job.deadline_h < job.total_h:
        return None
    if running is not None and job.total_h * job.unit_h * SECONDS_PER_HOUR < SHORT_WORK_S:
        return None
    return _Field(worth, on_demand, owned, job, reference_s)


def _running_candidate(world: World, running: Standpoint) -> Candidate | None:
    """The offer that the attempt runs on. It has been let in, so only what forbids it altogether counts."""
    candidate = candidate_at(world, running.where, world.now_at)
    if candidate is None or candidate.start_at != world.now_at:
        return None
    broken = {item.code for item in candidate.reasons} - {ReasonCode.DEADLINE_MISSED}
    return None if broken else candidate


def _job(world: World, on_demand: Candidate, compared: list[Candidate], reference_s: float) -> Job:
    assert on_demand.finish_high_at is not None
    assert world.request.deadline_at is not None
    high_s = on_demand.finish_high_at - world.now_at - on_demand.time.boot_s - on_demand.time.transfer_s
    work_s = max(high_s, on_demand.time.compute_s) * reference_s / on_demand.time.compute_s
    start_s = max(each.time_high.boot_s + each.time_high.transfer_s for each in compared)
    overhead_s = start_s + min(CHECKPOINT_INTERVAL_S, reference_s) + (MOVE_S if work_s >= SHORT_WORK_S else 0.0)
    steps = math.ceil(_STEPS_IN_OCTAVE * math.log2(max(overhead_s, 1.0)))
    about_s = max(TICKS_S[0], work_s / _TICKS_IN_WORK, overhead_s / _TICKS_IN_START)
    tick_s = max(each for each in TICKS_S if each <= about_s)
    hour_s = tick_s / TICK_H
    return Job(
        total_h=work_s / hour_s,
        deadline_h=(world.request.deadline_at - world.now_at) / hour_s,
        overhead_h=2.0 ** (steps / _STEPS_IN_OCTAVE) / hour_s,
        tick_h=TICK_H,
        unit_h=hour_s / SECONDS_PER_HOUR,
    )


def _tick_s(job: Job) -> float:
    return job.tick_h * job.unit_h * SECONDS_PER_HOUR


def _owned(world: World, field: _Field) -> Owned | None:
    if field.owned is None or field.owned.start_at is None:
        return None
    free_in_s = field.owned.start_at - world.now_at
    return Owned(field.price(field.owned), free_in_s / (SECONDS_PER_HOUR * field.job.unit_h))


_CHOICES = {Purchase.SPOT: Choice.SPOT, Purchase.ON_DEMAND: Choice.ON_DEMAND, Purchase.OWNED: Choice.OWNED}


def _standing(job: Job, running: Standpoint | None) -> Standing:
    """Work and deadline count from now, so that nothing has elapsed and nothing is done."""
    if running is None:
        return Standing(0.0, 0.0)
    zone = "/".join(running.where) if running.purchase is Purchase.SPOT else ""
    pending_h = min(running.pending_s / (SECONDS_PER_HOUR * job.unit_h), job.overhead_h)
    return Standing(0.0, 0.0, _CHOICES[running.purchase], zone, pending_h)


def _sized(job: Job, standing: Standing) -> tuple[Job, Standing]:
    """The same work left and time left, as what is left of a job of a round size: jobs that are alike share a table."""
    total_h = next((size for size in _SIZES_H if size >= job.total_h), job.total_h)
    slack_h = job.deadline_h - job.total_h
    slack_h = next((size for size in _SIZES_H if size >= slack_h), slack_h)
    sized = replace(job, total_h=total_h, deadline_h=total_h + slack_h)
    elapsed_h, progress_h = sized.deadline_h - job.deadline_h, sized.total_h - job.total_h
    return sized, replace(standing, elapsed_h=elapsed_h, progress_h=progress_h)


def _last_pause_at(world: World, job: Job) -> float:
    """Until when a pause still leaves a start and the work on on-demand capacity."""
    spare = ticks_left(job, 0.0) - ticks_needed(job.total_h + job.overhead_h, job.tick_h)
    return world.now_at + max(1, spare) * _tick_s(job)


def _where(candidate: Candidate) -> tuple[str, str]:
    return candidate.site, candidate.offer


def _whole(micro: float) -> int:
    return round(micro)

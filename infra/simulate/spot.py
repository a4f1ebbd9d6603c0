"""Spot under a deadline, replayed: jobs that start along recorded availability, under a policy, tick by tick.

The model: availability is fixed within a tick and known at its beginning; every start, also a change between spot and
on-demand, pays the whole overhead before work goes on; a tick is billed whole; a job is done at the end of the tick in
which its work is. Relative cost is the cost over that of on-demand capacity from start to end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from infra.core.errors import InputError
from infra.core.spot.availability import Spell, SpellModel, first_spell, learn, observe
from infra.core.spot.guard import Choice, Job, Standing, ticks_left
from infra.core.spot.model import POOLED
from infra.core.spot.policy import Zone, check_job, decide_spot
from infra.documents.spot_trace import SpotTrace
from infra.simulate.spot_rules import greedy, on_demand_only, uniform_progress

Decider = Callable[[Job, Standing, bool], Choice]

POLICIES = ("headrace", "on-demand", "greedy", "uniform-progress", "optimal")

DONE = 1e-9
"""Hours of work below which a job counts as done."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of an hour, in any one unit."""

    spot: float = 0.318
    on_demand: float = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one job went: its cost, the ticks it spent on what, its starts, and whether it was late."""

    cost: float
    spot_ticks: int
    on_demand_ticks: int
    idle_ticks: int
    switches: int
    missed: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """How all jobs went. Hours and switches are sums over jobs; ``cost_relative`` is the mean of their ratios."""

    jobs: int
    misses: int
    cost_relative: float
    mean_cost: float
    spot_h: float
    on_demand_h: float
    idle_h: float
    switches: int


def starts_of(trace: SpotTrace, deadline_h: float, *, count: int = 12, every_h: float | None = None) -> list[int]:
    """Ticks at which jobs start: evenly from the first to the last that leaves room for the deadline.

    Raises:
        InputError: ``TRACE_TOO_SHORT``.
    """
    ticks = math.floor(deadline_h / trace.tick_h + DONE)
    last = len(trace.available) - ticks
    if last < 0:
        raise InputError(
            "TRACE_TOO_SHORT",
            f"{len(trace.available) * trace.tick_h:.1f} h of availability hold no job with a deadline of {deadline_h:g} h",
            trace.name,
            "give a longer trace or an earlier deadline",
        )
    if every_h is not None:
        return list(range(0, last + 1, max(1, round(every_h / trace.tick_h))))
    return sorted({int(start) for start in np.linspace(0, last, count)})


def run_job(available: Sequence[bool], job: Job, prices: Prices, decide: Decider) -> Outcome:
    """One job that begins with the sequence's first tick.

    A job that is late goes on until it is done; what lies beyond the sequence has no spot capacity.
    """
    most = math.ceil((job.deadline_h + job.total_h + job.overhead_h) / job.tick_h) + 1
    running, pending_h, progress_h, cost, tick, switches = Choice.PAUSE, 0.0, 0.0, 0.0, 0, 0
    spent = {Choice.SPOT: 0, Choice.ON_DEMAND: 0, Choice.PAUSE: 0}
    while progress_h < job.total_h - DONE and tick < most:
        now = available[tick] if tick < len(available) else False
        if running is Choice.SPOT and not now:
            running, pending_h = Choice.PAUSE, 0.0
        standing = Standing(tick * job.tick_h, progress_h, running, "zone" if running is Choice.SPOT else "", pending_h)
        choice = decide(job, standing, bool(now))
        if choice is Choice.SPOT and not now:
            raise InputError("SPOT_UNAVAILABLE", f"tick {tick} has no spot capacity", "policy", "choose something else")
        if choice is not running:
            running, pending_h = choice, job.overhead_h if choice is not Choice.PAUSE else 0.0
            switches += choice is not Choice.PAUSE
        spent[choice] += 1
        tick += 1
        if choice is not Choice.PAUSE:
            progress_h += max(0.0, job.tick_h - pending_h)
            pending_h = max(0.0, pending_h - job.tick_h)
            cost += job.tick_h * (prices.spot if choice is Choice.SPOT else prices.on_demand)
    missed = progress_h < job.total_h - DONE or tick > math.floor(job.deadline_h / job.tick_h + DONE)
    return Outcome(cost, spent[Choice.SPOT], spent[Choice.ON_DEMAND], spent[Choice.PAUSE], switches, missed)


class Headrace:
    """The production policy as a decider: learns its zone from the history before the job, then tick by tick."""

    def __init__(self, prices: Prices, history: Sequence[bool], tick_h: float, model: SpellModel = POOLED) -> None:
        self._prices, self._model, self._tick_h = prices, model, tick_h
        self._spell: Spell | None = learn(model, history, tick_h) if len(history) else None

    def __call__(self, job: Job, standing: Standing, available: bool) -> Choice:
        if self._spell is None:
            self._spell = first_spell(self._model, available, self._tick_h)
        else:
            self._spell = observe(self._model, self._spell, available, self._tick_h)
        zone = Zone("zone", self._spell, self._prices.spot)
        return decide_spot(job, standing, (zone,), self._prices.on_demand, None, self._model).choice


def on_demand_cost(job: Job, prices: Prices) -> float:
    """Cost of on-demand capacity from start to end."""
    return math.ceil((job.total_h + job.overhead_h) / job.tick_h - DONE) * job.tick_h * prices.on_demand


def run_from(
    trace: SpotTrace,
    start: int,
    job: Job,
    prices: Prices,
    policy: str,
    *,
    warm_h: float | None = None,
    model: SpellModel = POOLED,
) -> Outcome:
    """One job from one start under a policy by name.

    Args:
        trace: The availability.
        start: The tick at which the job begins.
        job: The job, its tick that of the trace.
        prices: The prices.
        policy: One of ``POLICIES``.
        warm_h: Hours before the start that the policy has seen; everything from the trace's beginning when ``None``.
        model: The prior of the policy ``headrace``.
    """
    ticks = math.floor(job.deadline_h / job.tick_h + DONE)
    window = trace.available[start : start + ticks]
    if policy == "optimal":
        from infra.simulate.spot_optimal import optimal_cost

        cost, spot, on_demand, idle, starts = optimal_cost(
            np.array(window, np.int8),
            job.total_h,
            job.deadline_h,
            job.overhead_h,
            job.tick_h,
            prices.spot,
            prices.on_demand,
        )
        return Outcome(cost, spot, on_demand, idle, starts, math.isinf(cost))
    rules = {"on-demand": on_demand_only, "greedy": greedy, "uniform-progress": uniform_progress}
    if policy in rules:
        return run_job(window, job, prices, rules[policy])
    seen = start if warm_h is None else min(start, round(warm_h / job.tick_h))
    return run_job(window, job, prices, Headrace(prices, trace.available[start - seen : start], job.tick_h, model))


def simulate_spot(
    traces: Sequence[SpotTrace],
    total_h: float,
    deadline_h: float,
    overhead_h: float,
    prices: Prices,
    policy: str,
    *,
    starts: int = 12,
    every_h: float | None = None,
    warm_h: float | None = None,
    model: SpellModel = POOLED,
) -> Summary:
    """Jobs along traces under a policy by name.

    Raises:
        InputError: ``UNKNOWN_POLICY``, ``BAD_NUMBER``, ``DEADLINE_TOO_SHORT``, ``TRACE_TOO_SHORT``.
    """
    if policy not in POLICIES:
        raise InputError("UNKNOWN_POLICY", f"there is no policy {policy!r}", "policy", f"one of {', '.join(POLICIES)}")
    outcomes: list[Outcome] = []
    ratios: list[float] = []
    hours = [0.0, 0.0, 0.0]
    for trace in traces:
        job = Job(total_h, deadline_h, overhead_h, trace.tick_h)
        check_job(job, prices.on_demand, prices.spot)
        _check_fits(job)
        for start in starts_of(trace, deadline_h, count=starts, every_h=every_h):
            outcome = run_from(trace, start, job, prices, policy, warm_h=warm_h, model=model)
            outcomes.append(outcome)
            ratios.append(outcome.cost / on_demand_cost(job, prices))
            for index, ticks in enumerate((outcome.spot_ticks, outcome.on_demand_ticks, outcome.idle_ticks)):
                hours[index] += ticks * trace.tick_h
    return Summary(
        jobs=len(outcomes),
        misses=sum(outcome.missed for outcome in outcomes),
        cost_relative=sum(ratios) / len(ratios),
        mean_cost=sum(outcome.cost for outcome in outcomes) / len(outcomes),
        spot_h=hours[0],
        on_demand_h=hours[1],
        idle_h=hours[2],
        switches=sum(outcome.switches for outcome in outcomes),
    )


def _check_fits(job: Job) -> None:
    if ticks_left(job, 0.0) < math.ceil((job.total_h + job.overhead_h) / job.tick_h - DONE):
        raise InputError(
            "DEADLINE_TOO_SHORT",
            f"{job.total_h:g} h of work and a start of {job.overhead_h:g} h do not fit before a deadline of {job.deadline_h:g} h",
            "deadline_h",
            "give a later deadline or less work",
        )

"""What holds for any availability: the guard, determinism, and that nobody beats hindsight."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.core.spot.guard import Choice, Job, Standing
from infra.simulate.spot import Headrace, Outcome, Prices, run_job
from infra.simulate.spot_optimal import optimal_cost
from infra.simulate.spot_rules import greedy, uniform_progress

PRICES = Prices()


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """Jobs with room for a start and one tick more."""
    tick_h = draw(st.sampled_from((195 / 3600, 1 / 6, 0.25, 1.0)))
    total_h = draw(st.integers(1, 24)) * tick_h + draw(st.sampled_from((0.0, 0.01, 0.5))) * tick_h
    overhead_h = draw(st.sampled_from((0.0, 0.02, 0.2, 0.4, 1 / 6, 1.0)))
    spare = draw(st.integers(1, 12)) + draw(st.sampled_from((0.0, 0.3)))
    return Job(total_h, total_h + overhead_h + spare * tick_h, overhead_h, tick_h)


availability = st.lists(st.booleans(), min_size=1, max_size=90) | st.lists(
    st.tuples(st.booleans(), st.integers(1, 20)), min_size=1, max_size=12
).map(lambda spells: [value for value, length in spells for _ in range(length)])


def run(job: Job, available: list[bool]) -> Outcome:
    """A job of the production policy; ``run_job`` itself refuses spot where there is none."""
    return run_job(available, job, PRICES, Headrace(PRICES, available[:7], job.tick_h))


@settings(max_examples=80, deadline=None)
@given(job=jobs(), available=availability)
def test_no_availability_makes_the_policy_late(job: Job, available: list[bool]) -> None:
    assert not run(job, available).missed


@settings(max_examples=30, deadline=None)
@given(job=jobs(), available=availability)
def test_the_same_history_gives_the_same_run(job: Job, available: list[bool]) -> None:
    assert run(job, available) == run(job, available)


@settings(max_examples=40, deadline=None)
@given(job=jobs(), available=availability)
def test_nobody_beats_hindsight(job: Job, available: list[bool]) -> None:
    ticks = math.floor(job.deadline_h / job.tick_h + 1e-9)
    window = (available + [False] * ticks)[:ticks]
    least = optimal_cost(
        np.array(window, np.int8),
        job.total_h,
        job.deadline_h,
        job.overhead_h,
        job.tick_h,
        PRICES.spot,
        PRICES.on_demand,
    )[0]
    outcomes = [run(job, window), run_job(window, job, PRICES, greedy), run_job(window, job, PRICES, uniform_progress)]
    assert all(outcome.cost >= least - 1e-9 for outcome in outcomes if not outcome.missed)


def brute_force(window: tuple[bool, ...], job: Job) -> float:
    """The least cost over every plan there is."""
    best = math.inf
    for plan in itertools.product((Choice.PAUSE, Choice.SPOT, Choice.ON_DEMAND), repeat=len(window)):
        if any(choice is Choice.SPOT and not there for choice, there in zip(plan, window, strict=True)):
            continue

        def planned(_job: Job, standing: Standing, _available: bool, plan: tuple[Choice, ...] = plan) -> Choice:
            tick = round(standing.elapsed_h / _job.tick_h)
            return plan[tick] if tick < len(plan) else Choice.PAUSE

        outcome = run_job(window, job, PRICES, planned)
        if not outcome.missed:
            best = min(best, outcome.cost)
    return best


@settings(max_examples=25, deadline=None)
@given(
    window=st.lists(st.booleans(), min_size=6, max_size=6).map(tuple),
    total=st.integers(1, 4),
    overhead=st.sampled_from((0.0, 0.3, 1.0, 1.4)),
)
def test_the_optimum_is_that_of_brute_force(window: tuple[bool, ...], total: int, overhead: float) -> None:
    job = Job(float(total), 6.0, overhead, 1.0)
    found = optimal_cost(
        np.array(window, np.int8), job.total_h, job.deadline_h, overhead, 1.0, PRICES.spot, PRICES.on_demand
    )[0]
    expected = brute_force(window, job)
    assert found == expected or math.isclose(found, expected, abs_tol=1e-9)

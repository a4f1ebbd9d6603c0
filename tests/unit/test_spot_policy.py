"""The spot policy's parts: spells, the guard's arithmetic, and what is chosen in plain cases."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from infra.core.errors import InputError
from infra.core.spot.availability import Spell, end_chance, first_spell, learn, observe
from infra.core.spot.guard import Choice, Job, Standing, can_risk, can_still_wait, ticks_left, ticks_needed
from infra.core.spot.model import POOLED
from infra.core.spot.policy import Owned, Zone, check_job, decide_spot

TICK_H = 1 / 6
JOB = Job(total_h=12.0, deadline_h=17.5, overhead_h=0.2, tick_h=TICK_H)
STEADY = Spell(True, 8.0, math.log(8.0), math.log(0.5))
"""Capacity that has been there for eight hours, in a zone where it usually is."""
GONE = Spell(False, 8.0, math.log(0.5), math.log(8.0))
"""No capacity for eight hours, in a zone where there seldom is any."""


def zone(spell: Spell, name: str = "a", price: float = 0.318) -> Zone:
    return Zone(name, spell, price)


def test_a_history_teaches_what_its_ticks_one_by_one_do() -> None:
    history = [1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 1]
    spell = first_spell(POOLED, True, TICK_H)
    for value in history[1:]:
        spell = observe(POOLED, spell, bool(value), TICK_H)
    learnt = learn(POOLED, history, TICK_H)
    assert learnt.available
    assert learnt.age_h == pytest.approx(4 * TICK_H)
    assert (spell.age_h, spell.up_log_h, spell.down_log_h) == pytest.approx(
        (learnt.age_h, learnt.up_log_h, learnt.down_log_h)
    )


def test_a_spell_that_ends_moves_only_the_mean_of_its_kind() -> None:
    after = observe(POOLED, Spell(True, 3.0, 0.0, 1.0), False, TICK_H)
    assert after == Spell(False, TICK_H, pytest.approx(0.2 * math.log(3.0)), 1.0)


def test_an_empty_history_teaches_nothing() -> None:
    with pytest.raises(ValueError, match="present tick"):
        learn(POOLED, [], TICK_H)


@pytest.mark.parametrize("available", [True, False])
def test_the_chance_that_a_spell_ends_falls_with_its_age_and_with_longer_spells_before(available: bool) -> None:
    chances = [end_chance(POOLED, Spell(available, age, 0.0, 0.0), TICK_H) for age in (0.2, 1.0, 5.0, 20.0)]
    assert chances == sorted(chances, reverse=True)
    long, short = (Spell(available, 1.0, mean, mean) for mean in (2.0, -1.0))
    assert end_chance(POOLED, long, TICK_H) < end_chance(POOLED, short, TICK_H)


def test_survival_multiplies_over_steps() -> None:
    once, twice = (end_chance(POOLED, STEADY, step) for step in (TICK_H, 2 * TICK_H))
    assert (1 - once) ** 2 == pytest.approx(1 - twice)


@pytest.mark.parametrize(
    ("hours", "tick_h", "ticks"), [(0.0, 0.5, 0), (0.4, 0.5, 1), (0.5, 0.5, 2), (1.2, 0.5, 3), (-1.0, 0.5, 0)]
)
def test_ticks_needed_round_to_the_safe_side(hours: float, tick_h: float, ticks: int) -> None:
    assert ticks_needed(hours, tick_h) == ticks


def test_the_last_tick_in_which_one_may_wait() -> None:
    job = Job(total_h=2.0, deadline_h=4.0, overhead_h=0.3, tick_h=0.5)
    assert [ticks_left(job, tick * 0.5) for tick in (0, 3, 8)] == [8, 5, 0]
    # Work and a start need five ticks.
    assert [can_still_wait(job, 2.0, left) for left in (7, 6, 5)] == [True, True, False]


@pytest.mark.parametrize(
    ("work_h", "pending_h", "left", "may"),
    [
        (2.0, 0.0, 5, True),  # 1.5 h and a start of 0.3 h need four ticks
        (2.0, 0.0, 4, False),
        (2.0, 0.3, 5, False),  # 1.8 h and a start need five
        (2.0, 0.3, 6, True),
        (0.4, 0.0, 1, True),  # done within the tick
        (0.4, 0.2, 1, False),  # not done within it
    ],
)
def test_what_may_be_risked_on_spot(work_h: float, pending_h: float, left: int, may: bool) -> None:
    assert can_risk(Job(2.0, 4.0, 0.3, 0.5), work_h, pending_h, left) is may


def test_steady_capacity_is_taken() -> None:
    decision = decide_spot(JOB, Standing(0.0, 0.0), (zone(STEADY),), 1.0)
    assert (decision.choice, decision.zone, decision.forced) == (Choice.SPOT, "a", False)
    assert 0.318 * 12.0 < decision.expected_cost < 12.2


def test_without_capacity_one_waits_while_the_deadline_is_far_and_pays_when_it_is_near() -> None:
    far = decide_spot(replace(JOB, deadline_h=90.0), Standing(0.0, 0.0), (zone(GONE),), 1.0)
    assert far.choice is Choice.PAUSE
    near = decide_spot(replace(JOB, deadline_h=12.3), Standing(0.0, 0.0), (zone(GONE),), 1.0)
    assert (near.choice, near.forced) == (Choice.ON_DEMAND, True)
    assert near.expected_cost == pytest.approx(74 * TICK_H)


def test_spot_that_runs_is_kept() -> None:
    decision = decide_spot(JOB, Standing(3.0, 2.5, Choice.SPOT, "a", 0.0), (zone(STEADY),), 1.0)
    assert decision.choice is Choice.SPOT


def test_spot_dearer_than_on_demand_is_not_taken() -> None:
    decision = decide_spot(JOB, Standing(0.0, 0.0), (zone(STEADY, price=1.5),), 1.0)
    assert decision.choice is not Choice.SPOT


def test_a_finished_job_needs_nothing() -> None:
    decision = decide_spot(JOB, Standing(13.0, 12.0, Choice.SPOT, "a"), (zone(STEADY),), 1.0)
    assert (decision.choice, decision.expected_cost) == (Choice.PAUSE, 0.0)


def test_the_better_of_two_zones_is_chosen_and_a_zone_more_costs_nothing() -> None:
    shaky = replace(STEADY, age_h=0.2, up_log_h=-1.4)
    both = decide_spot(JOB, Standing(0.0, 0.0), (zone(shaky, "a"), zone(STEADY, "b")), 1.0)
    assert (both.choice, both.zone) == (Choice.SPOT, "b")
    alone = decide_spot(JOB, Standing(0.0, 0.0), (zone(shaky, "a"),), 1.0)
    assert both.expected_cost <= alone.expected_cost
    dear = decide_spot(JOB, Standing(0.0, 0.0), (zone(STEADY, "a", 0.9), zone(STEADY, "b")), 1.0)
    assert dear.zone == "b"


def test_a_zone_that_runs_is_not_left_for_its_equal() -> None:
    zones = (zone(STEADY, "a"), zone(STEADY, "b"))
    assert decide_spot(JOB, Standing(3.0, 2.5, Choice.SPOT, "b"), zones, 1.0).zone == "b"


def test_without_a_zone_the_work_is_done_on_demand() -> None:
    decision = decide_spot(JOB, Standing(0.0, 0.0), (), 1.0)
    assert (decision.choice, decision.expected_cost) == (Choice.ON_DEMAND, pytest.approx(74 * TICK_H))


def test_owned_devices_that_are_free_win_and_dear_ones_do_not() -> None:
    free = decide_spot(JOB, Standing(0.0, 0.0), (zone(STEADY),), 1.0, Owned(0.0))
    assert (free.choice, free.expected_cost) == (Choice.OWNED, 0.0)
    assert decide_spot(JOB, Standing(0.0, 0.0), (zone(STEADY),), 1.0, Owned(2.0)).choice is Choice.SPOT


def test_a_known_release_is_waited_for_when_the_guard_allows_it() -> None:
    waits = decide_spot(JOB, Standing(0.0, 0.0), (zone(GONE),), 1.0, Owned(0.0, free_in_h=2.0))
    assert (waits.choice, waits.expected_cost) == (Choice.PAUSE, 0.0)
    tight = replace(JOB, deadline_h=12.4)
    assert (
        decide_spot(tight, Standing(0.0, 0.0), (zone(GONE),), 1.0, Owned(0.0, free_in_h=2.0)).choice is not Choice.PAUSE
    )


def test_a_late_release_saves_what_fits_after_it() -> None:
    # Six hours fit after the release, so the other six must be done before it.
    owned = Owned(0.0, free_in_h=11.3)
    with_release = decide_spot(JOB, Standing(0.0, 0.0), (zone(GONE),), 1.0, owned)
    without = decide_spot(JOB, Standing(0.0, 0.0), (zone(GONE),), 1.0)
    assert with_release.expected_cost < without.expected_cost - 3.0


def test_a_release_is_waited_for_without_any_zone() -> None:
    decision = decide_spot(JOB, Standing(0.0, 0.0), (), 1.0, Owned(0.0, free_in_h=2.0))
    assert (decision.choice, decision.expected_cost) == (Choice.PAUSE, 0.0)


def test_work_that_cannot_fit_is_refused() -> None:
    check_job(JOB, 1.0, 0.3)
    with pytest.raises(InputError, match="DEADLINE_TOO_SHORT"):
        check_job(replace(JOB, deadline_h=11.0), 1.0, 0.3)
    with pytest.raises(InputError, match="BAD_NUMBER"):
        check_job(replace(JOB, total_h=math.nan), 1.0, 0.3)

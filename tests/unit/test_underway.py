"""Runs that have not ended yet speak for those that take long: estimates, their calibration, and what a snapshot holds of them."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import infra.core.placement.calibration as calibration
from infra.adapters.observation import underway_of
from infra.core.lifecycle import AttemptState
from infra.core.placement.learning import Observation, Underway, learn_rates, running_beside
from infra.core.placement.predictive import learn_spread
from infra.core.placement.snapshot import OfferLoad
from infra.core.placement.uncertainty import HIGH, MEDIAN, require_spread
from infra.core.workload import WorkKind
from tests.contract.examples import attempt_record, permit
from tests.unit.placement_world import EU

AT = 1_800_000_000.0
KIND = WorkKind.TRAINING


def ended(name: str, begun_at: float, run_s: float) -> Observation:
    return Observation(name, 1, KIND, "", "", "gpu", 1, 1000.0, run_s, 0.0, begun_at + run_s)


def going_on(begun_at: float, now_at: float, **changes: object) -> Underway:
    return replace(Underway(KIND, "gpu", 1, 1000.0, begun_at, now_at - begun_at), **changes)


def high_s(observations: list[Observation], underway: list[Underway]) -> float:
    """What nine of ten runs of that size keep."""
    (rate,) = learn_rates(observations, [], underway=underway)
    assert isinstance(rate.spread, tuple)
    return (rate.fixed_s + 1000.0 * rate.unit_s) * rate.spread[HIGH]


def test_the_short_ones_of_a_burst_do_not_speak_for_all_of_it() -> None:
    """Forty runs at once, of 100 s to 4,000 s: after 1,000 s ten have ended, and thirty show that most take longer."""
    burst = [ended(f"{index}", AT, 100.0 * index) for index in range(1, 11)]
    still = [going_on(AT, AT + 1000.0) for _ in range(30)]
    assert high_s(burst, []) < 3000.0
    assert high_s(burst, still) > high_s(burst, []) * 1.2
    (rate,) = learn_rates(burst, [], underway=still)
    (alone,) = learn_rates(burst, [])
    assert rate.unit_s > 1.5 * alone.unit_s
    assert rate.samples == alone.samples == 10


def test_who_began_before_all_others_or_does_other_work_says_nothing() -> None:
    past = [ended(f"{index}", AT + index, 100.0 + index) for index in range(30)]
    others = [
        going_on(AT - 1.0, AT + 5000.0),
        going_on(AT + 5.0, AT + 5000.0, kind=WorkKind.EVALUATION),
        going_on(AT + 5.0, AT + 5000.0, device="other"),
        going_on(AT + 5000.0, AT + 5000.0),
    ]
    assert learn_rates(past, [], underway=others) == learn_rates(past, [])
    assert learn_rates([], [], underway=others) == ()


def test_it_counts_less_the_more_have_begun_since() -> None:
    old, new = (
        running_beside([AT + index for index in range(120)], [going_on(at, AT + 900.0)]) for at in (AT, AT + 500.0)
    )
    assert new == [(1000.0, 400.0, 1.0)]
    assert old == [(1000.0, 900.0, pytest.approx(0.25, rel=0.03))]


@given(
    st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=60),
    st.lists(st.tuples(st.floats(-3.0, 5.0), st.floats(0.01, 1.0)), max_size=30),
)
def test_with_runs_that_go_on_it_is_a_spread_and_reaches_no_less_far(errors, running) -> None:
    shift, spread = learn_spread(errors, 0.5, running)
    require_spread(spread, "learnt")
    before, alone = learn_spread(errors, 0.5)
    assert math.isfinite(shift)
    # Nobody who goes on for longer than a run that has ended makes the next one look shorter than that one alone does.
    if running and min(error for error, _ in running) > max(errors):
        assert shift >= before - 1e-9
        assert shift + math.log(spread[-1]) >= before + math.log(alone[MEDIAN]) - 1e-9


def bursts(seed: int) -> list[Observation]:
    """Thirty times forty runs within minutes, every four hours or so; they take an hour, more or less by a factor of 4.5."""
    generator, at, found = random.Random(seed), AT, []
    for burst in range(30):
        at += 4 * 3600.0 * generator.uniform(0.5, 1.5)
        for index in range(40):
            begun_at = at + index * 240.0 * generator.random()
            found.append(ended(f"{burst}-{index}", begun_at, 3600.0 * math.exp(generator.gauss(0.0, 1.5))))
    return sorted(found, key=lambda run: run.at)


@pytest.mark.slow
def test_what_was_said_of_runs_in_bursts_comes_true(monkeypatch: pytest.MonkeyPatch) -> None:
    place = calibration.TOLD_LEVELS.index(0.9)
    with_running = [calibration.calibrate(bursts(seed), [])[0] for seed in range(2)]
    monkeypatch.setattr(calibration, "running_beside", lambda *_: [])
    without = [calibration.calibrate(bursts(seed), [])[0] for seed in range(2)]
    for told, before in zip(with_running, without, strict=True):
        assert told.verdict is calibration.Verdict.CALIBRATED
        assert told.coverage[place] > before.coverage[place] + 0.01
        assert abs(told.coverage[place] - 0.9) < abs(before.coverage[place] - 0.9) + 0.01


def test_attempts_under_way_are_told_without_their_boots() -> None:
    def attempt(run_id: str, **changes: object):
        values = {"state": AttemptState.DISPATCHED, "site": "cloud-eu", "offer": "od", "started_at": AT} | changes
        return attempt_record(run_id, **values)

    attempts = (
        attempt("booted"),
        attempt("boots", started_at=AT + 950.0),
        attempt("taker", permit=permit("taker", cluster_lease="warm"), started_at=AT + 950.0),
        attempt("reserved", state=AttemptState.RESERVED),
        attempt("unknown"),
    )
    work = dict.fromkeys(("booted", "boots", "taker", "reserved"), (KIND, 7.0))
    loads = (OfferLoad("cloud-eu", "od", (), None, None, 10.0, 0.5),)
    found = underway_of(attempts, work, loads, (EU,), AT + 1000.0)
    assert [(each.begun_at - AT, each.so_far_s) for each in found] == [(110.0, 890.0), (960.0, 40.0)]
    assert {(each.kind, each.units, each.device) for each in found} == {(KIND, 7.0, "gpu-sim")}
    measured = (replace(loads[0], boot_s=30.0),)
    assert [each.so_far_s for each in underway_of(attempts[:1], work, measured, (EU,), AT + 1000.0)] == [960.0]

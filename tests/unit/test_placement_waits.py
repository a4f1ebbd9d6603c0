"""A wait for others' devices is as uncertain as their ends: deadlines are held against both together."""

from __future__ import annotations

import math
import random

import pytest

from infra.core.errors import InputError
from infra.core.placement.decide import decide
from infra.core.placement.decision import Outcome, ReasonCode
from infra.core.placement.fitting import OVERDUE_S, release_of
from infra.core.placement.queue import entry_of
from infra.core.placement.snapshot import OfferLoad, Release, Snapshot
from infra.core.placement.uncertainty import HIGH, NORMALS
from tests.unit.placement_world import HOUR_S, NOW_AT, candidate, codes, high_s, params, request, snapshot

BACK_S, LATE_S, RUN_S = 600.0, 1200.0, 1000.0


def awaiting(late_s: float | None) -> Snapshot:
    """The owned devices come back after ten minutes, and with nine of ten after so long."""
    release = Release(NOW_AT + BACK_S, 2, None if late_s is None else NOW_AT + late_s)
    return snapshot(loads=(OfferLoad("onprem", "owned", (release,)),))


def together_s(late_s: float) -> float:
    """Seconds until the end of a run of ``RUN_S`` that nine of ten keep: both excesses at right angles."""
    return BACK_S + RUN_S + math.hypot(late_s - BACK_S, 0.5 * RUN_S)


def test_who_may_well_be_late_is_not_waited_for_under_a_deadline() -> None:
    tight = request(deadline_at=NOW_AT + BACK_S + high_s(RUN_S) + 50.0)
    certain, uncertain = decide(tight, awaiting(None)), decide(tight, awaiting(LATE_S))
    assert (certain.outcome, certain.chosen.site) == (Outcome.WAIT, "onprem")
    assert (uncertain.outcome, uncertain.chosen.site) == (Outcome.RUN, "cloud-eu")
    assert codes(uncertain, "onprem", "owned") == [ReasonCode.CAPACITY_BUSY, ReasonCode.DEADLINE_MISSED]
    missed = params(uncertain, "onprem", "owned", ReasonCode.DEADLINE_MISSED)
    assert missed["finish_high_at"] == pytest.approx(NOW_AT + together_s(LATE_S))
    assert 0.8 < missed["probability"] < 0.9


def test_with_time_to_spare_it_is_waited_for_and_costs_the_same() -> None:
    loose = request(deadline_at=NOW_AT + together_s(LATE_S) + 1.0)
    certain, uncertain = (decide(loose, awaiting(late_s)).chosen for late_s in (None, LATE_S))
    assert (uncertain.site, uncertain.start_at) == ("onprem", NOW_AT + BACK_S)
    assert uncertain.finish_at == certain.finish_at
    assert uncertain.finish_high_at == pytest.approx(NOW_AT + together_s(LATE_S))
    assert uncertain.deadline_probability == pytest.approx(0.9, abs=1e-3)
    assert uncertain.deadline_probability < certain.deadline_probability
    assert uncertain.time_high.wait_s == pytest.approx(LATE_S)
    assert (uncertain.cost, uncertain.cap_micro) == (certain.cost, certain.cap_micro)


def test_the_latest_start_is_that_of_a_run_that_no_longer_waits() -> None:
    loose = request(deadline_at=NOW_AT + 2 * HOUR_S)
    latest = [
        entry_of("run", NOW_AT, loose, world, decide(loose, world)).latest_start_at
        for world in (awaiting(None), awaiting(LATE_S))
    ]
    assert latest == pytest.approx([NOW_AT + 2 * HOUR_S - high_s(RUN_S)] * 2)


@pytest.mark.parametrize(("late_s", "seed"), [(900.0, 1), (1200.0, 2), (2400.0, 3)])
def test_nine_of_ten_end_by_the_instant_that_is_told(late_s: float, seed: int) -> None:
    generator, chosen = random.Random(seed), decide(request(), awaiting(late_s)).chosen
    own, other = math.log(1.5) / NORMALS[HIGH], math.log(late_s / BACK_S) / NORMALS[HIGH]
    kept = sum(
        BACK_S * generator.lognormvariate(0.0, other) + RUN_S * generator.lognormvariate(0.0, own) <= candidate_finish_s
        for candidate_finish_s in [chosen.finish_p90_at - NOW_AT] * 20_000
    )
    assert kept / 20_000 == pytest.approx(0.9, abs=0.02)


def test_free_devices_make_nobody_wait_for_the_others() -> None:
    release = Release(NOW_AT + BACK_S, 1, NOW_AT + LATE_S)
    chosen = decide(request(), snapshot(loads=(OfferLoad("onprem", "owned", (release,)),))).chosen
    assert (chosen.start_at, chosen.finish_high_at) == (NOW_AT, NOW_AT + high_s(RUN_S))


def test_a_later_start_is_as_much_more_certain() -> None:
    """Of two devices that are needed, one is late; the start waits for the other one anyway."""
    releases = (Release(NOW_AT + BACK_S, 1, NOW_AT + LATE_S), Release(NOW_AT + 2 * BACK_S, 1, NOW_AT + 2 * BACK_S))
    wide = request(resources=request().resources.__class__(2), units=1900.0)
    decision = decide(wide, snapshot(loads=(OfferLoad("onprem", "owned", releases),)))
    owned = candidate(decision, "onprem", "owned")
    assert owned.start_at == NOW_AT + 2 * BACK_S
    assert owned.time_high.wait_s == owned.time.wait_s


@pytest.mark.parametrize(
    ("past_s", "back_s", "late_s"),
    [
        pytest.param(-1e9, 0.0, 100.0, id="long before its end it is as it was told"),
        pytest.param(0.0, OVERDUE_S, 128.3, id="at its expected end half of the cases are ruled out"),
        pytest.param(100.0, 100.0 + OVERDUE_S, 181.5, id="later than nine of ten"),
        pytest.param(1e6, 1e6 + OVERDUE_S, 1e6 + OVERDUE_S, id="the estimate was wrong"),
    ],
)
def test_what_is_overdue_is_late_again(past_s: float, back_s: float, late_s: float) -> None:
    release = release_of(NOW_AT, NOW_AT + 100.0, 1, NOW_AT + past_s)
    assert release.at == NOW_AT + back_s
    assert release.late_at == pytest.approx(NOW_AT + late_s, abs=0.1)


def test_nothing_is_said_where_nobody_knows() -> None:
    assert release_of(NOW_AT + 9.0, None, 2, NOW_AT) == Release(NOW_AT + 9.0, 2)


def test_nine_of_ten_cannot_be_back_before_half_are() -> None:
    with pytest.raises(InputError, match="BAD_TIME"):
        Release(NOW_AT, 1, NOW_AT - 1.0)

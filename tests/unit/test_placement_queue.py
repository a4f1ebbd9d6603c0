"""The queue: who has a place in it, what is kept for them, and whose turn it is after an event."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from infra.core.inventory import Purchase, Site
from infra.core.placement.decide import decide
from infra.core.placement.decision import Outcome, ReasonCode
from infra.core.placement.fitting import first_fit, fits, free_spans
from infra.core.placement.queue import DECIDING_S, entry_of, last_look_at, replan, to_respect, wait_price
from infra.core.placement.snapshot import OfferLoad, QueueEntry, Release
from tests.unit.placement_world import HOUR_S, NOW_AT, ONPREM, USD, busy, offer, on_docs, request, site, snapshot

MINUTE_S = 60.0


def lone() -> Site:
    return site("onprem", "DE", offer("owned", Purchase.OWNED, 0, capacity=1))


def entry(run_id: str, start_at: float, **changes: object) -> QueueEntry:
    waits = QueueEntry(run_id, "vision", "onprem", "owned", 1, NOW_AT - 60.0, 600.0, start_at)
    return replace(waits, **changes)


@pytest.mark.parametrize(
    ("free", "releases", "kept", "needed", "spans"),
    [
        pytest.param(2, [], [], 1, ((0, math.inf),), id="free"),
        pytest.param(0, [(10, 1)], [], 1, ((10, math.inf),), id="comes back"),
        pytest.param(0, [(10, 1), (20, 1)], [], 2, ((20, math.inf),), id="both come back"),
        pytest.param(0, [(10, 1)], [], 2, (), id="never enough"),
        pytest.param(1, [], [(5, 9, 1)], 1, ((0, 5), (9, math.inf)), id="before and after a kept start"),
        pytest.param(1, [], [(-4, 6, 1)], 1, ((10, math.inf),), id="a kept start that should have begun begins now"),
        pytest.param(1, [(5, 1)], [(5, 9, 1)], 1, ((0, math.inf),), id="what comes back is what is kept"),
    ],
)
def test_when_devices_are_free(free, releases, kept, needed, spans):
    assert free_spans(free, releases, kept, needed, 0.0) == spans


def test_a_start_fits_only_where_it_can_end():
    spans = ((0.0, 5.0), (9.0, math.inf))
    assert [first_fit(spans, 5.0), first_fit(spans, 5.1), first_fit((), 1.0)] == [0.0, 9.0, None]
    assert [fits(spans, 1.0, 4.0), fits(spans, 1.0, 4.1), fits(spans, 12.0, 1e9)] == [True, False, True]


def test_a_run_goes_before_a_kept_start_only_when_it_ends_in_time():
    world = snapshot(sites=(lone(),), queue=(entry("waits", NOW_AT + HOUR_S),))
    before, after = decide(on_docs(units=100.0), world), decide(on_docs(units=100_000.0), world)
    assert (before.outcome, before.chosen.start_at) == (Outcome.RUN, NOW_AT)
    assert (after.outcome, after.wait_until_at) == (Outcome.WAIT, NOW_AT + HOUR_S + 600.0)


def test_a_kept_start_is_a_reason_with_the_number_of_those_who_wait():
    world = snapshot(sites=(lone(),), queue=(entry("waits", NOW_AT),))
    decision = decide(on_docs(fallbacks=()), world)
    (reason,) = [each for each in decision.candidates[0].reasons if each.code is ReasonCode.CAPACITY_BUSY]
    assert dict(reason.params)["queued"] == 1


def test_a_wait_is_weighed_with_its_price():
    world = snapshot(loads=(busy(),))
    patient, hasty = decide(on_docs(), world), decide(on_docs(wait_micro_per_hour=10 * USD), world)
    assert (patient.outcome, patient.chosen.site) == (Outcome.WAIT, "onprem")
    assert hasty.outcome is Outcome.RUN
    assert hasty.chosen.site != "onprem"
    waiting = next(each for each in hasty.candidates if each.site == "onprem")
    assert waiting.wait_micro == 10 * USD
    assert waiting.cost.total_micro == 0


def test_the_price_of_waiting_doubles_every_ten_points():
    assert [wait_price(100, 50), wait_price(100, 60), wait_price(100, 40), wait_price(0, 90)] == [100, 200, 50, 0]


def test_a_run_that_waits_for_devices_has_a_place_and_what_it_would_cost_elsewhere():
    wanted = on_docs(deadline_at=NOW_AT + 9 * HOUR_S, wait_micro_per_hour=1)
    world = snapshot(loads=(busy(),))
    decision = decide(wanted, world)
    found = entry_of("run", NOW_AT - 5.0, wanted, world, decision)
    assert found is not None
    elsewhere = min(each.cost.total_micro for each in decision.candidates if each.site != "onprem")
    assert (found.site, found.start_at, found.arrived_at) == ("onprem", NOW_AT + HOUR_S, NOW_AT - 5.0)
    assert found.burst_micro == elsewhere > 0
    assert found.latest_start_at == wanted.deadline_at - (decision.chosen.finish_high_at - decision.chosen.start_at)
    assert entry_of("run", NOW_AT, wanted, snapshot(), decide(wanted, snapshot())) is None, "it does not wait"


def planned(entries, capacity, releases=()):
    onprem = site("onprem", "DE", offer("owned", Purchase.OWNED, 0, capacity=capacity))
    loads = (OfferLoad("onprem", "owned", tuple(releases)),) if releases else ()
    return replan(entries, loads, (onprem,), NOW_AT)


def test_the_first_in_the_queue_is_due_when_a_device_is_free():
    first, second = entry("b-first", NOW_AT + HOUR_S), entry("a-second", NOW_AT + HOUR_S, arrived_at=NOW_AT - 10.0)
    plan = planned((second, first), 1)
    assert plan.due == ("b-first",)
    starts = {each.run_id: each.start_at for each in plan.entries}
    assert starts == {"b-first": NOW_AT, "a-second": NOW_AT + 600.0}
    assert planned((first, second), 1) == plan, "the order in which they are listed says nothing"


def test_a_wide_run_keeps_its_devices_and_a_short_one_goes_before_it():
    release = Release(NOW_AT + HOUR_S, 2)
    wide = entry("wide", NOW_AT, devices=4)
    short = entry("short", NOW_AT, arrived_at=NOW_AT - 5.0, runtime_s=30 * MINUTE_S)
    long = entry("long", NOW_AT, arrived_at=NOW_AT - 4.0, runtime_s=3 * HOUR_S)
    plan = planned((wide, short, long), 4, (release,))
    starts = {each.run_id: each.start_at for each in plan.entries}
    assert starts == {"wide": NOW_AT + HOUR_S, "short": NOW_AT, "long": NOW_AT + HOUR_S + 600.0}
    assert plan.due == ("short",)


def test_higher_priority_goes_first_and_waiting_has_its_price():
    low = entry("low", NOW_AT, priority=30)
    high = entry("high", NOW_AT, priority=70, arrived_at=NOW_AT - 50.0)
    assert planned((low, high), 1).due == ("high",)
    release = Release(NOW_AT + 5 * HOUR_S, 1)
    hasty = entry("hasty", NOW_AT, wait_micro_per_hour=2_000_000, burst_micro=1_000_000)
    assert planned((hasty,), 1, (release,)).due == ("hasty",), "five hours are worth more than the cloud"
    patient = replace(hasty, run_id="patient", wait_micro_per_hour=100_000)
    assert planned((patient,), 1, (release,)).due == ()


def test_a_run_respects_those_before_it_in_its_queue_and_not_those_behind():
    first, second = entry("first", NOW_AT, position=0), entry("second", NOW_AT, position=1)
    elsewhere = entry("elsewhere", NOW_AT, offer="other", position=7)
    queue = (first, second, elsewhere)
    assert to_respect(queue, "first") == (elsewhere,)
    assert to_respect(queue, "second") == (first, elsewhere)
    assert to_respect(queue, "newcomer") == queue


def test_whose_turn_it_is_starts_also_when_it_comes_a_moment_late():
    first, second = entry("first", NOW_AT), entry("second", NOW_AT, arrived_at=NOW_AT - 5.0)
    plan = planned((first, second), 1)
    assert plan.due == ("first",)
    kept = to_respect(plan.entries, "first")
    late = snapshot(now_at=NOW_AT + 20.0, sites=(lone(),), queue=kept)
    assert decide(on_docs(units=600.0), late).outcome is Outcome.RUN


def test_a_run_whose_devices_are_sold_no_more_decides_anew():
    assert replan((entry("waits", NOW_AT),), (), (), NOW_AT).due == ("waits",)


def test_a_run_with_a_deadline_is_asked_once_more_while_it_can_still_go_elsewhere():
    limited = request(deadline_at=NOW_AT + 2 * HOUR_S)
    world = snapshot(loads=(busy(HOUR_S / 2),))
    decision = decide(limited, world)
    waits = entry_of("waits", NOW_AT, limited, world, decision)
    quickest = min(
        each.finish_high_at - NOW_AT for each in decision.candidates[1:] if each.feasible and each.start_at == NOW_AT
    )
    assert waits.decide_by_at == NOW_AT + 2 * HOUR_S - quickest
    last_at = waits.decide_by_at - DECIDING_S
    held = OfferLoad("onprem", "owned", (Release(NOW_AT + 2 * HOUR_S, 2),))
    patient = replace(waits, latest_start_at=None)
    times = (last_at - 0.1, last_at, last_at + 9.9, last_at + 10.0)
    asked = [replan((patient,), (held,), world.sites, at).due for at in times]
    assert asked == [(), ("waits",), ("waits",), ()]
    free_too_late = replace(world, now_at=last_at, loads=(held,))
    assert decide(limited, free_too_late).outcome is Outcome.RUN


def test_who_has_no_deadline_or_no_other_place_has_no_last_chance():
    world = snapshot(loads=(busy(HOUR_S / 2),))
    endless, limited = on_docs(), request(deadline_at=NOW_AT + 2 * HOUR_S)
    lonely = replace(world, sites=(ONPREM,))
    for wish, where in ((endless, world), (limited, lonely)):
        waits = entry_of("waits", NOW_AT, wish, where, decide(wish, where))
        assert (waits.decide_by_at, last_look_at(waits)) == (None, None)

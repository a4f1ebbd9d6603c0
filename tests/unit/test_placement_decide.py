"""Which offer wins, when, for how much: the decision and its parts, worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from infra.core.budget import Balance
from infra.core.errors import InputError
from infra.core.inventory import Purchase, TrustZone
from infra.core.placement.candidates import CAP_HEADROOM, EXTENSION_S
from infra.core.placement.decide import ENGINE, decide
from infra.core.placement.decision import CostParts, Outcome, ReasonCode, TimeParts
from infra.core.placement.estimate import CHECKPOINT_INTERVAL_S, speed_up
from infra.core.placement.snapshot import Health, OfferLoad, Rate, Release, SiteHealth
from infra.core.pricing import Price, PriceWindow
from infra.core.workload import DatasetRef, Fallback, Resources, WorkKind
from tests.unit.placement_world import (
    DIGITS,
    DOCS,
    EU,
    HOUR_S,
    NOW_AT,
    ONPREM,
    US,
    USD,
    busy,
    candidate,
    codes,
    high_s,
    offer,
    on_docs,
    params,
    request,
    site,
    snapshot,
)


def choice(decision):
    return decision.outcome, decision.chosen and (decision.chosen.site, decision.chosen.offer)


def test_free_owned_devices_win_over_paid_ones():
    decision = decide(request(), snapshot())
    assert choice(decision) == (Outcome.RUN, ("onprem", "owned"))
    assert decision.chosen.cost == CostParts()
    assert decision.chosen.cap_micro == 0
    assert decision.chosen.time == TimeParts(compute_s=1000.0)
    assert decision.chosen.finish_at == NOW_AT + 1000.0
    assert decision.chosen.finish_high_at == NOW_AT + 1500.0
    assert decision.wait_until_at is None
    assert decision.engine == ENGINE


def test_with_time_a_run_waits_for_owned_devices():
    decision = decide(request(), snapshot(loads=(busy(),)))
    assert choice(decision) == (Outcome.WAIT, ("onprem", "owned"))
    assert decision.wait_until_at == NOW_AT + HOUR_S
    assert decision.chosen.time.wait_s == HOUR_S


def test_a_tight_deadline_bursts_to_the_allowed_cloud_although_another_is_cheaper():
    decision = decide(request(deadline_at=NOW_AT + 2000.0), snapshot(loads=(busy(),)))
    assert choice(decision) == (Outcome.RUN, ("cloud-eu", "spot"))
    assert codes(decision, "onprem", "owned") == [ReasonCode.CAPACITY_BUSY, ReasonCode.DEADLINE_MISSED]
    assert codes(decision, "cloud-us", "od") == [ReasonCode.RESIDENCY_EXCLUDED]
    assert codes(decision, "cloud-eu", "od") == [ReasonCode.NOT_CHEAPEST]


def test_public_data_goes_to_the_cheaper_country():
    decision = decide(on_docs(purchases=(Purchase.ON_DEMAND,)), snapshot())
    assert choice(decision) == (Outcome.RUN, ("cloud-us", "od"))


def test_no_budget_waits_for_owned_devices():
    decision = decide(on_docs(budget_micro=0), snapshot(loads=(busy(),)))
    assert choice(decision) == (Outcome.WAIT, ("onprem", "owned"))
    assert codes(decision, "cloud-us", "od") == [ReasonCode.BUDGET_RUN_EXCEEDED]


def test_without_leave_to_wait_a_paid_offer_that_is_free_wins():
    decision = decide(request(fallbacks=()), snapshot(loads=(busy(),)))
    assert choice(decision) == (Outcome.RUN, ("cloud-eu", "spot"))
    assert params(decision, "onprem", "owned", ReasonCode.CAPACITY_BUSY) == {
        "free": 0,
        "needed": 1,
        "free_at": NOW_AT + HOUR_S,
    }


def test_cost_and_time_by_part_on_demand():
    """4 GB over 1 Gbit/s take 32 s; the machine costs $4 an hour from its order to the end."""
    decision = decide(request(), snapshot())
    told = candidate(decision, "cloud-eu", "od")
    assert told.time == TimeParts(boot_s=100.0, transfer_s=32.0, compute_s=1000.0)
    total = math.ceil(4 * USD * 1132.0 / HOUR_S)
    boot = math.ceil(4 * USD * 100.0 / HOUR_S)
    assert told.cost == CostParts(compute_micro=total - boot, boot_micro=boot)
    high = math.ceil(4 * USD * high_s(100.0, 32.0, 1000.0) / HOUR_S)
    assert told.cap_micro == math.ceil(high * 110 / 100) + math.ceil(4 * USD * EXTENSION_S / HOUR_S)
    assert told.cost_high_micro == told.cost_p90_micro == high
    assert told.finish_high_at == told.finish_p90_at == pytest.approx(NOW_AT + high_s(100.0, 32.0, 1000.0))
    assert told.time_high == TimeParts(boot_s=150.0, transfer_s=48.0, compute_s=1500.0)


def test_egress_is_paid_to_the_site_that_the_data_leaves():
    there = replace(DIGITS, copies=("cloud-eu",))
    decision = decide(request(), snapshot(datasets=(there, DOCS)))
    assert candidate(decision, "onprem", "owned").cost == CostParts(egress_micro=4 * 90_000)
    assert candidate(decision, "onprem", "owned").cap_micro == 4 * 90_000
    assert candidate(decision, "cloud-eu", "od").cost.egress_micro == 0


@pytest.mark.parametrize(
    ("copies", "residency", "egress_micro"),
    [
        (("cloud-eu", "cloud-us"), ("PUBLIC",), 4 * 80_000),
        (("cloud-eu", "cloud-us"), ("EU",), 4 * 90_000),  # the cheaper copy lies where it may not
        (("cloud-eu", "onprem"), ("PUBLIC",), 0),
    ],
)
def test_the_cheapest_allowed_copy_is_read(copies, residency, egress_micro):
    moved = replace(DIGITS, copies=copies, residency=residency)
    decision = decide(request(), snapshot(datasets=(moved, DOCS)))
    assert candidate(decision, "onprem", "owned").cost.egress_micro == egress_micro


def test_a_copy_at_a_site_that_is_down_cannot_be_read():
    moved = replace(DIGITS, copies=("cloud-us", "cloud-eu"), residency=("PUBLIC",))
    down = (SiteHealth("cloud-us", Health.DOWN, "no heartbeat"),)
    decision = decide(request(), snapshot(datasets=(moved, DOCS), health=down))
    assert candidate(decision, "onprem", "owned").cost.egress_micro == 4 * 90_000


def test_spot_pays_for_the_expected_rework():
    """0.36 interruptions an hour over 1,032 s are 0.1032, each half a checkpoint interval and a boot."""
    told = candidate(decide(request(), snapshot()), "cloud-eu", "spot")
    rework_s = 1032.0 * 0.36 / HOUR_S * (CHECKPOINT_INTERVAL_S / 2 + 100.0)
    assert told.time.rework_s == pytest.approx(rework_s)
    assert told.cost.rework_micro == pytest.approx(2 * USD * rework_s / HOUR_S, abs=1)


def test_spot_without_checkpoints_starts_again_each_time():
    told = candidate(decide(request(checkpointed=False), snapshot()), "cloud-eu", "spot")
    rate = 0.36 / HOUR_S
    assert told.time.rework_s == pytest.approx((math.exp(rate * 1032.0) - 1) * (1 / rate + 100.0) - 1032.0)
    # A reclaim of any device interrupts all of them.
    four = candidate(decide(request(resources=Resources(4)), snapshot()), "cloud-eu", "spot")
    work_s = 1000.0 / speed_up(4) + 32.0
    assert four.time.rework_s == pytest.approx(work_s * 4 * 0.36 / HOUR_S * (CHECKPOINT_INTERVAL_S / 2 + 100.0))


def test_more_devices_are_faster_by_amdahl():
    two = decide(request(resources=Resources(2)), snapshot()).chosen
    assert two.time.compute_s == pytest.approx(1000.0 * (0.05 + 0.95 / 2))


def test_the_rate_of_the_device_itself_comes_before_the_reference():
    fast = site("fast", "DE", offer("x", price=1, device="gpu-x", relative_speed=4.0))
    slow_rates = (Rate(WorkKind.TRAINING, "", 0.0, 1.0, 0.0),)
    by_speed = decide(request(), snapshot(sites=(fast, ONPREM), rates=slow_rates))
    assert candidate(by_speed, "fast", "x").time.compute_s == 250.0
    measured = (*slow_rates, Rate(WorkKind.TRAINING, "gpu-x", 5.0, 0.3, 0.0))
    by_rate = decide(request(), snapshot(sites=(fast, ONPREM), rates=measured))
    assert candidate(by_rate, "fast", "x").time.compute_s == 305.0


def test_a_measured_boot_time_replaces_the_written_one():
    loads = (OfferLoad("cloud-eu", "od", boot_s=7.0),)
    assert candidate(decide(request(), snapshot(loads=loads)), "cloud-eu", "od").time.boot_s == 7.0


DOCS_HOME = site("onprem", "DE", offer("other", price=0, device="cpu", capacity=1))
"""Where the documents lie: a site whose only device is of another kind."""


class TestPriceWindows:
    """The cloud costs a tenth from 14:00 to 16:00; it is 12:00."""

    night = Price(4 * USD, windows=(PriceWindow(14 * 60, 16 * 60, 0.1),))
    cloud = site("cloud", "DE", offer("od", price=night))

    def decide(self, **changes):
        wanted = on_docs(resources=Resources(1, ("gpu-sim",)), **changes)
        return decide(wanted, snapshot(sites=(self.cloud, DOCS_HOME)))

    def test_with_time_the_run_waits_for_the_cheap_window(self):
        decision = self.decide()
        assert choice(decision) == (Outcome.WAIT, ("cloud", "od"))
        assert decision.wait_until_at == NOW_AT + 2 * HOUR_S
        assert decision.chosen.cost.total_micro == math.ceil(0.4 * USD * 1000.0 / HOUR_S)

    @pytest.mark.parametrize("changes", [{"deadline_at": NOW_AT + 2 * HOUR_S}, {"fallbacks": ()}])
    def test_without_time_or_leave_it_runs_at_the_full_price(self, changes):
        decision = self.decide(**changes)
        assert choice(decision) == (Outcome.RUN, ("cloud", "od"))
        assert decision.chosen.cost.total_micro == math.ceil(4 * USD * 1000.0 / HOUR_S)

    def test_a_run_over_the_edge_pays_both_prices(self):
        decision = self.decide(units=3 * HOUR_S, fallbacks=())
        assert decision.chosen.cost.total_micro == round((4 * 2 + 0.4) * USD)


class TestTies:
    def test_equal_cost_the_earlier_finish_wins(self):
        slow = site("a-slow", "DE", offer("o", price=0, relative_speed=0.5), zone=TrustZone.PRIVATE)
        decision = decide(request(), snapshot(sites=(slow, ONPREM)))
        assert choice(decision) == (Outcome.RUN, ("onprem", "owned"))
        assert params(decision, "a-slow", "o", ReasonCode.NOT_CHEAPEST) == {"extra_micro": 0, "later_s": 1032.0}

    def test_then_the_first_by_site_and_offer(self):
        twins = (
            site("b", "DE", offer("x", price=0), offer("w", price=0)),
            site("a", "DE", offer("z", price=0), offer("y", price=0)),
        )
        decision = decide(on_docs(), snapshot(sites=(*twins, DOCS_HOME), datasets=(replace(DOCS, copies=("onprem",)),)))
        order = [(c.site, c.offer) for c in decision.candidates]
        assert order == [("a", "y"), ("a", "z"), ("b", "w"), ("b", "x"), ("onprem", "other")]

    def test_equal_cost_waiting_loses_against_running(self):
        other = site("z-free", "DE", offer("o", price=0))
        decision = decide(on_docs(), snapshot(sites=(ONPREM, other), loads=(busy(60.0),)))
        assert choice(decision) == (Outcome.RUN, ("z-free", "o"))


class TestCapacity:
    @pytest.mark.parametrize(
        ("releases", "needed", "start_s"),
        [
            ((), 2, 0.0),
            (((600.0, 1),), 1, 0.0),
            (((600.0, 1),), 2, 600.0),
            (((900.0, 1), (600.0, 1)), 1, 600.0),
            (((900.0, 1), (600.0, 1)), 2, 900.0),
            (((-50.0, 2),), 1, 60.0),  # overdue: still in use, expected back in a minute
        ],
    )
    def test_the_start_is_when_enough_devices_are_back(self, releases, needed, start_s):
        load = OfferLoad("onprem", "owned", tuple(Release(NOW_AT + at, n) for at, n in releases))
        decision = decide(request(resources=Resources(needed)), snapshot(loads=(load,)))
        assert decision.chosen.start_at == NOW_AT + start_s
        assert decision.outcome is (Outcome.WAIT if start_s else Outcome.RUN)

    def test_more_in_use_than_there_is_frees_nothing_at_first(self):
        load = OfferLoad("onprem", "owned", (Release(NOW_AT + 10, 1), Release(NOW_AT + 20, 2)))
        assert decide(request(), snapshot(loads=(load,))).chosen.start_at == NOW_AT + 20


def test_the_cap_of_a_short_run_is_a_multiple_of_its_need_and_of_any_within_the_budgets():
    here = site("cloud-eu", "DE", offer("od", Purchase.ON_DEMAND, 4 * USD))
    world = snapshot(sites=(here,), datasets=(replace(DOCS, copies=("cloud-eu",)),))
    asked = on_docs(units=10.0)
    needed = math.ceil(math.ceil(4 * USD * high_s(10.0) / HOUR_S) * 110 / 100)
    assert decide(asked, world).chosen.cap_micro == CAP_HEADROOM * needed
    assert decide(replace(asked, budget_micro=2 * needed), world).chosen.cap_micro == 2 * needed
    assert decide(replace(asked, budget_micro=needed), world).chosen.cap_micro == needed


class TestLimitsAreInclusive:
    def test_deadline(self):
        exact = request(deadline_at=NOW_AT + 1500.0, purchases=(Purchase.OWNED,))
        assert decide(exact, snapshot()).outcome is Outcome.RUN
        assert decide(replace(exact, deadline_at=NOW_AT + 1499.9), snapshot()).outcome is Outcome.INFEASIBLE

    def test_budgets(self):
        paid = request(purchases=(Purchase.ON_DEMAND,))
        cap = decide(paid, snapshot()).chosen.cap_micro - math.ceil(4 * USD * EXTENSION_S / HOUR_S)
        assert decide(replace(paid, budget_micro=cap + 1), snapshot()).chosen.cap_micro == cap + 1
        assert decide(replace(paid, budget_micro=cap), snapshot()).outcome is Outcome.RUN
        assert decide(replace(paid, budget_micro=cap - 1), snapshot()).outcome is Outcome.INFEASIBLE
        exact = snapshot(balances=(Balance("vision", "2026-11", cap + 7, reserved_micro=3, settled_micro=4),))
        short = snapshot(balances=(Balance("vision", "2026-11", cap + 7, reserved_micro=4, settled_micro=4),))
        assert decide(paid, exact).outcome is Outcome.RUN
        assert decide(paid, short).outcome is Outcome.INFEASIBLE


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"deadline_at": NOW_AT}, "DEADLINE_PAST", "2026-11-24T12:00:00Z"),
        ({"tenant": "nobody"}, "UNKNOWN_TENANT", "poor, vision"),
        ({"datasets": (DatasetRef("digits", "v9"),)}, "UNKNOWN_DATASET", "digits@v1, docs@v1"),
        ({"resources": Resources(1, ("gpu-sim", "gpu-moon"))}, "UNKNOWN_DEVICE", "gpu-sim"),
    ],
)
def test_input_errors_name_the_valid_options(changes, code, named):
    with pytest.raises(InputError) as raised:
        decide(request(**changes), snapshot())
    assert raised.value.code == code
    assert named in raised.value.remedy
    assert raised.value.exit_status == 2


def test_last_months_balance_is_no_balance():
    with pytest.raises(InputError, match="UNKNOWN_TENANT"):
        decide(request(), snapshot(balances=(Balance("vision", "2026-10", USD),)))


def test_a_snapshot_that_says_something_twice_is_refused():
    with pytest.raises(InputError, match="DUPLICATE_ENTRY"):
        decide(request(), snapshot(sites=(ONPREM, EU, EU)))


def test_no_offer_at_all_is_infeasible_without_a_reason():
    decision = decide(request(datasets=()), snapshot(sites=()))
    assert (decision.outcome, decision.candidates, decision.counterfactuals) == (Outcome.INFEASIBLE, (), ())


def test_candidates_are_ordered_chosen_then_feasible_then_nearest():
    decision = decide(request(), snapshot(sites=(US, EU, ONPREM)))
    order = [(c.site, c.offer, c.feasible) for c in decision.candidates]
    assert order == [
        ("onprem", "owned", True),
        ("cloud-eu", "spot", True),
        ("cloud-eu", "od", True),
        ("cloud-us", "od", False),
    ]


def test_waiting_is_only_told_to_those_who_may():
    assert Fallback.WAIT in request().fallbacks
    decision = decide(request(fallbacks=(), purchases=(Purchase.OWNED,)), snapshot(loads=(busy(),)))
    assert decision.outcome is Outcome.INFEASIBLE


def test_devices_that_are_overdue_do_not_hide_others_that_come_back_sooner() -> None:
    overdue, soon = Release(NOW_AT - 5.0, 1), Release(NOW_AT + 30.0, 1)
    loads = (OfferLoad("onprem", "owned", (overdue, soon)),)
    decision = decide(request(deadline_at=NOW_AT + 30.0 + high_s(1000.0)), snapshot(sites=(ONPREM,), loads=loads))
    assert decision.outcome is Outcome.WAIT
    assert decision.wait_until_at == NOW_AT + 30.0

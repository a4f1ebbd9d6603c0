"""Where the spot policy decides a placement, what it is told, and what a running attempt is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.core.canonical import canonical
from infra.core.inventory import Purchase
from infra.core.placement.decide import decide
from infra.core.placement.decision import Outcome, ReasonCode
from infra.core.placement.snapshot import Snapshot
from infra.core.placement.spot_choice import Ruling, Standpoint, rule
from infra.core.placement.world import World
from infra.core.spot.guard import Choice, can_risk, ticks_left, ticks_needed
from infra.core.spot.sightings import SpotCapacity
from infra.core.workload import WorkloadRequest
from tests.unit.placement_world import (
    EU,
    HOUR_S,
    NOW_AT,
    USD,
    busy,
    codes,
    offer,
    on_docs,
    params,
    request,
    site,
    snapshot,
)

UP = SpotCapacity("cloud-eu", "spot", True, NOW_AT - 2 * HOUR_S, NOW_AT - 60.0, 3.0, 0.5)
GONE = replace(UP, available=False, since_at=NOW_AT - 1.0, seen_at=NOW_AT - 1.0)
FULL = (busy(1e7),)
"""The owned devices are in use for longer than anybody waits."""
ON_SPOT = Standpoint("cloud-eu", "spot", Purchase.SPOT)
ON_DEMAND = Standpoint("cloud-eu", "od", Purchase.ON_DEMAND)


def world(spot: tuple[SpotCapacity, ...] = (UP,), **changes: object) -> Snapshot:
    return snapshot(loads=FULL, spot=spot) if not changes else snapshot(**{"loads": FULL, "spot": spot} | changes)


def due(after_s: float, **changes: object) -> WorkloadRequest:
    return request(deadline_at=NOW_AT + after_s, **changes)


def ruled(asked: WorkloadRequest, seen: Snapshot, running: Standpoint | None = None) -> Ruling:
    ruling = rule(World.of(asked, seen), running)
    assert ruling is not None
    return ruling


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        (due(2400), world(())),
        (request(), world()),
        (due(2400, checkpointed=False), world()),
        (due(2400, purchases=(Purchase.OWNED, Purchase.SPOT)), world()),
        (due(2400, purchases=(Purchase.OWNED, Purchase.ON_DEMAND)), world()),
        (due(2400, budget_micro=1), world()),
    ],
)
def test_without_spot_and_on_demand_to_choose_from_nothing_changes(asked: WorkloadRequest, seen: Snapshot) -> None:
    assert rule(World.of(asked, seen)) is None
    without = replace(seen, spot=())
    assert canonical(decide(asked, seen)) == canonical(decide(asked, without))


def test_spot_that_is_there_is_taken_while_the_deadline_allows_for_its_loss() -> None:
    decision = decide(due(2400), world())
    assert (decision.outcome, decision.chosen.offer) == (Outcome.RUN, "spot")
    told = params(decision, "cloud-eu", "od", ReasonCode.SPOT_POLICY)
    assert told["choice"] == "spot"
    assert told["forced"] == 0
    assert told["expected_micro"] > told["chosen_micro"] > 0


def test_the_guard_forces_on_demand_where_the_plain_rule_would_take_spot() -> None:
    asked = due(1800)
    assert decide(asked, world(())).chosen.offer == "spot"
    decision = decide(asked, world())
    assert (decision.outcome, decision.chosen.offer) == (Outcome.RUN, "od")
    assert params(decision, "cloud-eu", "spot", ReasonCode.SPOT_POLICY)["forced"] == 1


def test_a_pause_waits_for_capacity_that_has_just_gone() -> None:
    decision = decide(due(3600), world((GONE,)))
    assert (decision.outcome, decision.chosen.offer) == (Outcome.WAIT, "spot")
    assert decision.wait_until_at == decision.chosen.start_at == NOW_AT + 75.0
    assert codes(decision, "cloud-eu", "od") == [ReasonCode.SPOT_POLICY]
    impatient = decide(due(3600, fallbacks=()), world((GONE,)))
    assert (impatient.outcome, impatient.chosen.offer) == (Outcome.RUN, "od")
    dear = decide(due(3600, wait_micro_per_hour=500 * USD), world((GONE,)))
    assert (dear.outcome, dear.chosen.offer) == (Outcome.RUN, "od")


def test_owned_devices_are_taken_when_free_and_waited_for_only_as_long_as_the_guard_allows() -> None:
    assert decide(due(3600), world(loads=())).chosen.offer == "owned"
    waits = decide(due(3600), world(loads=(busy(1200.0),)))
    assert (waits.outcome, waits.chosen.offer, waits.wait_until_at) == (Outcome.WAIT, "owned", NOW_AT + 1200.0)
    # They come back so late that on-demand capacity would be too late if they did not come back after all.
    asked = due(3600, deadline_probability=0.51)
    late = decide(asked, world(loads=(busy(2100.0),)))
    assert (late.outcome, late.chosen.offer, late.chosen.start_at) == (Outcome.WAIT, "owned", NOW_AT + 2100.0)
    assert late.wait_until_at < late.chosen.start_at


def test_of_several_zones_the_one_that_pays_is_taken() -> None:
    west = site("cloud-west", "FR", offer("spot", Purchase.SPOT, 1_900_000, boot_s=100.0, interruptions_per_hour=0.36))
    sites = (*snapshot().sites, west)
    gone = replace(GONE, site="cloud-west")
    both = decide(due(2400), world((UP, replace(UP, site="cloud-west")), sites=sites))
    assert both.chosen.site == "cloud-west"
    assert decide(due(2400), world((UP, gone), sites=sites)).chosen.site == "cloud-eu"
    home = decide(due(2400, residency=("DE",)), world((UP, replace(UP, site="cloud-west")), sites=sites))
    assert home.chosen.site == "cloud-eu"
    assert codes(home, "cloud-west", "spot") == [ReasonCode.RESIDENCY_EXCLUDED]


def test_the_order_of_the_snapshot_does_not_matter_and_nothing_is_said_twice() -> None:
    asked, other = due(2400), replace(UP, site="cloud-us")
    one, two = (world(spot) for spot in ((UP, other), (other, UP)))
    assert canonical(decide(asked, one)) == canonical(decide(asked, two))
    with pytest.raises(Exception, match="DUPLICATE_ENTRY"):
        decide(asked, world((UP, UP)))


def test_short_and_long_work_are_decided_about_alike() -> None:
    for units, deadline_s in ((12.0, 475.0), (1000.0, 2400.0), (36_000.0, 90_000.0)):
        decision = decide(on_docs(units=units, deadline_at=NOW_AT + deadline_s), world())
        assert (decision.outcome, decision.chosen.offer) == (Outcome.RUN, "spot")


def test_a_running_attempt_goes_on_until_the_guard_forces_it_off_spot() -> None:
    seen = world((replace(UP, seen_at=NOW_AT),))
    moved_at = None
    for deadline_s in range(2600, 1500, -20):
        ruling = ruled(due(float(deadline_s)), seen, ON_SPOT)
        if ruling.choice is not Choice.SPOT:
            moved_at = deadline_s
            break
    assert moved_at is not None
    assert (ruling.choice, ruling.forced, ruling.candidate.offer) == (Choice.ON_DEMAND, True, "od")
    # What is left at that instant is enough for on-demand capacity, with a start and what a start loses.
    assert ruling.candidate.finish_high_at <= NOW_AT + moved_at


def test_a_running_attempt_moves_only_where_it_pays() -> None:
    seen = world((replace(UP, seen_at=NOW_AT),))
    assert ruled(due(3600.0), seen, ON_DEMAND).choice is Choice.SPOT
    nearly_done = due(3600.0, units=60.0)
    assert ruled(nearly_done, seen, ON_DEMAND).choice is Choice.ON_DEMAND
    # Capacity that only may be there is no reason to stop what runs.
    assert ruled(due(3600.0), world((GONE,)), ON_DEMAND).choice is Choice.ON_DEMAND
    free = replace(seen, loads=())
    assert ruled(due(3600.0), free, ON_SPOT).choice is Choice.OWNED


def test_where_it_runs_is_cheaper_than_to_start_there() -> None:
    seen = world((replace(UP, seen_at=NOW_AT),))
    asked = due(2600.0)
    goes_on, starts = ruled(asked, seen, ON_SPOT), ruled(asked, seen)
    assert goes_on.compared["cloud-eu", "spot"] < starts.compared["cloud-eu", "spot"]


def test_dear_spot_is_left_out() -> None:
    dear = replace(
        EU,
        pools=(
            replace(
                EU.pools[0],
                offers=(EU.pools[0].offers[0], replace(EU.pools[0].offers[1], price=EU.pools[0].offers[0].price)),
            ),
        ),
    )
    assert rule(World.of(due(2400), world(sites=(snapshot().sites[0], dear)))) is None


def test_the_guards_arithmetic_is_the_policys() -> None:
    """The job that is made of the candidates is one that on-demand capacity can do in time."""
    from infra.core.placement.spot_choice import _field

    for deadline_s in (1700.0, 2400.0, 3600.0):
        field = _field(World.of(due(deadline_s), world()), None, None)
        job = field.job
        assert job.total_h <= job.deadline_h
        left = ticks_left(job, 0.0)
        spot = rule(World.of(due(deadline_s), world())).compared.get(("cloud-eu", "spot"))
        assert (spot is not None) == can_risk(job, job.total_h, job.overhead_h, left)
        if spot is not None:
            assert ticks_needed(job.total_h + job.overhead_h, job.tick_h) <= left

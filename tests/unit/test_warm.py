"""Warm clusters: how many are wanted, how a decision sees them, and which run is given one."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from infra.adapters.reports import write_report
from infra.controller.waiting import PLAN_EVERY_S, WakeUps
from infra.core.errors import InputError
from infra.core.inventory import Cluster, Pool, Purchase
from infra.core.lifecycle import AttemptState
from infra.core.metering import ReportKind, ReportOutcome, SiteReport
from infra.core.placement.decide import decide
from infra.core.placement.decision import Outcome
from infra.core.placement.learning import Observation, learn_boots, learn_rates
from infra.core.placement.snapshot import OfferLoad, QueueEntry, Rate, Release, Snapshot
from infra.core.placement.uncertainty import ratios
from infra.core.placement.warm import Kept, WarmCluster, only_at, takers, warm_request, with_warm
from infra.core.rung import Rung
from infra.core.warm import TAKEN, WINDOW_S, WarmSetting, base_stock, wanted
from infra.core.workload import Resources, WorkKind
from infra.ports import AttemptRecord
from infra.render.replay import replayed
from tasks.attempts import conclude, settle
from tasks.entry import WAITING, EndedError
from tasks.placement import open_run, place
from tasks.run_plan import RunPlan
from tasks.running import _require_attempt_left
from tests.unit import placement_world as world
from tests.unit.placement_world import EU, NOW_AT, USD, on_docs
from tests.unit.test_spot_running import KEY
from tests.unit.test_spot_running import Control as PlayedControl

SETTING = WarmSetting("od", "vision", most=8, keep_s=600.0)
WARM_RATE = Rate(WorkKind.WARM, "", 0.0, 1.0, 0.0)
ON_DEMAND = (Purchase.ON_DEMAND,)


@pytest.mark.parametrize(
    ("arrivals", "boot_s", "expected"),
    [
        (0, 60.0, 0),
        (5, 60.0, 0),  # the next is expected in 720 s, and one idles for 600 s
        (6, 60.0, 1),  # 0.1 within a boot: P(N < 1) = 0.905
        (7, 60.0, 2),  # P(N < 1) = 0.890
        (60, 60.0, 3),  # 1 within a boot: P(N < 3) = 0.920
        (60, 120.0, 5),  # 2 within a boot: P(N < 4) = 0.857, P(N < 5) = 0.947
        (600, 60.0, 8),  # no more than allowed
        (60, 0.0, 0),  # nothing to gain
    ],
)
def test_how_many_are_wanted(arrivals: int, boot_s: float, expected: int) -> None:
    started_at = [NOW_AT - WINDOW_S * (index + 0.5) / max(arrivals, 1) for index in range(arrivals)]
    outside = [NOW_AT - WINDOW_S - 1.0, NOW_AT + 1.0]
    assert wanted(SETTING, [*started_at, *outside], boot_s, NOW_AT) == expected


def test_the_stock_is_the_smallest_that_serves_nine_of_ten() -> None:
    for mean in (0.0, 0.05, 0.5, 1.0, 3.7, 20.0):
        number = base_stock(mean)

        def below(count: int, mean: float = mean) -> float:
            return sum(math.exp(-mean) * mean**k / math.factorial(k) for k in range(count))

        assert below(number) >= 0.9 > below(number - 1)
    assert base_stock(1e6) == 64


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"devices": 0}, "BAD_NUMBER"),
        ({"most": 65}, "BAD_NUMBER"),
        ({"keep_s": 0.0}, "BAD_NUMBER"),
        ({"serve_s": 899.0}, "BAD_NUMBER"),
        ({"tenant": ""}, "UNKNOWN_TENANT"),
    ],
)
def test_a_setting_out_of_range_is_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as refused:
        replace(SETTING, **changes)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("cluster", "warm", "code"),
    [
        (Cluster.LOCAL, [replace(SETTING, offer="gone", most=1)], "UNKNOWN_OFFER"),
        (Cluster.LOCAL, [replace(SETTING, offer="owned", most=1)], "CONTRADICTORY_POOL"),
        (Cluster.ATTACHED, [replace(SETTING, most=1)], "CONTRADICTORY_POOL"),
        (Cluster.LOCAL, [replace(SETTING, most=5)], "CONTRADICTORY_POOL"),
        (Cluster.LOCAL, [replace(SETTING, most=1), replace(SETTING, most=2)], "DUPLICATE_WARM"),
    ],
)
def test_a_pool_says_what_cannot_be_kept_warm(cluster: Cluster, warm: list[WarmSetting], code: str) -> None:
    offers = (world.offer("od"), world.offer("owned", Purchase.OWNED))
    with pytest.raises(InputError) as refused:
        Pool("p", cluster, offers, warm=tuple(warm))
    assert refused.value.code == code


RELEASE = Release(NOW_AT + 500.0, 1)
CLUSTER = WarmCluster("lease", "cloud-eu", "od", RELEASE, NOW_AT + 4000.0)


def seen(*releases: Release, **changes: Any) -> Snapshot:
    return world.snapshot(loads=(OfferLoad("cloud-eu", "od", releases, **changes),))


def test_an_offer_with_a_warm_cluster_is_free_and_boots_in_no_time() -> None:
    snapshot = seen(RELEASE, Release(NOW_AT + 500.0, 3), handover_s=2.0)
    asked = on_docs(purchases=ON_DEMAND, residency=("DE",))
    cold = decide(replace(asked, fallbacks=()), snapshot)
    assert cold.outcome is Outcome.INFEASIBLE
    warmed, ready = with_warm(snapshot, [CLUSTER], [asked], 600.0)
    assert ready == {("cloud-eu", "od"): CLUSTER}
    # Cold it boots in 100 s, which nine of ten keep within 150 s.
    (load,) = warmed.loads
    assert (load.releases, load.boot_s, load.handover_s) == ((Release(NOW_AT + 500.0, 3),), 0.5, 2.0)
    assert load.boot_spread[:5] == (1.0,) * 5
    assert load.boot_spread[5] == pytest.approx(300.0)
    assert load.boot_spread[5:] == tuple(200.0 * ratio for ratio in ratios(0.5)[5:])
    warm = decide(asked, warmed)
    assert warm.outcome is Outcome.RUN
    assert warm.chosen is not None
    assert (warm.chosen.offer, warm.chosen.time.boot_s, warm.chosen.finish_at) == ("od", 0.5, NOW_AT + 1002.5)
    cold_micro = 4 * USD * 1100 // 3600
    assert warm.chosen.cost.total_micro < cold_micro < warm.chosen.cap_micro, "the site may have to boot after all"


@pytest.mark.parametrize(
    ("snapshot", "cluster", "changes"),
    [
        (seen(RELEASE), replace(CLUSTER, expires_at=NOW_AT + 599.0), {}),
        (seen(RELEASE), replace(CLUSTER, offer="spot"), {}),
        (seen(RELEASE), CLUSTER, {"resources": Resources(2)}),
        (seen(RELEASE), CLUSTER, {"kind": WorkKind.WARM}),
        (seen(Release(NOW_AT + 501.0, 1)), CLUSTER, {}),
        (seen(RELEASE, rests_until_at=NOW_AT + 60.0), CLUSTER, {}),
        (world.snapshot(), CLUSTER, {}),
    ],
    ids=["too-short", "elsewhere", "other-number", "a-warm-run", "not-in-use", "rests", "no-load"],
)
def test_what_does_not_fit_changes_nothing(snapshot: Snapshot, cluster: WarmCluster, changes: dict[str, Any]) -> None:
    assert with_warm(snapshot, [cluster], [on_docs(**changes)], 600.0) == (snapshot, {})


def test_a_ladder_over_numbers_of_devices_is_given_no_warm_cluster() -> None:
    asked = on_docs(resources=Resources(2), ladder=(Rung("fewer", devices=1),))
    assert with_warm(seen(RELEASE), [CLUSTER], asked.rungs(), 600.0) == (seen(RELEASE), {})


def test_of_several_the_one_that_lasts_longest_is_taken() -> None:
    others = [replace(CLUSTER, lease_id="b", expires_at=NOW_AT + 5000.0), replace(CLUSTER, lease_id="c")]
    _, ready = with_warm(seen(RELEASE, RELEASE), [CLUSTER, *others], [on_docs()], 600.0)
    assert ready["cloud-eu", "od"].lease_id == "b"


@pytest.mark.parametrize(("devices", "speed"), [(1, 1.0), (3, 1.0), (2, 0.25)])
def test_neither_devices_nor_their_speed_shorten_what_is_kept(devices: int, speed: float) -> None:
    site = world.site("cloud-eu", "DE", world.offer("od", price=4 * USD, boot_s=100.0, relative_speed=speed))
    snapshot = world.snapshot(sites=(site, world.US), rates=(WARM_RATE,))
    decision = decide(warm_request("vision", devices, 4200.0, speed), only_at(snapshot, "cloud-eu", "od"))
    assert decision.chosen is not None
    assert len(decision.candidates) == 1
    assert decision.chosen.finish_at == pytest.approx(NOW_AT + 4300.0)
    assert decision.chosen.finish_high_at == pytest.approx(NOW_AT + 4350.0)
    assert decision.chosen.cap_micro >= devices * 4 * USD * 4350 // 3600


def test_nothing_is_learnt_from_how_long_one_idled_nor_from_the_boot_of_one_who_took_it() -> None:
    own = Observation("w", 1, WorkKind.WARM, "cloud-eu", "od", "gpu-sim", 1, 4200.0, 77.0, 90.0, NOW_AT)
    taker = Observation("t", 1, WorkKind.TRAINING, "cloud-eu", "od", "gpu-sim", 1, 9.0, 9.0, 0.1, NOW_AT, warm=True)
    assert learn_rates([own], [WARM_RATE]) == (WARM_RATE,)
    expected = {("cloud-eu", "od"): 100.0}
    assert learn_boots([own, taker], expected) == learn_boots([own], expected)
    assert learn_boots([taker], expected) == {}


class Control(PlayedControl):
    """One that also knows how long a warm cluster is kept."""

    def snapshot(self, datasets: Any = None, run_id: str = "") -> Snapshot:
        taken = super().snapshot(datasets, run_id)
        return replace(taken, rates=(*taken.rates, WARM_RATE))


def warm_up(control: Any, run_id: str = "warm-run-1", serve_s: float = 3600.0) -> AttemptRecord:
    """A warm run's attempt, sent to its site."""
    asked = warm_request("vision", 1, 600.0 + serve_s, 1.0)
    plan = RunPlan(run_id, run_id, asked, (), {"keep_s": 600.0}, kept=Kept("cloud-eu", "od", serve_s))
    open_run(control, plan)
    attempt = place(control, plan).attempt
    assert attempt is not None
    return control.database.runs.update_attempt(run_id, 1, AttemptState.DISPATCHED, child_run_id="child")


def report(control: Any, attempt: AttemptRecord, kind: ReportKind, ready: bool = True) -> SiteReport:
    outcome = ReportOutcome.FINISHED if kind is ReportKind.CLOSED else ReportOutcome.RUNNING
    now_at = control.clock.now()
    ready_at = attempt.started_at + 5.0 if ready else None
    told = SiteReport(
        kind,
        attempt.run_id,
        attempt.attempt,
        attempt.permit.id,
        attempt.site,
        attempt.offer,
        attempt.devices,
        outcome,
        attempt.started_at,
        now_at,
        ready_at,
    )
    write_report(control.store, KEY, told)
    return told


def ask(control: Any, run_id: str, **changes: Any) -> Any:
    asked = on_docs(**{"purchases": ON_DEMAND, "units": 100.0, **changes})
    plan = RunPlan(run_id, run_id, asked, (("data", asked.datasets[0]),))
    open_run(control, plan)
    return place(control, plan)


def test_all_that_a_warm_cluster_may_cost_is_reserved_and_its_end_is_that_of_its_money() -> None:
    control: Any = Control()
    attempt = warm_up(control)
    permit = attempt.permit
    assert (permit.site, permit.offer, permit.cluster_lease, permit.most_micro) == ("cloud-eu", "od", "", 0)
    assert permit.expires_at == pytest.approx(NOW_AT + 4350.0)
    assert control.database.ledger.reserved_for(attempt.run_id, 1) >= 4 * USD * 4350 // 3600
    assert attempt.expected_finish_at == pytest.approx(NOW_AT + 700.0)
    (record,) = control.database.runs.decisions(attempt.run_id)
    assert '"onprem"' not in record.snapshot_json
    assert replayed(record).identical


def test_a_ready_cluster_is_given_to_one_run_and_its_devices_are_counted_once() -> None:
    control: Any = Control(
        sites=(world.site("cloud-eu", "DE", *(replace(each, capacity=1) for each in EU.pools[0].offers)),)
    )
    warm = warm_up(control)
    control.clock.advance(10.0)
    assert ask(control, "too-early-1").attempt is None, "it has not said that it is up"
    report(control, warm, ReportKind.METER)
    placed = ask(control, "taker-1")
    assert placed.attempt.permit.cluster_lease == warm.permit.id
    assert placed.decision.chosen.time.boot_s == 0.5
    assert placed.attempt.permit.expires_at <= warm.permit.expires_at
    records = control.database.runs.decisions("taker-1")
    assert all(replayed(record).identical for record in records)
    (taken,) = control.database.runs.attempts(warm.run_id)
    assert taken.ending == TAKEN
    assert ask(control, "second-1").attempt is None, "the devices are in use, and the cluster is taken"
    (load,) = [each for each in control.snapshot().loads if each.offer == "od"]
    assert sum(release.devices for release in load.releases) == 1
    closing = report(control, taken, ReportKind.CLOSED)
    ended = settle(control, conclude(control, taken, closing, 4200.0), closing)
    assert ended.charged.total_micro == -(-4 * USD * 10 // 3600)
    assert ended.ending == TAKEN


def test_runs_that_wait_are_asked_again_when_a_cluster_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    control: Any = Control(
        sites=(world.site("cloud-eu", "DE", *(replace(each, capacity=1) for each in EU.pools[0].offers)),)
    )
    woken: list[str] = []
    monkeypatch.setattr(
        "infra.adapters.prefect_runs.statuses", lambda ids: {each: SimpleNamespace(state_name=WAITING) for each in ids}
    )
    monkeypatch.setattr("infra.adapters.prefect_runs.start_again", lambda flow_run_id, _why: woken.append(flow_run_id))
    warm = warm_up(control)
    control.clock.advance(10.0)
    for run_id in ("waits-1", "waits-2"):
        assert ask(control, run_id).decision.outcome is Outcome.WAIT
    wake_ups = WakeUps(control)
    assert wake_ups.look() == []
    report(control, warm, ReportKind.METER)
    assert wake_ups.look() == [], "nothing is looked at twice within seconds"
    control.clock.advance(PLAN_EVERY_S)
    assert wake_ups.look() == woken == ["waits-1", "waits-2"]
    control.clock.advance(PLAN_EVERY_S)
    assert wake_ups.look() == []
    assert ask(control, "waits-1").attempt.permit.cluster_lease == warm.permit.id


def test_only_who_wants_as_many_devices_might_take_a_cluster() -> None:
    entries = [
        QueueEntry(name, "vision", "onprem", "owned", devices, NOW_AT, 60.0, NOW_AT + start_s)
        for name, devices, start_s in (("late", 1, 90.0), ("wide", 2, 10.0), ("soon", 1, 30.0))
    ]
    assert takers(entries, [CLUSTER]) == ["soon", "late"]
    assert takers(entries, []) == []


def test_a_run_that_would_outlast_the_cluster_boots_its_own() -> None:
    control: Any = Control()
    warm = warm_up(control, serve_s=900.0)
    control.clock.advance(10.0)
    report(control, warm, ReportKind.METER)
    placed = ask(control, "taker-1", units=2000.0)
    assert placed.attempt.permit.cluster_lease == ""
    assert placed.decision.chosen.time.boot_s == 100.0
    assert ask(control, "taker-2", units=100.0).attempt.permit.cluster_lease == warm.permit.id


def test_a_cluster_that_has_ended_or_whose_site_is_not_believed_is_not_given() -> None:
    control: Any = Control()
    warm = warm_up(control)
    control.clock.advance(10.0)
    report(control, warm, ReportKind.METER, ready=False)
    assert ask(control, "taker-1").attempt.permit.cluster_lease == ""
    report(control, warm, ReportKind.METER)
    report(control, warm, ReportKind.CLOSED)
    assert ask(control, "taker-2").attempt.permit.cluster_lease == ""
    other = warm_up(control, "warm-run-2")
    control.clock.advance(10.0)
    report(control, other, ReportKind.METER)
    control.trusted_keys = {}
    assert ask(control, "taker-3").attempt is None, "all devices are in use"


def test_a_warm_run_is_tried_once() -> None:
    control: Any = Control()
    attempt = warm_up(control)
    plan = RunPlan(attempt.run_id, "f", warm_request("vision", 1, 1.0, 1.0), ())
    _require_attempt_left(plan, ())
    with pytest.raises(EndedError) as ended:
        _require_attempt_left(plan, (attempt,))
    assert ended.value.code == "WARM_CLUSTER_ENDED"

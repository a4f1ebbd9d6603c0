"""``headrace simulate what-if`` on a trace and on recorded runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

import infra.wiring
from infra.adapters.memory import FixedClock, MemoryDatabase
from infra.commands import simulate as command
from infra.core.inventory import Purchase
from infra.core.lifecycle import AttemptState, RunState
from infra.core.placement.decide import decide
from infra.core.placement.decision import CostParts, Decision, Outcome
from infra.core.placement.snapshot import Snapshot
from infra.core.pricing import Price
from infra.core.rehearsal.compare import differences, same_choices, summarise
from infra.core.rehearsal.model import Changes, Ending, Fate, Reality, RecordedRun
from infra.core.rehearsal.replay import charged, rehearse
from infra.core.rung import Rung
from infra.core.workload import Resources, WorkloadRequest
from infra.simulate.batch import Setting
from infra.simulate.recorded import read_runs
from infra.simulate.trace import Trace, table4_like
from infra.simulate.what_if import NodePrice, Question, WhatIf
from tests.contract.examples import attempt_record, run_record
from tests.unit.document_samples import NOW_AT, request, snapshot

HEADER = "job_id,arrival_h,runtime_h,gpus\n"


def _written(path: Path, trace: Trace) -> Path:
    rows = zip(trace.arrival_h, trace.runtime_h, trace.gpus, strict=True)
    path.write_text(HEADER + "".join(f"{n},{a},{r},{g}\n" for n, (a, r, g) in enumerate(rows)), encoding="utf-8")
    return path


def _run(*arguments: str | Path) -> Result:
    app = typer.Typer(rich_markup_mode=None)
    command.register(app)
    return CliRunner().invoke(app, ["simulate", "what-if", *(str(argument) for argument in arguments)])


# Traces ------------------------------------------------------------------------------------------------------------


def test_a_trace_gives_a_frontier_a_picture_and_a_verdict(tmp_path: Path) -> None:
    path, picture = _written(tmp_path / "t.csv", table4_like(500, 1.4, 3, 16)), tmp_path / "frontier.svg"
    options = ("--trace", path, "--nodes", "2,4", "--wait-price", "10,1,100", "--plot", picture)
    answer = json.loads(_run(*options, "--json").stdout)
    assert [(point["nodes"], point["wait_usd_per_h"]) for point in answer["frontier"]] == [
        (nodes, wait) for nodes in (2, 4) for wait in (1.0, 10.0, 100.0)
    ]
    for point in answer["frontier"]:
        assert point["cloud_usd"] == pytest.approx(2.5 * point["cloud_gpu_h"])
        assert point["usd_per_month"] == pytest.approx(point["cloud_usd_per_month"] + 6000 * point["nodes"])
    assert answer["verdict"]["owned_gpus"] == 16
    assert answer["verdict"]["need"] == "base_load"  # 1.4 times the GPUs of two nodes come
    assert answer["verdict"]["buy_nodes"] >= 1
    assert 0 < answer["verdict"]["break_even_months"] <= 36
    assert picture.read_text(encoding="utf-8").startswith("<svg")
    shown = _run(*options).stdout
    assert "2 nodes" in shown
    assert re.sub(r"\s+", " ", answer["verdict"]["text"]) in re.sub(r"\s+", " ", shown)


def test_a_point_is_what_simulate_batch_says(tmp_path: Path) -> None:
    path = _written(tmp_path / "t.csv", table4_like(120, 1.2, 8, 16))
    point = json.loads(_run("--trace", path, "--nodes", "2", "--wait-price", "7", "--json").stdout)["frontier"][0]
    app = typer.Typer(rich_markup_mode=None)
    command.register(app)
    options = ["simulate", "batch", "--trace", str(path), "--nodes", "2", "--wait-price", "7", "--json"]
    alone = json.loads(CliRunner().invoke(app, options).stdout)
    for key in ("cloud_gpu_h", "mean_wait_h", "p99_wait_h", "max_wait_h", "jobs_cloud", "utilisation"):
        assert point[key] == alone[key]


def test_waiting_costs_less_cloud_and_more_wait_over_a_wide_range_of_prices() -> None:
    asked = WhatIf(table4_like(400, 1.3, 11, 16), Setting(2))
    points = asked.frontier(Question([2], [2.5], [0.5, 10.0, 200.0], NodePrice(6000.0, 36.0)))
    waits, costs = [point.mean_wait_h for point in points], [point.cloud_usd for point in points]
    assert waits == sorted(waits, reverse=True)
    assert costs == sorted(costs)


def test_a_month_of_even_load_is_judged_by_hand(tmp_path: Path) -> None:
    # 24 GPUs are asked for at every instant of thirty days, on two nodes of eight.
    arrival = np.repeat(np.arange(30.0) * 24, 3)
    trace = Trace(arrival, np.full(90, 24.0), np.full(90, 8, np.int64))
    path = _written(tmp_path / "even.csv", trace)
    verdict = json.loads(_run("--trace", path, "--nodes", "2", "--wait-price", "1000", "--json").stdout)["verdict"]
    assert verdict["need"] == "base_load"
    assert verdict["demand"]["base_gpus"] == verdict["demand"]["mean_gpus"] == 24
    assert verdict["cloud"]["days_used_share"] == 1.0
    assert verdict["cloud"]["base_gpus"] == pytest.approx(8.0)
    # One node more takes the 8 GPUs: 8 × 24 h on 30 days, of a record that ends with the last arrival.
    saved = 8 * 24 * 30 * 2.5 * 730 / (29 * 24)
    assert verdict["buy_nodes"] == 1
    assert verdict["best"]["saved_usd_per_month"] == pytest.approx(saved)
    assert verdict["break_even_months"] == pytest.approx(36 * 6000 / saved)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--nodes", "2,x"), "BAD_NUMBER"),
        (("--nodes", "2.5"), "BAD_NUMBER"),
        (("--nodes", "0"), "BAD_NUMBER"),
        (("--wait-price", "0"), "BAD_NUMBER"),
        (("--node-usd-per-month", "nan"), "BAD_NUMBER"),
        (("--node-months", "0"), "BAD_NUMBER"),
        (("--price-per-gpu-h", "-1"), "BAD_NUMBER"),
        (("--plot", "frontier.png"), "BAD_NAME"),
        (("--plot", "no/such/folder/frontier.svg"), "FILE_NOT_WRITABLE"),
        (("--budget", "vision=5"), "CONTRADICTORY_OPTIONS"),
        (("--trace", "no-such-file.csv"), "FILE_MISSING"),
    ],
)
def test_a_trace_is_refused_what_makes_no_sense(tmp_path: Path, arguments: tuple[str, ...], code: str) -> None:
    path = _written(tmp_path / "t.csv", table4_like(20, 1.0, 1))
    result = _run("--trace", path, "--wait-price", "10", *arguments, "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] == code


# Recorded runs -----------------------------------------------------------------------------------------------------


def _world(**changes: Any) -> Snapshot:
    """Home has two owned devices, free; the cloud sells more. Nothing is stale for a week."""
    world = snapshot()
    forever = tuple(
        replace(
            site,
            pools=tuple(
                replace(
                    pool,
                    offers=tuple(replace(each, price=replace(each.price, valid_until_at=None)) for each in pool.offers),
                )
                for pool in site.pools
            ),
        )
        for site in world.sites
    )
    policy = replace(world.policy, valid_until_at=None)
    return replace(world, sites=forever, policy=policy, loads=(), **changes)


def _recorded(requests: list[tuple[float, WorkloadRequest]], ratio: float = 1.0) -> tuple[RecordedRun, ...]:
    """Runs whose record is that of a rehearsal, so that it is consistent with itself by construction."""
    runs = tuple(
        RecordedRun(
            f"run-{number:02d}",
            wanted,
            (replace(_world(), now_at=at),),
            Reality(ratio, ratio),
            Fate(Ending.RAN, at, deadline_at=wanted.deadline_at),
        )
        for number, (at, wanted) in enumerate(requests)
    )
    fates = rehearse(runs)
    return tuple(replace(run, fate=fates[run.run_id]) for run in runs)


def _wanted(units: float, devices: int = 1, **changes: Any) -> WorkloadRequest:
    values = {"resources": Resources(devices), "deadline_at": None, "budget_micro": None, **changes}
    return request(units=units, **values)


UNITS_PER_HOUR = 3600 / 1e-7
"""Work of an hour on one device, at the sample rate."""


def test_what_is_idle_is_taken_and_what_waits_starts_when_devices_come_back() -> None:
    hour = _wanted(UNITS_PER_HOUR, purchases=(Purchase.OWNED,))
    runs = _recorded([(NOW_AT + 60 * number, hour) for number in range(3)])
    fates = [run.fate for run in runs]
    assert [fate.site for fate in fates] == ["home"] * 3
    assert fates[0].wait_s == fates[1].wait_s == 0.0
    assert fates[2].start_at == pytest.approx(fates[0].finish_at)


def test_a_ladder_is_gone_down_in_a_rehearsal_too() -> None:
    hour = _wanted(UNITS_PER_HOUR, 9, purchases=(Purchase.OWNED,))
    laddered = replace(hour, ladder=(Rung("small", devices=1),))
    endings = [run.fate for run in _recorded([(NOW_AT, hour), (NOW_AT + 60, laddered)])]
    assert [(fate.ending, fate.devices) for fate in endings] == [(Ending.INFEASIBLE, 0), (Ending.RAN, 1)]


requests = st.lists(
    st.tuples(
        st.sampled_from((0.0, 40.0, 400.0, 5000.0)),
        st.sampled_from((0.1, 0.5, 2.0)),
        st.integers(1, 2),
        st.sampled_from((None, 0, 600_000)),
        st.sampled_from(((Purchase.OWNED,), (Purchase.OWNED, Purchase.SPOT, Purchase.ON_DEMAND))),
    ),
    min_size=1,
    max_size=8,
)


def _drawn(drawn: list) -> list[tuple[float, WorkloadRequest]]:
    at, found = NOW_AT, []
    for gap, hours, devices, wait, purchases in drawn:
        at += gap
        found.append((at, _wanted(hours * UNITS_PER_HOUR, devices, wait_micro_per_hour=wait, purchases=purchases)))
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests, st.sampled_from((0.5, 1.0, 1.7)))
def test_changing_nothing_changes_nothing_and_devices_are_never_taken_twice(drawn: list, ratio: float) -> None:
    runs = _recorded(_drawn(drawn), ratio)
    again = rehearse(tuple(reversed(runs)), Changes())
    before = {run.run_id: run.fate for run in runs}
    assert differences(before, again) == []
    assert same_choices(before, again) == len(runs)
    capacity = {
        (site.name, offer.name): offer.capacity
        for site in _world().sites
        for pool in site.pools
        for offer in pool.offers
    }
    ran = [fate for fate in again.values() if fate.ending is Ending.RAN]
    for fate in ran:
        held = [
            other.devices
            for other in ran
            if (other.site, other.offer) == (fate.site, fate.offer)
            and other.start_at <= fate.start_at < other.finish_at
        ]
        assert sum(held) <= capacity[fate.site, fate.offer]
        assert fate.start_at >= fate.arrived_at


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests)
def test_without_a_budget_nothing_is_bought(drawn: list) -> None:
    runs = _recorded(_drawn(drawn))
    after = rehearse(runs, Changes(budgets={"vision": 0}))
    assert sum(fate.cost_micro for fate in after.values()) == 0
    assert {fate.site for fate in after.values() if fate.ending is Ending.RAN} <= {"home"}


def test_a_dearer_cloud_moves_runs_and_says_why() -> None:
    impatient = _wanted(UNITS_PER_HOUR / 2, wait_micro_per_hour=600_000)
    runs = _recorded([(NOW_AT + number, impatient) for number in range(4)])
    before = rehearse(runs)
    away = [run_id for run_id, fate in before.items() if fate.site == "cloud"]
    assert away
    after = rehearse(runs, Changes(prices={("cloud", "spot"): 90_000_000, ("cloud", "on-demand"): 90_000_000}))
    assert {fate.site for fate in after.values()} == {"home"}
    found = {each.run_id: each for each in differences(before, after)}
    assert set(found) == set(away)
    for each in found.values():
        assert each.after.wait_s > each.before.wait_s
    assert summarise(after.values()).mean_wait_s > summarise(before.values()).mean_wait_s


def test_more_devices_shorten_the_wait_and_a_higher_price_of_waiting_does_not_lengthen_it() -> None:
    hour = _wanted(UNITS_PER_HOUR / 4)
    runs = _recorded([(NOW_AT + number, hour) for number in range(12)])
    waits = [summarise(rehearse(runs, Changes(more_devices=more)).values()).mean_wait_s for more in (0, 2, 10)]
    assert waits[0] > waits[1] > waits[2] == 0.0
    priced = [
        summarise(rehearse(runs, Changes(wait_micro_per_hour=price)).values()) for price in (0, 500_000, 50_000_000)
    ]
    assert priced[0].mean_wait_s >= priced[1].mean_wait_s >= priced[2].mean_wait_s
    assert priced[0].cost_micro <= priced[1].cost_micro <= priced[2].cost_micro


def test_many_wait_for_runs_that_are_long_overdue() -> None:
    owned = _wanted(UNITS_PER_HOUR / 4, purchases=(Purchase.OWNED,))
    runs = _recorded([(NOW_AT + number, owned) for number in range(12)], ratio=20.0)
    fates = [run.fate for run in runs]
    assert {(fate.ending, fate.site) for fate in fates} == {(Ending.RAN, "home")}
    starts = sorted(fate.start_at for fate in fates)
    ends = sorted(fate.finish_at for fate in fates)
    for start_at, free_at in zip(
        starts[2:], ends, strict=False
    ):  # two devices: the third takes the first that comes back
        assert start_at == pytest.approx(free_at)


def test_a_record_with_balances_of_two_months_is_read_as_one_account() -> None:
    [run] = _recorded([(NOW_AT, _wanted(UNITS_PER_HOUR))])
    world = run.snapshots[0]
    balances = (*world.balances, replace(world.balances[0], period="2026-12", limit_micro=1))
    again = rehearse((replace(run, snapshots=(replace(world, balances=balances),)),))
    assert again[run.run_id].ending is Ending.RAN


def test_the_steps_of_a_ladder_are_one_decision_in_the_record(database: MemoryDatabase) -> None:
    wanted = _wanted(UNITS_PER_HOUR, 9, purchases=(Purchase.OWNED,), ladder=(Rung("small", devices=1),))
    for each in wanted.rungs():
        _keep(database, "laddered", each, _world())
    (run,) = read_runs(database).runs
    assert (run.request, len(run.snapshots)) == (wanted, 1)
    assert (run.fate.ending, run.fate.devices) == (Ending.RAN, 1)
    assert rehearse((run,))["laddered"].devices == 1


def test_what_was_charged_beside_the_estimate_is_charged_again() -> None:
    decision = decide(_wanted(UNITS_PER_HOUR, purchases=(Purchase.SPOT,)), _world())
    chosen = decision.chosen
    machine = chosen.cost.total_micro - chosen.cost.egress_micro
    assert charged(chosen, Reality()) == chosen.cost.total_micro
    assert charged(chosen, Reality(2.0, 1.5, 0.0)) == -(-machine * 3 // 2)
    assert charged(chosen, Reality(2.0)) == 2 * machine + chosen.cost.egress_micro


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> MemoryDatabase:
    kept = MemoryDatabase(FixedClock(NOW_AT))
    monkeypatch.setattr(infra.wiring, "control_plane", lambda: SimpleNamespace(database=kept, clock=kept.clock))
    return kept


def _keep(database: MemoryDatabase, run_id: str, wanted: WorkloadRequest, world: Snapshot) -> Decision:
    decision = decide(wanted, world)
    database.runs.open_run(run_record(run_id, created_at=world.now_at, tenant="vision"))
    database.runs.add_decision(run_id, wanted, world, decision)
    if decision.outcome is Outcome.RUN:
        chosen = decision.chosen
        record = attempt_record(
            run_id,
            site=chosen.site,
            offer=chosen.offer,
            purchase=chosen.purchase,
            devices=chosen.devices,
            cap_micro=chosen.cap_micro,
            started_at=world.now_at,
            expected_finish_at=chosen.finish_at,
        )
        database.runs.claim_attempt(record, 4)
        database.runs.update_attempt(run_id, 1, AttemptState.DISPATCHED)
        ended_at = world.now_at + 2 * (chosen.finish_at - world.now_at)
        database.runs.update_attempt(run_id, 1, AttemptState.FINISHED, finished_at=ended_at, metered={})
        parts = CostParts(compute_micro=2 * chosen.cost.compute_micro)
        database.runs.update_attempt(run_id, 1, AttemptState.SETTLED, charged=parts)
    return decision


@pytest.fixture
def told(database: MemoryDatabase) -> MemoryDatabase:
    """A run at home, one in the cloud because home is taken, one that nothing can be found for, and one undecided."""
    hour = _wanted(UNITS_PER_HOUR / 10, 2, wait_micro_per_hour=20_000_000)
    first = _keep(database, "at-home", hour, _world())
    busy = snapshot().loads
    later = replace(_world(), now_at=NOW_AT + 30, loads=busy)
    second = _keep(database, "in-cloud", hour, later)
    third = _keep(database, "nowhere", replace(hour, budget_micro=0, purchases=(Purchase.SPOT,)), later)
    database.runs.open_run(run_record("undecided", created_at=NOW_AT, tenant="vision"))
    assert (first.chosen.site, second.chosen.site, third.chosen) == ("home", "cloud", None)
    database.runs.set_run_state("nowhere", RunState.INFEASIBLE)
    return database


def test_the_record_is_read_with_how_it_really_went(told: MemoryDatabase) -> None:
    record = read_runs(told)
    assert [run.run_id for run in record.runs] == ["at-home", "in-cloud", "nowhere"]
    assert (record.undecided, record.unreadable) == (1, 0)
    assert record.runs[0].reality == Reality(pytest.approx(2.0), None, None)
    assert record.runs[1].fate.cost_micro > 0
    broken = replace(told.runs.decisions("in-cloud")[0], snapshot_json="{}")
    told.state.decisions["in-cloud"] = (broken,)
    assert read_runs(told).unreadable == 1


def test_recorded_runs_are_compared(told: MemoryDatabase, tmp_path: Path) -> None:
    unchanged = json.loads(_run("--json").stdout)
    assert unchanged["decided_as_recorded"] == unchanged["runs"] == 3
    assert unchanged["differences"] == []
    for one, other in (("recorded", "unchanged"), ("unchanged", "changed")):
        assert unchanged[one] == unchanged[other]
    picture = tmp_path / "runs.svg"
    options = (
        "--price",
        "cloud/spot=30",
        "--price",
        "cloud/on-demand=30",
        "--wait-price",
        "20,0.001",
        "--plot",
        picture,
    )
    changed = json.loads(_run(*options, "--json").stdout)
    [moved] = changed["differences"]
    assert (moved["run_id"], moved["before"]["site"], moved["after"]["site"]) == ("in-cloud", "cloud", "home")
    assert moved["reasons"] == ["NOT_CHEAPEST"]
    assert "cloud/" in moved["text"]
    assert changed["changed"]["cost_usd"] == 0 < changed["recorded"]["cost_usd"]
    assert changed["changed"]["mean_wait_s"] > 0
    assert [point["wait_usd_per_h"] for point in changed["frontier"]] == [None, 20.0, 0.001]
    assert picture.exists()
    shown = _run(*options).stdout
    for text in ("recorded", "in-cloud", "deadlines met", "Cost and wait"):
        assert text in shown


def test_other_sites_and_policies_are_read_from_files(told: MemoryDatabase, tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    sites.mkdir()
    (sites / "barn.yaml").write_text(
        "name: barn\njurisdiction: DE\ntrust_zone: private\nsimulated: true\npools:\n  - name: barn\n    cluster: local\n"
        "    offers: [{name: own, purchase: owned, device: gpu-sim, capacity: 8, memory_gb: 24, price_usd_per_hour: 0}]\n",
        encoding="utf-8",
    )
    moved = json.loads(_run("--sites", sites, "--json").stdout)
    assert moved["changed"]["endings"] == {"infeasible": 3}  # its data lies at a site that is not there any more
    assert {each["binding"][0] for each in moved["differences"]} == {"DATASET_UNREACHABLE"}
    policy = tmp_path / "closed.cedar"
    policy.write_text(
        '@id("all")\npermit (principal, action, resource);\n@id("closed")\n'
        'forbid (principal, action == Action::"burst", resource);\n',
        encoding="utf-8",
    )
    stopped = json.loads(_run("--policy", policy, "--json").stdout)
    assert stopped["changed"]["cost_usd"] == 0
    assert [each["reasons"] for each in stopped["differences"]] == [["POLICY_FORBIDS"]]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--price", "cloud=1"), "BAD_VALUE"),
        (("--price", "cloud/none=1"), "UNKNOWN_OFFER"),
        (("--price", "cloud/spot=-1"), "BAD_MONEY"),
        (("--price", "cloud/spot=1", "--price", "cloud/spot=2"), "DUPLICATE_VALUE"),
        (("--budget", "nobody=1"), "UNKNOWN_TENANT"),
        (("--budget", "vision"), "BAD_VALUE"),
        (("--sites", "no-such-folder"), "NO_SITES"),
        (("--policy", "no-such-file.cedar"), "FILE_MISSING"),
        (("--nodes", "4"), "CONTRADICTORY_OPTIONS"),
    ],
)
def test_recorded_runs_are_refused_what_makes_no_sense(
    told: MemoryDatabase, arguments: tuple[str, ...], code: str
) -> None:
    result = _run(*arguments, "--json")
    assert result.exit_code == 2, result.output
    assert json.loads(result.stdout)["error"]["code"] == code


def test_without_a_run_there_is_nothing_to_decide(database: MemoryDatabase) -> None:
    result = _run("--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] == "NO_RECORD"


def test_prices_keep_their_windows_and_an_unknown_price_becomes_known() -> None:
    world = snapshot()
    priced = Changes(prices={("cloud", "spot"): 7}).changed_sites(world.sites)
    spot = next(
        offer for site in priced if site.name == "cloud" for offer in site.pools[0].offers if offer.name == "spot"
    )
    assert spot.price.micro_per_hour == 7
    assert spot.price.windows
    assert Changes().changed_sites(world.sites) is world.sites
    unknown = replace(world.sites[1].pools[0].offers[0], price=None)
    cloud = replace(world.sites[1], pools=(replace(world.sites[1].pools[0], offers=(unknown,)),))
    assert Changes(prices={("cloud", "spot"): 7}).changed_sites((cloud,))[0].pools[0].offers[0].price == Price(7)

"""Keeping clusters warm: what the controller starts, and when it starts none."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from prefect.client.schemas.objects import StateType

from infra.adapters import prefect_runs
from infra.adapters.prefect_runs import FlowRunStatus
from infra.commands.warm import settled_of
from infra.controller.warm import DEPLOYMENT, WarmPools
from infra.core.metering import ReportKind
from infra.core.placement.learning import Observation
from infra.core.warm import WarmSetting
from infra.core.workload import WorkKind
from tasks.attempts import conclude, settle
from tasks.warm_stock import stocks, tag_of
from tasks.warming import WarmOptions
from tests.unit.placement_world import EU, NOW_AT
from tests.unit.test_warm import Control, ask, report, warm_up

SETTING = WarmSetting("od", "vision", most=2)
KEPT_WARM = replace(EU, pools=(replace(EU.pools[0], warm=(SETTING,)),))
TAG = "warm:cloud-eu/od/1"


@dataclass
class Prefect:
    """Flow runs by their idempotency keys, newest last. ``slow``: what was created does not show yet."""

    runs: dict[str, FlowRunStatus] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    slow: bool = False

    def start(self, deployment: str, parameters: dict[str, Any], key: str, tags: list[str]) -> str:
        self.asked.append((deployment, parameters))
        run = FlowRunStatus(f"warm-run-{len(self.runs) + 1}", StateType.SCHEDULED, "Scheduled", NOW_AT, 0, "")
        assert tags == [TAG]
        return self.runs.setdefault(key, run).id

    def tagged(self, tag: str, limit: int) -> list[FlowRunStatus]:
        assert tag == TAG
        return [] if self.slow else list(self.runs.values())[::-1][:limit]

    def end(self, run_id: str, state: StateType, at: float) -> None:
        key = next(key for key, run in self.runs.items() if run.id == run_id)
        self.runs[key] = replace(self.runs[key], state=state, since=at)


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Prefect:
    played = Prefect()
    monkeypatch.setattr(prefect_runs, "start", played.start)
    monkeypatch.setattr(prefect_runs, "tagged", played.tagged)
    return played


def busy(control: Any, runs: int = 60) -> None:
    """So many runs placed at the offer in the last hour, one a minute, and two of other kinds."""
    for number in range(runs):
        placed_at = NOW_AT - 60.0 * number
        past = Observation(
            f"past-{number}", 1, WorkKind.TRAINING, "cloud-eu", "od", "gpu-sim", 1, 1.0, 1.0, 100.0, placed_at + 101
        )
        control.database.history.add(replace(past, placed_at=placed_at))


@pytest.fixture
def control() -> Any:
    made: Any = Control(sites=(KEPT_WARM,))
    # A store fills in when a run was placed from its attempt; these have none, so the history itself is played.
    kept: list[Observation] = []
    made.database.history.add = kept.append
    made.database.history.observations = lambda limit_per_kind=200: tuple(kept)
    return made


def test_nothing_is_started_without_demand_or_setting(control: Any, prefect: Prefect) -> None:
    assert WarmPools(control).look() == []
    control.sites = (EU,)
    busy(control)
    assert WarmPools(control).look() == []
    assert stocks(control) == ()
    assert prefect.asked == []


def test_what_is_missing_is_started_once_though_prefect_is_slow(control: Any, prefect: Prefect) -> None:
    busy(control)
    pools = WarmPools(control)
    prefect.slow = True
    assert len(pools.look()) == 1
    pools.look()
    WarmPools(control).look()  # a controller that was started anew
    assert len(prefect.runs) == 2 == SETTING.most
    deployment, parameters = prefect.asked[0]
    assert deployment == DEPLOYMENT
    assert WarmOptions.model_validate(parameters["options"]) == WarmOptions(
        site="cloud-eu", offer="od", tenant="vision"
    )
    prefect.slow = False
    assert pools.look() == []
    (stock,) = stocks(control)
    assert (stock.wanted, stock.booting, stock.ready, stock.taken, stock.missing) == (2, 2, 0, 0, 0)


def test_one_that_was_taken_is_replaced_and_its_money_is_told(control: Any, prefect: Prefect) -> None:
    busy(control)
    pools = WarmPools(control)
    pools.look()
    warm = warm_up(control, "warm-run-1")
    control.clock.advance(10.0)
    report(control, warm, ReportKind.METER)
    assert [(each.booting, each.ready) for each in stocks(control)] == [(1, 1)]
    assert ask(control, "taker-1").attempt.permit.cluster_lease == warm.permit.id
    assert [(each.booting, each.ready, each.taken) for each in stocks(control)] == [(1, 0, 1)]
    assert len(pools.look()) == 1
    assert len(prefect.runs) == 3
    assert pools.look() == []
    (taken,) = control.database.runs.attempts("warm-run-1")
    closing = report(control, taken, ReportKind.CLOSED)
    charged = settle(control, conclude(control, taken, closing, 4200.0), closing).charged
    prefect.end("warm-run-1", StateType.COMPLETED, control.clock.now())
    assert [(each.booting, each.ready, each.taken) for each in stocks(control)] == [(2, 0, 0)]
    assert pools.look() == []
    assert settled_of(control.database, "2026-11") == {("cloud-eu", "od", 1): charged.total_micro}
    assert settled_of(control.database, "2026-12") == {}


@pytest.mark.parametrize("state", [StateType.FAILED, StateType.CRASHED, StateType.CANCELLED])
def test_after_one_that_ended_badly_none_is_started_for_five_minutes(
    control: Any, prefect: Prefect, state: StateType
) -> None:
    busy(control)
    pools = WarmPools(control)
    pools.look()
    for run_id in ("warm-run-1", "warm-run-2"):
        prefect.end(run_id, state, NOW_AT)
    control.clock.advance(299.0)
    assert pools.look() == []
    control.clock.advance(2.0)
    assert len(pools.look()) == 1
    assert len(prefect.runs) == 4


def test_one_that_idled_out_is_replaced_while_demand_lasts(control: Any, prefect: Prefect) -> None:
    busy(control)
    pools = WarmPools(control)
    pools.look()
    prefect.end("warm-run-1", StateType.COMPLETED, NOW_AT)
    assert len(pools.look()) == 1
    control.clock.advance(3600.0)
    for run_id in ("warm-run-2", "warm-run-3"):
        prefect.end(run_id, StateType.COMPLETED, control.clock.now())
    assert pools.look() == []


def test_the_tag_tells_site_offer_and_devices() -> None:
    assert tag_of("cloud-eu", SETTING) == TAG

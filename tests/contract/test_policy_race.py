"""A real race between placing and changing the policy: no decision that is recorded later was made with the old one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from infra.adapters.current_policy import apply_policy, current_policy, resume_bursting, stop_bursting
from infra.core.errors import RefusedError
from infra.core.lifecycle import RunState
from infra.core.placement.decision import Outcome
from infra.core.placement.snapshot import Snapshot
from infra.core.policy import PERMIT_ALL
from infra.core.policy_source import PolicySource
from infra.core.workload import DatasetRef
from infra.documents.policy_windows import policy_at
from infra.ports import ControlStore
from tasks import placement
from tasks.placement import place
from tasks.run_plan import RunPlan
from tests.contract import examples
from tests.databases import ALL, NOW, PERIOD

pytestmark = pytest.mark.parametrize("database", ALL, indirect=True)

SOURCE = PolicySource(PERMIT_ALL, "")
NO_SPOT = PolicySource(
    PERMIT_ALL + '@id("no-spot") forbid (principal, action, resource) when { resource.purchase == "spot" };', ""
)


class Control:
    """As much of a control plane as placing needs; ``between`` is called after the snapshot was taken."""

    def __init__(self, database: ControlStore) -> None:
        self.database = database
        self.clock = SimpleNamespace(now=lambda: NOW)
        self.between: Callable[[], Any] = lambda: None

    def wait_micro_per_hour(self, tenant: str) -> int:
        return 0

    def snapshot(self, datasets: Any = None, run_id: str = "") -> Snapshot:
        policy = policy_at(current_policy(self.database).source, NOW)
        base = examples.snapshot()
        (site,) = base.sites
        (pool,) = site.pools
        ample = replace(pool, offers=tuple(replace(offer, capacity=1000) for offer in pool.offers))
        taken = Snapshot(
            NOW,
            policy,
            (replace(site, pools=(ample,)),),
            base.datasets,
            self.database.ledger.balances(PERIOD),
            base.rates,
        )
        self.between()
        return taken


@pytest.fixture
def control(database: ControlStore) -> Control:
    apply_policy(database, SOURCE, "", NOW)
    database.ledger.set_limit("vision", PERIOD, 10**12, NOW)
    database.catalog.accept(examples.snapshot().datasets[0], "file:///x", "ab" * 32, NOW)
    return Control(database)


def plan_of(control: Control, run_id: str) -> RunPlan:
    control.database.runs.open_run(examples.run_record(run_id, state=RunState.ACTIVE))
    return RunPlan(run_id, run_id, examples.request(), (("data", DatasetRef("mnist5k", "v1")),))


def version_used(control: Control, run_id: str) -> str:
    (record,) = control.database.runs.decisions(run_id)
    return json.loads(record.snapshot_json)["policy"]["version"]


def test_a_decision_made_before_a_change_is_made_again(control: Control) -> None:
    changes = iter([lambda: apply_policy(control.database, NO_SPOT, "", NOW)])
    control.between = lambda: next(changes, lambda: None)()
    placed = place(control, plan_of(control, "run-1"))
    assert placed.decision.outcome is Outcome.INFEASIBLE
    assert version_used(control, "run-1") == NO_SPOT.version == placed.snapshot.policy.version
    assert control.database.runs.attempts("run-1") == ()


def test_a_stop_that_came_in_between_stops_it(control: Control) -> None:
    changes = iter([lambda: stop_bursting(control.database, "now", NOW)])
    control.between = lambda: next(changes, lambda: None)()
    placed = place(control, plan_of(control, "run-1"))
    ((code, params),) = [(reason.code, dict(reason.params)) for reason in placed.decision.candidates[0].reasons]
    assert (code, params) == ("POLICY_FORBIDS", {"rules": ("bursting-stopped",)})
    resume_bursting(control.database, "again", NOW)
    assert place(control, plan_of(control, "run-2")).decision.outcome is Outcome.RUN


def test_threads_that_place_while_the_policy_is_stopped_place_nothing_afterwards(control: Control) -> None:
    """Three threads place runs as fast as they can; whatever is recorded after the stop has returned knows of it."""
    returned, ended, errors = threading.Event(), threading.Event(), []
    begun_after: list[str] = []

    def place_many(thread: int) -> None:
        for number in range(40):
            run_id = f"run-{thread}-{number}"
            after = returned.is_set()
            try:
                place(control, plan_of(control, run_id))
            except Exception as error:
                errors.append(error)
                return
            if after:
                begun_after.append(run_id)
            if (after and number > 3) or ended.is_set():
                return

    threads = [threading.Thread(target=place_many, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    stopped = stop_bursting(control.database, "the bill", NOW)
    held = {record.run_id for record in control.database.runs.open_attempts()}
    returned.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {record.run_id for record in control.database.runs.open_attempts()} == held
    for run_id in begun_after:
        assert version_used(control, run_id) == stopped.version


def test_a_choice_that_the_full_policy_forbids_is_not_placed(control: Control, monkeypatch) -> None:
    monkeypatch.setattr(placement, "forbidding_in_full", lambda *_: ("no-spot",))
    with pytest.raises(RefusedError) as caught:
        place(control, plan_of(control, "run-1"))
    assert caught.value.code == "POLICY_RECHECK_FAILED"
    assert control.database.runs.decisions("run-1") == ()

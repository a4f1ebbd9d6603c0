"""Running training under the spot policy: placed, watched, moved, reclaimed and placed again, by a clock that is moved by hand.

The control plane's own code decides, records and settles; the sites and Prefect are played by ``Play``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prefect.client.schemas.objects import StateType

from infra.adapters import prefect_runs
from infra.adapters.current_policy import apply_policy, current_policy
from infra.adapters.memory import FixedClock, MemoryDatabase
from infra.adapters.objects import MemoryStore
from infra.adapters.observation import take_snapshot
from infra.adapters.permits import PermitSigner
from infra.adapters.reports import write_report
from infra.controller.spot_watch import SpotWatch
from infra.core.inventory import Purchase, Site
from infra.core.lifecycle import AttemptState
from infra.core.metering import ReportKind, ReportOutcome, SiteReport
from infra.core.placement.decision import Outcome
from infra.core.placement.snapshot import Rate, Snapshot
from infra.core.policy import PERMIT_ALL
from infra.core.policy_source import PolicySource
from infra.core.workload import DatasetRef, WorkKind
from infra.documents.policy_windows import policy_at
from infra.ports import AttemptRecord, ControlStore
from infra.render.replay import replayed
from tasks.attempts import closing_report, conclude, settle, wanted_units
from tasks.entry import EndedError
from tasks.placement import open_run, place
from tasks.run_plan import RunPlan
from tasks.running import MOST_ATTEMPTS, _require_attempt_left
from tasks.site_io import StoreCheckpoints, share_done
from tests.unit.placement_world import DOCS, EU, NOW_AT, USD, request

KEY = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
UNITS = 3600.0
STEP_S, CHECKPOINT_S, STOP_S = 5.0, 60.0, 10.0
ON_DEMAND_MICRO = 4 * USD * 3700 // 3600
"""What an uninterrupted run on on-demand capacity costs."""

CLOUD_ONLY = (Purchase.ON_DEMAND, Purchase.SPOT)


def furnish(database: ControlStore, **limits: int) -> None:
    """What a control plane's database holds before the first run: a policy, budgets, the documents in the cloud.

    Args:
        limits: Micro-dollars by tenant; $100 for ``vision`` when there are none.
    """
    apply_policy(database, PolicySource(PERMIT_ALL, ""), "", NOW_AT)
    for tenant, limit_micro in (limits or {"vision": 100 * USD}).items():
        database.ledger.set_limit(tenant, "2026-11", limit_micro, NOW_AT)
    database.catalog.accept(replace(DOCS, copies=("cloud-eu",)), "file:///docs", "ab" * 32, NOW_AT)


class Control:
    """As much of a control plane as placing, watching and settling need.

    Args:
        database: One that holds all it needs already; without it, one in memory is made.
    """

    def __init__(self, database: ControlStore | None = None, sites: tuple[Site, ...] = (EU,)) -> None:
        self.clock, self.sites = FixedClock(NOW_AT), sites
        self.database, self.store = database or MemoryDatabase(self.clock), MemoryStore()
        self.trusted_keys, self.revoked, self.signer = {"cloud-eu": KEY.public_key()}, {}, PermitSigner(KEY)
        if database is None:
            furnish(self.database)

    def wait_micro_per_hour(self, tenant: str) -> int:
        return 0

    def snapshot(self, datasets: Any = None, run_id: str = "") -> Snapshot:
        source = current_policy(self.database).source
        priors = (Rate(WorkKind.TRAINING, "", 0.0, 1.0, 0.5),)
        return take_snapshot(
            self.database,
            self.sites,
            lambda at: policy_at(source, at),
            priors,
            lambda *_: (),
            self.clock,
            datasets,
            run_id,
        )


@dataclass
class Play:
    """One run's course. ``lives_s`` says after how long each spot machine is taken back; ``pace`` how slow they are."""

    control: Control
    plan: RunPlan
    lives_s: list[float]
    pace: float = 1.0
    done_units: float = 0.0
    told: list[str] = field(default_factory=list)
    cancelled_at: float | None = None
    ready_at: float = 0.0

    def cancel(self, flow_run_id: str, why: str) -> None:
        self.told.append(why)
        self.cancelled_at = self.control.clock.now()

    def statuses(self, ids: Any) -> dict[str, Any]:
        state = StateType.RUNNING if self.cancelled_at is None else StateType.CANCELLING
        if self.control.clock.now() < self.ready_at:
            state = StateType.PENDING
        return {each: SimpleNamespace(id=each, state=state) for each in ids}

    def run(self) -> list[AttemptRecord]:
        """Play to the end; the attempts."""
        control, watch = self.control, SpotWatch(self.control)
        open_run(control, self.plan)
        while self.done_units < UNITS:
            _require_attempt_left(self.plan, control.database.runs.attempts(self.plan.run_id))
            placed = place(control, self.plan)
            if placed.decision.outcome is Outcome.WAIT:
                control.clock.at = placed.decision.wait_until_at
                continue
            assert placed.attempt is not None, placed.decision.binding
            self._attempt(placed.attempt, watch)
        return list(control.database.runs.attempts(self.plan.run_id))

    def _attempt(self, attempt: AttemptRecord, watch: SpotWatch) -> None:
        runs, clock = self.control.database.runs, self.control.clock
        attempt = runs.update_attempt(attempt.run_id, attempt.attempt, AttemptState.DISPATCHED, child_run_id="child")
        started_at, self.cancelled_at = clock.now(), None
        ready_at = self.ready_at = started_at + 100.0
        life_s = self.lives_s.pop(0) if attempt.purchase == "spot" and self.lives_s else float("inf")
        self._report(attempt, ReportKind.OPENED, ReportOutcome.RUNNING, started_at, None)
        saved_at, since_save = ready_at, 0.0
        while True:
            clock.advance(STEP_S)
            now_at = clock.now()
            if now_at > ready_at:
                since_save += STEP_S / (self.pace if attempt.purchase == "spot" else 1.0)
                self._report(attempt, ReportKind.METER, ReportOutcome.RUNNING, started_at, ready_at)
            if now_at - ready_at >= life_s:
                return self._end(
                    attempt, ReportOutcome.LOST, started_at, ready_at, "WORKERS_LOST at dask: none is left"
                )
            over = self.done_units + since_save >= UNITS
            stopped = self.cancelled_at is not None and now_at >= self.cancelled_at + STOP_S
            if over or stopped or now_at - saved_at >= CHECKPOINT_S:
                self.done_units, since_save, saved_at = self.done_units + since_save, 0.0, now_at
                share = min(1.0, self.done_units / UNITS)
                StoreCheckpoints(self.control.store, attempt.run_id, attempt.attempt).save(
                    int(self.done_units), b"state", share
                )
            if over:
                return self._end(attempt, ReportOutcome.FINISHED, started_at, ready_at, "")
            if stopped:
                return self._end(attempt, ReportOutcome.CANCELLED, started_at, ready_at, "CANCELLED: it was cancelled")
            watch.look()

    def _end(
        self, attempt: AttemptRecord, outcome: ReportOutcome, started_at: float, ready_at: float, message: str
    ) -> None:
        control = self.control
        self._report(attempt, ReportKind.CLOSED, outcome, started_at, ready_at, message)
        report = closing_report(control, attempt)
        settle(control, conclude(control, attempt, report, wanted_units(control, attempt.run_id)), report)

    def _report(
        self,
        attempt: AttemptRecord,
        kind: ReportKind,
        outcome: ReportOutcome,
        started_at: float,
        ready_at: float | None,
        message: str = "",
    ) -> None:
        at = self.control.clock.now()
        report = SiteReport(
            kind, attempt.run_id, attempt.attempt, attempt.permit.id, attempt.site, attempt.offer, 1, outcome,
            started_at, at, ready_at, message=message,
        )  # fmt: skip
        write_report(self.control.store, KEY, report)


def play(monkeypatch: pytest.MonkeyPatch, lives_s: list[float], deadline_s: float, pace: float = 1.0) -> Play:
    control = Control()
    asked = request(
        datasets=(DatasetRef("docs", "v1"),), units=UNITS, deadline_at=NOW_AT + deadline_s, purchases=CLOUD_ONLY
    )
    staged = Play(control, RunPlan("run-1", "run-1", asked, (("data", DatasetRef("docs", "v1")),)), lives_s, pace)
    monkeypatch.setattr(prefect_runs, "cancel", staged.cancel)
    monkeypatch.setattr(prefect_runs, "statuses", staged.statuses)
    return staged


def charged(attempts: list[AttemptRecord]) -> int:
    return sum(attempt.charged.total_micro for attempt in attempts)


def test_spot_that_stays_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = play(monkeypatch, [], 9000.0)
    (attempt,) = staged.run()
    assert (attempt.purchase, attempt.ending, staged.told) == ("spot", None, [])
    assert [each.what for each in staged.control.database.spot.sightings()] == ["held", "opened"]


def test_a_run_that_lost_spot_goes_on_from_its_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = play(monkeypatch, [1000.0], 12_000.0)
    attempts = staged.run()
    assert attempts[0].ending == "reclaimed"
    records = staged.control.database.runs.decisions("run-1")
    first, last = (wanted_of(record.request_json) for record in (records[0], records[-1]))
    assert first == UNITS
    assert last <= UNITS - 900.0
    assert "reclaimed" in [each.what for each in staged.control.database.spot.sightings()]


def wanted_of(request_json: str) -> float:
    from infra.documents import request_from_json

    return request_from_json(request_json).units


def test_the_guard_moves_a_slow_run_off_spot_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Slower than nine of ten: what is left would soon be too much for on-demand capacity, should spot go.
    staged = play(monkeypatch, [], 7000.0, pace=1.9)
    attempts = staged.run()
    assert [(attempt.purchase, attempt.ending) for attempt in attempts] == [("spot", "moved"), ("on_demand", None)]
    assert attempts[-1].finished_at <= NOW_AT + 7000.0
    assert [told.startswith("MOVED: the deadline leaves cloud-eu/od only") for told in staged.told] == [True]
    assert all(attempt.state is AttemptState.SETTLED and attempt.charged.total_micro > 0 for attempt in attempts)
    records = staged.control.database.runs.decisions("run-1")
    assert wanted_of(records[-1].request_json) < UNITS / 2


@pytest.mark.slow
def test_moves_and_reclaims_do_not_use_up_the_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = play(monkeypatch, [400.0] * 6, 40_000.0)
    attempts = staged.run()
    assert [attempt.ending for attempt in attempts] == ["reclaimed"] * 6 + [None]
    assert len(attempts) > MOST_ATTEMPTS
    lost = [replace(attempt, ending=None) for attempt in attempts]
    with pytest.raises(EndedError, match="ATTEMPTS_EXHAUSTED"):
        _require_attempt_left(staged.plan, tuple(lost))
    without = replace(staged.plan, request=replace(staged.plan.request, deadline_at=None))
    with pytest.raises(EndedError, match="ATTEMPTS_EXHAUSTED"):
        _require_attempt_left(without, tuple(attempts))


@pytest.mark.parametrize("deadline_s", [6500.0, 9000.0])
def test_no_deadline_is_missed_however_often_spot_goes(monkeypatch: pytest.MonkeyPatch, deadline_s: float) -> None:
    costs = []
    for seed in range(3):
        chance = random.Random(seed)
        staged = play(monkeypatch, [chance.expovariate(1 / 600.0) for _ in range(60)], deadline_s)
        attempts = staged.run()
        assert attempts[-1].finished_at <= NOW_AT + deadline_s
        costs.append(charged(attempts))
        assert share_done(staged.control.store, "run-1") == 1.0
        balance = staged.control.database.ledger.balance("vision", "2026-11")
        assert (balance.settled_micro, balance.reserved_micro) == (charged(attempts), 0)
        for record in staged.control.database.runs.decisions("run-1"):
            assert replayed(record).identical
    assert sum(costs) < 3 * ON_DEMAND_MICRO

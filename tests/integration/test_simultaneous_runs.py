"""32 runs at once on 8 budgets that have room for half of them: placed, extended and settled by the control plane's own code."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from infra.adapters.ledger_check import problems_of
from infra.adapters.sql import open_database
from infra.core.budget import EntryKind
from infra.core.inventory import Purchase
from infra.core.lifecycle import AttemptState
from infra.core.metering import ReportKind, ReportOutcome, SiteReport
from infra.core.placement.decision import Outcome, ReasonCode
from infra.ports import AttemptRecord
from tasks.attempts import conclude, settle
from tasks.extending import extend
from tasks.placement import Placement, open_run, place
from tasks.run_plan import RunPlan
from tests.databases import PERIOD
from tests.unit.placement_world import NOW_AT, USD, offer, on_docs, site
from tests.unit.test_spot_running import Control, furnish

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True),
]

TENANTS, EACH = tuple(f"team_{number}" for number in range(8)), 4
CLOUD = site("cloud-eu", "DE", offer("od", Purchase.ON_DEMAND, 4 * USD, capacity=64))


def plan(tenant: str, number: int) -> RunPlan:
    asked = on_docs(tenant=tenant, purchases=(Purchase.ON_DEMAND,))
    run_id = f"{tenant}-{number}"
    return RunPlan(run_id, run_id, asked, (("data", asked.datasets[0]),))


def cap_of_one() -> int:
    """What is reserved for such a run where money does not matter."""
    control = Control(sites=(CLOUD,))
    open_run(control, plan("vision", 1))  # type: ignore[arg-type]
    chosen = place(control, plan("vision", 1)).decision.chosen  # type: ignore[arg-type]
    assert chosen is not None
    return chosen.cap_micro


def together(url: str, plans: list[RunPlan], act: Callable[[Control, RunPlan], object]) -> list:
    """Each in a thread with connections of its own, all at the same moment."""
    barrier = Barrier(len(plans))

    def one(each: RunPlan) -> object:
        database = open_database(url)
        try:
            barrier.wait(60)
            return act(Control(database, (CLOUD,)), each)
        finally:
            database.close()

    with ThreadPoolExecutor(len(plans)) as pool:
        return list(pool.map(one, plans))


def begin(control: Control, each: RunPlan) -> Placement:
    open_run(control, each)  # type: ignore[arg-type]
    return place(control, each)  # type: ignore[arg-type]


def extend_and_settle(control: Control, each: RunPlan) -> int:
    """Extend as often as that works, overrun all of it by far, and settle; the micro-dollars charged."""
    attempt = control.database.runs.update_attempt(each.run_id, 1, AttemptState.DISPATCHED, child_run_id="child")
    while extend(control, attempt).why_not is None:  # type: ignore[arg-type]
        pass
    control.clock.advance(36_000.0)
    report = SiteReport(
        ReportKind.CLOSED,
        each.run_id,
        1,
        attempt.permit.id,
        attempt.site,
        attempt.offer,
        1,
        ReportOutcome.FINISHED,
        NOW_AT,
        control.clock.now(),
        NOW_AT + 1,
    )
    settled: AttemptRecord = settle(control, conclude(control, attempt, report, 1.0), report)  # type: ignore[arg-type]
    assert settled.charged is not None
    return settled.charged.total_micro


def test_not_one_micro_dollar_over(database_url: str) -> None:
    cap, generator = cap_of_one(), random.Random(1)
    # Room for two of four, and for a part of an extension: a different part for each.
    limits = {tenant: 2 * cap + generator.randrange(cap) for tenant in TENANTS}
    database = open_database(database_url)
    furnish(database, **limits)
    plans = [plan(tenant, number) for tenant in TENANTS for number in range(EACH)]

    placed = together(database_url, plans, begin)
    assert all(found.attempt is not None or found.decision.outcome is Outcome.INFEASIBLE for found in placed)
    running = [each for each, found in zip(plans, placed, strict=True) if found.attempt is not None]
    assert Counter(each.request.tenant for each in running) == dict.fromkeys(TENANTS, EACH // 2)
    refused = [found.decision for found in placed if found.attempt is None]
    assert {decision.binding for decision in refused} == {(ReasonCode.BUDGET_TENANT_EXCEEDED,)}

    charged = together(database_url, running, extend_and_settle)
    assert problems_of(database) == []
    for tenant, limit_micro in limits.items():
        balance = database.ledger.balance(tenant, PERIOD)
        assert balance is not None
        mine = [micro for each, micro in zip(running, charged, strict=True) if each.request.tenant == tenant]
        assert (balance.reserved_micro, balance.settled_micro) == (0, sum(mine))
        assert 2 * cap <= balance.settled_micro <= limit_micro
    steps = Counter(entry.kind for entry in database.ledger.entries())
    assert steps[EntryKind.RESERVE] == steps[EntryKind.SETTLE] == len(running)
    assert steps[EntryKind.EXTEND] > 0
    database.close()

"""More money for a running attempt: how much, who may have it, and what a site makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from infra.adapters.current_policy import apply_policy
from infra.adapters.extensions import extension_key, leave_extension, read_extended_cap
from infra.adapters.permits import PermitSigner
from infra.adapters.revocation import Revocation
from infra.controller.caps import CapWatch
from infra.core.budget import EXTENDABLE, STEPS, EntryKind, most_for, next_cap
from infra.core.errors import RefusedError
from infra.core.inventory import Purchase
from infra.core.lifecycle import AttemptState
from infra.core.metering import ReportKind, ReportOutcome, SiteReport
from infra.core.placement.decision import CostParts
from infra.core.policy_source import PolicySource
from infra.core.trust import PermitExtension, extended_cap
from infra.ports import AttemptRecord
from tasks.attempts import conclude, settle
from tasks.extending import Extension, NoExtension, extend
from tasks.placement import open_run, place
from tasks.run_plan import RunPlan
from tests.unit.placement_world import NOW_AT, USD, on_docs
from tests.unit.test_caps import read_meter
from tests.unit.test_permits import CLAIMS, CONTROL, MALLORY, WORK, Bench, token_of
from tests.unit.test_permits import NOW_AT as DESK_AT
from tests.unit.test_spot_running import Control

money = st.integers(0, 10**12)


@given(money, st.one_of(st.none(), money))
def test_room_for_extensions_is_within_the_runs_budget_and_never_below_the_cap(cap: int, budget: int | None) -> None:
    most = most_for(cap, budget)
    assert cap <= most <= EXTENDABLE * cap
    assert budget is None or most <= max(cap, budget)


@given(money, money, money)
def test_steps_end_at_the_most_and_never_lower_a_cap(first: int, more: int, room: int) -> None:
    now, most = first + more, first + more + room
    cap, steps = now, 0
    while (after := next_cap(first, cap, most)) > cap:
        cap, steps = after, steps + 1
        if steps > 12:
            break
    assert now <= cap <= most
    if first and room <= first:
        assert (cap, steps <= 4) == (most, True)


EXTENSION = PermitExtension("permit-1", "run-1", 1, 90_000, DESK_AT)
ROOMY = replace(CLAIMS, most_micro=120_000)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"permit_id": "permit-2"}, "EXTENSION_WRONG_PERMIT"),
        ({"run_id": "run-2"}, "EXTENSION_WRONG_PERMIT"),
        ({"attempt": 2}, "EXTENSION_WRONG_PERMIT"),
        ({"cap_micro": 120_001}, "EXTENSION_TOO_LARGE"),
    ],
)
def test_an_extension_that_the_permit_does_not_allow_is_refused(changes: dict[str, Any], code: str) -> None:
    assert extended_cap(ROOMY, EXTENSION) == 90_000
    with pytest.raises(RefusedError) as refused:
        extended_cap(ROOMY, replace(EXTENSION, **changes))
    assert refused.value.code == code


def test_a_permit_without_room_takes_no_extension() -> None:
    assert CLAIMS.limit_micro == CLAIMS.cap_micro
    with pytest.raises(RefusedError, match="EXTENSION_TOO_LARGE"):
        extended_cap(CLAIMS, EXTENSION)


def put(bench: Bench, extension: PermitExtension, key: Ed25519PrivateKey = CONTROL) -> None:
    leave_extension(bench.store, PermitSigner(key), extension)


def test_a_site_takes_up_an_authentic_extension_and_no_other(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "site")
    attempt = bench.desk.begin(bench.desk.admit("flow-run-1", {"permit": token_of(ROOMY), "work": WORK}))
    first_end = attempt.capped_at
    # A machine's hard end cannot be moved later, so it leaves room from the start.
    assert attempt.lease.ends_at > DESK_AT + 2 * (first_end - DESK_AT)
    assert attempt.extendable
    assert not bench.desk.look_for_extension(attempt), "there is none"
    put(bench, EXTENSION, MALLORY)
    assert not bench.desk.look_for_extension(attempt), "forged"
    put(bench, replace(EXTENSION, attempt=2))
    bench.store.put(extension_key("run-1", 1), token_of(ROOMY).encode())
    assert not bench.desk.look_for_extension(attempt), "a permit is no extension"
    assert attempt.lease.cap_micro == 60_000

    put(bench, EXTENSION)
    assert bench.desk.look_for_extension(attempt)
    assert attempt.lease.cap_micro == 90_000
    assert attempt.capped_at - DESK_AT == pytest.approx(1.5 * (first_end - DESK_AT))
    assert [note.lease.cap_micro for note in bench.desk.state.notes()] == [90_000], "a restarted worker knows it too"
    put(bench, replace(EXTENSION, cap_micro=70_000))
    assert not bench.desk.look_for_extension(attempt), "an older one lowers nothing"
    assert attempt.lease.cap_micro == 90_000
    put(bench, replace(EXTENSION, cap_micro=120_000))
    assert bench.desk.look_for_extension(attempt)
    assert not attempt.extendable


class Extending(Control):
    """A control plane with a key, and an attempt on on-demand devices at $4 an hour."""

    def __init__(self, budget_micro: int | None = 50 * USD) -> None:
        super().__init__()
        asked = on_docs(purchases=(Purchase.ON_DEMAND,), budget_micro=budget_micro)
        plan = RunPlan("run-1", "run-1", asked, (("data", asked.datasets[0]),))
        open_run(self, plan)  # type: ignore[arg-type]
        opened = place(self, plan).attempt  # type: ignore[arg-type]
        assert opened is not None
        self.attempt = self.database.runs.update_attempt("run-1", 1, AttemptState.DISPATCHED, child_run_id="child")

    def extend(self) -> Extension:
        return extend(self, self.attempt)  # type: ignore[arg-type]

    def extended_to(self) -> int | None:
        return read_extended_cap(self.store, self.signer.verifier(), self.attempt.permit)


def test_money_is_reserved_before_the_site_is_told() -> None:
    control = Extending()
    cap = control.attempt.cap_micro
    assert control.attempt.permit.most_micro == EXTENDABLE * cap
    caps = []
    while (extension := control.extend()).why_not is None:
        caps.append(extension.cap_micro)
        assert control.extended_to() == extension.cap_micro == control.database.ledger.reserved_for("run-1", 1)
    assert extension == Extension(EXTENDABLE * cap, NoExtension.NO_ROOM)
    assert len(caps) == (EXTENDABLE - 1) * STEPS
    kinds = [entry.kind for entry in control.database.ledger.entries(run_id="run-1")]
    assert kinds == [EntryKind.RESERVE, *len(caps) * [EntryKind.EXTEND]]
    balance = control.database.ledger.balance("vision", "2026-11")
    assert balance is not None
    assert balance.reserved_micro == EXTENDABLE * cap


def test_the_runs_own_budget_bounds_it() -> None:
    control = Extending(budget_micro=2 * USD)
    assert control.attempt.permit.limit_micro <= max(2 * USD, control.attempt.cap_micro)


def _spend(control: Extending) -> None:
    available = control.database.ledger.balance("vision", "2026-11").available_micro
    control.database.ledger.reserve("vision", "2026-11", "other", 1, available, NOW_AT)


def _forbid(control: Extending) -> None:
    apply_policy(control.database, PolicySource("forbid (principal, action, resource);", ""), "", NOW_AT)


def _revoke(control: Extending) -> None:
    control.revoked = {control.attempt.site: Revocation(control.attempt.site, NOW_AT, "leaked")}


def _move(control: Extending) -> None:
    control.attempt = control.database.runs.update_attempt("run-1", 1, AttemptState.DISPATCHED, ending="moved")


def _end(control: Extending) -> None:
    ended = conclude(control, control.attempt, None, 1.0)  # type: ignore[arg-type]
    settle(control, ended, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_spend, NoExtension.TENANT_BUDGET),
        (_forbid, NoExtension.POLICY),
        (_revoke, NoExtension.SITE_REVOKED),
        (_move, NoExtension.ENDING),
        (_end, NoExtension.ENDING),
    ],
)
def test_what_stands_in_the_way_reserves_and_tells_nothing(change: Any, why: NoExtension) -> None:
    control = Extending()
    change(control)
    before = control.database.ledger.entries()
    assert control.extend().why_not is why
    assert control.database.ledger.entries() == before
    assert control.extended_to() is None


def test_a_deadline_that_is_over_gets_no_more_money() -> None:
    control = Extending()
    control.clock.advance(30 * 86_400.0)
    assert control.extend().why_not in (NoExtension.DEADLINE, NoExtension.TENANT_BUDGET)
    assert control.extended_to() is None


def test_the_watch_extends_near_the_cap_and_tells_of_each_cap_once() -> None:
    control, sent = Extending(), []
    cap, hour_micro = control.attempt.cap_micro, 4 * USD
    watch = CapWatch(control, lambda *event: sent.append(event[4]))  # type: ignore[arg-type]
    control.clock.advance(1.0)
    read_meter(control, control.attempt)
    control.clock.advance(0.81 * cap / hour_micro * 3600)
    assert len(watch.look()) == 1, "by its own clock, however old the reading is"
    assert watch.look() == []
    assert [(each["cap_usd"], each["next_cap_usd"], each["not_extended"]) for each in sent] == [
        (cap / 1e6, control.extended_to() / 1e6, None)
    ]
    _spend(control)
    control.clock.advance(0.2 * cap / hour_micro * 3600)
    assert len(watch.look()) == 1
    assert watch.look() == []
    assert sent[-1]["not_extended"] is NoExtension.TENANT_BUDGET
    # The money comes back, and so the attempt is extended without another event.
    control.database.ledger.expire("other", 1, CostParts(), NOW_AT)
    assert len(watch.look()) == 1
    assert len(sent) == 2
    assert control.extended_to() == control.database.ledger.reserved_for("run-1", 1) > 1.25 * cap


def test_a_controller_that_was_killed_before_it_told_the_site_tells_it_now() -> None:
    control = Extending()
    control.extend()
    reserved = control.extended_to()
    control.store.delete(extension_key("run-1", 1))
    CapWatch(control, lambda *event: None).look()  # type: ignore[arg-type]
    assert control.extended_to() == reserved


def test_an_extended_attempt_is_charged_what_it_used() -> None:
    control = Extending()
    cap = control.attempt.cap_micro
    control.extend()
    used_s = 1.1 * cap / (4 * USD) * 3600
    control.clock.advance(used_s)
    report = SiteReport(
        ReportKind.CLOSED,
        "run-1",
        1,
        control.attempt.permit.id,
        control.attempt.site,
        control.attempt.offer,
        1,
        ReportOutcome.FINISHED,
        NOW_AT,
        control.clock.now(),
        NOW_AT + 1,
    )
    settled: AttemptRecord = settle(control, conclude(control, control.attempt, report, 1.0), report)  # type: ignore[arg-type]
    assert settled.charged is not None
    assert settled.charged.total_micro == pytest.approx(1.1 * cap, abs=2)
    balance = control.database.ledger.balance("vision", "2026-11")
    assert balance is not None
    assert (balance.reserved_micro, balance.settled_micro) == (0, settled.charged.total_micro)

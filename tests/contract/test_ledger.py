"""What every ledger does."""

from __future__ import annotations

import pytest

from infra.core.budget import Balance, EntryKind
from infra.core.errors import BudgetError, ConflictError, InputError
from infra.core.placement.decision import CostParts
from infra.ports import ControlStore, LedgerEntry
from tests.contract.examples import RUN
from tests.databases import ALL, NOW, PERIOD

pytestmark = pytest.mark.parametrize("database", ALL, indirect=True)

LIMIT = 1_000_000
PARTS = CostParts(compute_micro=200_001, boot_micro=30, egress_micro=4)


@pytest.fixture
def opened(database: ControlStore) -> ControlStore:
    database.ledger.set_limit("vision", PERIOD, LIMIT, NOW)
    return database


def test_an_account_opens_with_its_limit(database: ControlStore) -> None:
    assert database.ledger.balance("vision", PERIOD) is None
    assert database.ledger.set_limit("vision", PERIOD, LIMIT, NOW) == Balance("vision", PERIOD, LIMIT)
    assert database.ledger.balance("vision", PERIOD) == Balance("vision", PERIOD, LIMIT)


def test_a_limit_set_twice_is_one_entry(opened: ControlStore) -> None:
    opened.ledger.set_limit("vision", PERIOD, LIMIT, NOW + 1)
    opened.ledger.set_limit("vision", PERIOD, 0, NOW + 2)
    opened.ledger.set_limit("vision", PERIOD, LIMIT, NOW + 3)
    limits = [(entry.kind, entry.amount_micro) for entry in opened.ledger.entries()]
    assert limits == [(EntryKind.LIMIT, LIMIT), (EntryKind.LIMIT, 0), (EntryKind.LIMIT, LIMIT)]


def test_a_limit_below_what_is_committed_is_refused(opened: ControlStore) -> None:
    opened.ledger.reserve("vision", PERIOD, RUN, 1, 600_000, NOW)
    with pytest.raises(BudgetError) as refused:
        opened.ledger.set_limit("vision", PERIOD, 599_999, NOW)
    assert refused.value.code == "LIMIT_BELOW_COMMITTED"
    assert opened.ledger.set_limit("vision", PERIOD, 600_000, NOW).available_micro == 0


def test_reserve_extend_settle(opened: ControlStore) -> None:
    ledger = opened.ledger
    assert ledger.reserve("vision", PERIOD, RUN, 1, 300_000, NOW) == Balance("vision", PERIOD, LIMIT, 300_000, 0)
    assert ledger.extend(RUN, 1, "more-time", 50_000, NOW + 1) == Balance("vision", PERIOD, LIMIT, 350_000, 0)
    assert ledger.reserved_for(RUN, 1) == 350_000
    assert ledger.settle(RUN, 1, PARTS, NOW + 2) == Balance("vision", PERIOD, LIMIT, 0, 200_035)
    assert ledger.reserved_for(RUN, 1) == 0
    assert ledger.entries(run_id=RUN) == (
        LedgerEntry(2, NOW, EntryKind.RESERVE, "vision", PERIOD, RUN, 1, 300_000),
        LedgerEntry(3, NOW + 1, EntryKind.EXTEND, "vision", PERIOD, RUN, 1, 50_000),
        LedgerEntry(4, NOW + 2, EntryKind.SETTLE, "vision", PERIOD, RUN, 1, 200_035, PARTS),
    )


def test_expire_gives_back_what_was_not_used(opened: ControlStore) -> None:
    opened.ledger.reserve("vision", PERIOD, RUN, 1, LIMIT, NOW)
    balance = opened.ledger.expire(RUN, 1, CostParts(), NOW + 1)
    assert balance == Balance("vision", PERIOD, LIMIT)
    assert opened.ledger.entries(run_id=RUN)[-1].parts == CostParts()


def test_every_step_may_be_repeated(opened: ControlStore) -> None:
    ledger = opened.ledger
    for at in (NOW, NOW + 1):
        ledger.reserve("vision", PERIOD, RUN, 1, 300_000, at)
    for at in (NOW + 2, NOW + 3):
        ledger.extend(RUN, 1, "a", 1, at)
    for at in (NOW + 4, NOW + 5):
        ledger.settle(RUN, 1, PARTS, at)
    ledger.reserve("vision", PERIOD, RUN, 1, 300_000, NOW + 6)
    ledger.extend(RUN, 1, "a", 1, NOW + 7)
    assert ledger.balance("vision", PERIOD) == Balance("vision", PERIOD, LIMIT, 0, 200_035)
    assert [entry.at for entry in ledger.entries()] == [NOW, NOW, NOW + 2, NOW + 4]


def test_exactly_the_limit_fits_and_one_more_does_not(opened: ControlStore) -> None:
    opened.ledger.reserve("vision", PERIOD, RUN, 1, LIMIT, NOW)
    with pytest.raises(BudgetError) as refused:
        opened.ledger.reserve("vision", PERIOD, RUN, 2, 1, NOW)
    assert refused.value.code == "BUDGET_EXCEEDED"
    with pytest.raises(BudgetError):
        opened.ledger.extend(RUN, 1, "a", 1, NOW)
    assert opened.ledger.balance("vision", PERIOD) == Balance("vision", PERIOD, LIMIT, LIMIT)
    assert len(opened.ledger.entries()) == 2


def test_nothing_may_cost_nothing(opened: ControlStore) -> None:
    opened.ledger.set_limit("students", PERIOD, 0, NOW)
    opened.ledger.reserve("students", PERIOD, RUN, 1, 0, NOW)
    opened.ledger.settle(RUN, 1, CostParts(), NOW)
    assert opened.ledger.balance("students", PERIOD) == Balance("students", PERIOD, 0)


def test_no_more_is_charged_than_reserved(opened: ControlStore) -> None:
    opened.ledger.reserve("vision", PERIOD, RUN, 1, 200_034, NOW)
    for close in (opened.ledger.settle, opened.ledger.expire):
        with pytest.raises(BudgetError) as refused:
            close(RUN, 1, PARTS, NOW)
        assert refused.value.code == "OVER_RESERVATION"
    assert opened.ledger.reserved_for(RUN, 1) == 200_034


def test_an_attempt_closes_once(opened: ControlStore) -> None:
    opened.ledger.reserve("vision", PERIOD, RUN, 1, 300_000, NOW)
    opened.ledger.settle(RUN, 1, PARTS, NOW)
    others = [
        lambda: opened.ledger.expire(RUN, 1, PARTS, NOW),
        lambda: opened.ledger.settle(RUN, 1, CostParts(), NOW),
        lambda: opened.ledger.extend(RUN, 1, "late", 5, NOW),
    ]
    for other in others:
        with pytest.raises(ConflictError) as refused:
            other()
        assert refused.value.code == "ATTEMPT_CLOSED"
    assert opened.ledger.balance("vision", PERIOD) == Balance("vision", PERIOD, LIMIT, 0, 200_035)


def test_a_step_repeated_with_another_amount_is_a_conflict(opened: ControlStore) -> None:
    opened.ledger.reserve("vision", PERIOD, RUN, 1, 300_000, NOW)
    opened.ledger.extend(RUN, 1, "a", 5, NOW)
    with pytest.raises(ConflictError) as refused:
        opened.ledger.reserve("vision", PERIOD, RUN, 1, 300_001, NOW)
    assert refused.value.code == "ALREADY_RESERVED"
    with pytest.raises(ConflictError) as refused:
        opened.ledger.extend(RUN, 1, "a", 6, NOW)
    assert refused.value.code == "ALREADY_EXTENDED"
    assert opened.ledger.reserved_for(RUN, 1) == 300_005


def test_what_is_unknown_is_the_callers_fault(opened: ControlStore) -> None:
    for call, code in [
        (lambda: opened.ledger.reserve("nobody", PERIOD, RUN, 1, 1, NOW), "UNKNOWN_TENANT"),
        (lambda: opened.ledger.reserve("vision", "2026-12", RUN, 1, 1, NOW), "UNKNOWN_TENANT"),
        (lambda: opened.ledger.settle(RUN, 7, CostParts(), NOW), "UNKNOWN_RESERVATION"),
        (lambda: opened.ledger.extend(RUN, 7, "a", 1, NOW), "UNKNOWN_RESERVATION"),
        (lambda: opened.ledger.set_limit("", PERIOD, 1, NOW), "NO_ACCOUNT_NAME"),
    ]:
        with pytest.raises(InputError) as refused:
            call()
        assert refused.value.code == code
    assert opened.ledger.reserved_for(RUN, 7) == 0


@pytest.mark.parametrize("amount", [-1, 1.5, float("nan"), True, 2**63])
def test_what_is_no_money_is_refused(opened: ControlStore, amount: int) -> None:
    opened.ledger.reserve("vision", PERIOD, RUN, 1, 10, NOW)
    for call in [
        lambda: opened.ledger.set_limit("vision", PERIOD, amount, NOW),
        lambda: opened.ledger.reserve("vision", PERIOD, RUN, 2, amount, NOW),
        lambda: opened.ledger.extend(RUN, 1, "a", amount, NOW),
        lambda: opened.ledger.settle(RUN, 1, CostParts(compute_micro=amount), NOW),
    ]:
        with pytest.raises(InputError) as refused:
            call()
        assert refused.value.code == "BAD_MONEY"
    assert opened.ledger.reserved_for(RUN, 1) == 10


def test_accounts_are_apart_and_sorted(opened: ControlStore) -> None:
    opened.ledger.set_limit("vision", "2026-12", 5, NOW)
    opened.ledger.set_limit("Search", PERIOD, 7, NOW)
    opened.ledger.reserve("vision", PERIOD, RUN, 1, 9, NOW)
    opened.ledger.reserve("Search", PERIOD, RUN, 2, 3, NOW)
    assert [(one.tenant, one.period, one.reserved_micro) for one in opened.ledger.balances()] == [
        ("Search", PERIOD, 3),
        ("vision", PERIOD, 9),
        ("vision", "2026-12", 0),
    ]
    assert [one.tenant for one in opened.ledger.balances(PERIOD)] == ["Search", "vision"]
    assert [entry.sequence for entry in opened.ledger.entries(tenant="vision")] == [1, 2, 4]
    assert [entry.sequence for entry in opened.ledger.entries()] == [1, 2, 3, 4, 5]

"""What transactions over several stores promise, on every adapter."""

from __future__ import annotations

import threading

import pytest

from infra.core.errors import BudgetError, ConflictError
from infra.core.lifecycle import RunState
from infra.ports import ControlStore
from tests.contract import examples
from tests.contract.examples import RUN
from tests.databases import ALL, NOW, PERIOD

pytestmark = pytest.mark.parametrize("database", ALL, indirect=True)


@pytest.fixture
def ready(database: ControlStore) -> ControlStore:
    database.ledger.set_limit("vision", PERIOD, 1_000_000, NOW)
    database.runs.open_run(examples.run_record())
    return database


def test_a_claim_and_its_reservation_stand_together(ready: ControlStore) -> None:
    with ready.transaction():
        ready.runs.claim_attempt(examples.attempt_record(), 4)
        ready.ledger.reserve("vision", PERIOD, RUN, 1, 700_000, NOW)
    assert ready.ledger.reserved_for(RUN, 1) == 700_000
    assert len(ready.runs.attempts(RUN)) == 1


def test_a_claim_and_its_reservation_fall_together(ready: ControlStore) -> None:
    with pytest.raises(BudgetError), ready.transaction():  # noqa: PT012 - the block is what must fail
        ready.runs.claim_attempt(examples.attempt_record(), 4)
        ready.ledger.reserve("vision", PERIOD, RUN, 1, 1_000_001, NOW)
    assert ready.runs.attempts(RUN) == ()
    assert ready.runs.run(RUN) == examples.run_record()
    assert len(ready.ledger.entries()) == 1


def test_any_exception_undoes_all_of_it(ready: ControlStore) -> None:
    with pytest.raises(KeyboardInterrupt), ready.transaction():  # noqa: PT012 - the block is what must fail
        ready.ledger.reserve("vision", PERIOD, RUN, 1, 5, NOW)
        ready.catalog.accept(examples.DIGITS, "uri", "ab" * 32, NOW)
        ready.history.add(examples.observation())
        raise KeyboardInterrupt
    assert ready.ledger.reserved_for(RUN, 1) == 0
    assert ready.catalog.versions() == ()
    assert ready.history.observations() == ()


def test_a_failed_call_undoes_only_itself(ready: ControlStore) -> None:
    with ready.transaction():
        ready.ledger.reserve("vision", PERIOD, RUN, 1, 5, NOW)
        with pytest.raises(BudgetError):
            ready.ledger.extend(RUN, 1, "too-much", 1_000_000, NOW)
        with pytest.raises(ConflictError), ready.transaction():  # noqa: PT012 - the block is what must fail
            ready.ledger.extend(RUN, 1, "some", 7, NOW)
            ready.runs.claim_attempt(examples.attempt_record(attempt=9), 4)
        ready.runs.set_run_state(RUN, RunState.WAITING, "for money")
    assert ready.ledger.reserved_for(RUN, 1) == 5
    assert ready.runs.run(RUN).detail == "for money"


def test_reads_inside_see_what_was_written(ready: ControlStore) -> None:
    with ready.transaction():
        ready.ledger.reserve("vision", PERIOD, RUN, 1, 5, NOW)
        with ready.reading():
            assert ready.ledger.balance("vision", PERIOD).reserved_micro == 5


def test_reading_refuses_writes(ready: ControlStore) -> None:
    with ready.reading(), pytest.raises(RuntimeError):
        ready.ledger.reserve("vision", PERIOD, RUN, 1, 5, NOW)
    with ready.transaction():
        with ready.reading(), pytest.raises(RuntimeError):
            ready.runs.set_run_state(RUN, RunState.FAILED)
        ready.runs.set_run_state(RUN, RunState.WAITING, "still works")
    assert ready.runs.run(RUN).detail == "still works"


def test_another_thread_writes_in_a_transaction_of_its_own(ready: ControlStore) -> None:
    started = threading.Event()

    def reserve() -> None:
        started.set()
        ready.ledger.reserve("vision", PERIOD, "another-run", 1, 3, NOW)

    other = threading.Thread(target=reserve)
    with pytest.raises(ZeroDivisionError), ready.transaction():  # noqa: PT012 - the block is what must fail
        other.start()
        started.wait()
        ready.ledger.reserve("vision", PERIOD, RUN, 1, 5, NOW)
        raise ZeroDivisionError
    other.join()
    assert ready.ledger.balance("vision", PERIOD).reserved_micro == 3
    assert [entry.sequence for entry in ready.ledger.entries()] == [1, 2]

"""Invariant I2 under fire: many processes at once, and processes that are killed in the middle (both databases)."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

import pytest
import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401 - for the preloaded processes

from infra.adapters.ledger_check import problems_of
from infra.adapters.sql import open_database
from infra.core.budget import EntryKind
from infra.core.errors import BudgetError, ConflictError
from infra.core.placement.decision import CostParts
from tests.contract import examples
from tests.contract.examples import RUN
from tests.databases import NOW, PERIOD

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True),
]

PROCESSES = 16
EACH = 12
LIMIT = 100_003  # a prime: no whole number of equal reservations fills it
CLIENTS = multiprocessing.get_context("forkserver")
CLIENTS.set_forkserver_preload(["tests.integration.test_ledger_concurrency"])  # imports once, not sixteen times


def reserve_settle_extend(url: str, number: int, barrier: Barrier) -> None:
    """One client: reserves odd amounts, extends some, closes some, meets refusals."""
    database = open_database(url)
    ledger = database.ledger
    barrier.wait(60)
    for attempt in range(1, EACH + 1):
        run_id = f"run-of-{number:03d}"
        amount_micro = 701 + 97 * number + 13 * attempt
        try:
            ledger.reserve("vision", PERIOD, run_id, attempt, amount_micro, NOW)
        except BudgetError:
            continue
        try:
            ledger.extend(run_id, attempt, "more", 311, NOW)
            amount_micro += 311
        except BudgetError:
            pass
        if attempt % 3 == 0:
            ledger.settle(run_id, attempt, CostParts(compute_micro=amount_micro // 2), NOW)
        elif attempt % 3 == 1:
            ledger.expire(run_id, attempt, CostParts(), NOW)
    database.close()


def claim_and_reserve(url: str, number: int, barrier: Barrier, results: Connection) -> None:
    """One client that wants a device and the money for it, together."""
    database = open_database(url)
    run_id = f"run-of-{number:03d}"
    barrier.wait(60)
    try:
        with database.transaction():
            database.runs.claim_attempt(examples.attempt_record(run_id), 5)
            database.ledger.reserve("vision", PERIOD, run_id, 1, 10_000, NOW)
        results.send("claimed")
    except (ConflictError, BudgetError) as error:
        results.send(error.code)
    database.close()


def same_attempt(url: str, number: int, barrier: Barrier, results: Connection) -> None:
    """One of many that close the same attempt, each in its own way."""
    database = open_database(url)
    barrier.wait(60)
    try:
        database.ledger.settle(RUN, 1, CostParts(compute_micro=number), NOW)
        results.send(number)
    except ConflictError as error:
        results.send(error.code)
    database.close()


def die_inside(url: str, ready: Connection) -> None:
    """Writes in a transaction, says so, and waits in it to be killed."""
    database = open_database(url)
    with database.transaction():
        database.runs.claim_attempt(examples.attempt_record(), 5)
        database.ledger.reserve("vision", PERIOD, RUN, 1, 60_000, NOW)
        ready.send("inside")
        signal.pause()


def together(target, url: str, *, answers: bool) -> list:
    barrier = CLIENTS.Barrier(PROCESSES)
    pipes = [CLIENTS.Pipe(duplex=False) for _ in range(PROCESSES)] if answers else []
    clients = [
        CLIENTS.Process(target=target, args=(url, number, barrier, *([pipes[number][1]] if answers else [])))
        for number in range(PROCESSES)
    ]
    for client in clients:
        client.start()
    for _, writer in pipes:
        writer.close()  # so that a client that dies without an answer ends the wait for it
    try:
        results = [reader.recv() for reader, _ in pipes]
        for client in clients:
            client.join()
        assert [client.exitcode for client in clients] == [0] * PROCESSES
    finally:
        for client in clients:
            client.kill()
    return results


def test_never_one_micro_dollar_too_much(database_url: str) -> None:
    database = open_database(database_url)
    database.ledger.set_limit("vision", PERIOD, LIMIT, NOW)
    together(reserve_settle_extend, database_url, answers=False)
    assert problems_of(database) == []  # no prefix of the ledger exceeds the limit, and it adds up to the balance
    kinds = {entry.kind for entry in database.ledger.entries()}
    assert kinds == set(EntryKind)
    smallest = 701 + 13  # no reservation was ever smaller, so the refused ones really did not fit
    held_or_spent = database.ledger.balance("vision", PERIOD)
    assert held_or_spent.available_micro >= 0
    assert sum(entry.kind is EntryKind.RESERVE for entry in database.ledger.entries()) <= PROCESSES * EACH
    assert held_or_spent.reserved_micro + held_or_spent.settled_micro > LIMIT - 100 * smallest
    database.close()


def test_devices_and_money_go_together(database_url: str) -> None:
    database = open_database(database_url)
    database.ledger.set_limit("vision", PERIOD, 35_000, NOW)  # money for three, devices for five
    for number in range(PROCESSES):
        database.runs.open_run(examples.run_record(f"run-of-{number:03d}"))
    results = together(claim_and_reserve, database_url, answers=True)
    assert sorted(results) == ["BUDGET_EXCEEDED"] * (PROCESSES - 3) + ["claimed"] * 3
    held = [attempt.run_id for attempt in database.runs.open_attempts()]
    assert sorted(held) == sorted({entry.run_id for entry in database.ledger.entries() if entry.run_id})
    database.ledger.set_limit("vision", PERIOD, 10**9, NOW)
    for number, result in enumerate(results):
        if result != "claimed":
            continue
        assert database.ledger.reserved_for(f"run-of-{number:03d}", 1) == 10_000
    assert problems_of(database) == []
    database.close()


def test_an_attempt_is_closed_by_one_of_many(database_url: str) -> None:
    database = open_database(database_url)
    database.ledger.set_limit("vision", PERIOD, LIMIT, NOW)
    database.ledger.reserve("vision", PERIOD, RUN, 1, 1_000, NOW)
    results = together(same_attempt, database_url, answers=True)
    winners = [result for result in results if result != "ATTEMPT_CLOSED"]
    assert len(winners) == 1
    balance = database.ledger.balance("vision", PERIOD)
    assert (balance.reserved_micro, balance.settled_micro) == (0, winners[0])
    assert problems_of(database) == []
    database.close()


def test_a_process_killed_inside_a_transaction_leaves_nothing(database_url: str) -> None:
    database = open_database(database_url)
    database.ledger.set_limit("vision", PERIOD, LIMIT, NOW)
    database.runs.open_run(examples.run_record())
    for _ in range(3):
        reader, writer = CLIENTS.Pipe(duplex=False)
        client = CLIENTS.Process(target=die_inside, args=(database_url, writer))
        client.start()
        writer.close()
        try:
            assert reader.recv() == "inside"
        finally:
            os.kill(client.pid, signal.SIGKILL)
            client.join()
    # The next writer gets its turn at once, and finds neither money nor devices taken.
    assert database.ledger.reserve("vision", PERIOD, "another-run", 1, LIMIT, NOW).available_micro == 0
    assert database.runs.attempts(RUN) == ()
    assert database.runs.run(RUN) == examples.run_record()
    assert problems_of(database) == []
    database.close()

"""What only a database in SQL can get wrong: schemas, append-only tables, locks, full disks, absent servers, forks."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, event, text

from infra.adapters.sql import Database, migrate, open_database
from infra.adapters.sql import schema as sql_schema
from infra.adapters.sql.engine import Transactions, make_engine, parse_url
from infra.adapters.sql.schema import VERSION_TABLE
from infra.adapters.sql.tables import APPEND_ONLY, SCHEMA_VERSION, accounts, metadata
from infra.core.errors import ConflictError, InputError, UnavailableError
from infra.core.lifecycle import AttemptState, RunState
from infra.ports import PolicyChange
from tests.contract import examples
from tests.contract.examples import RUN
from tests.databases import NOW, PERIOD, SQL

on_both = pytest.mark.parametrize("database_url", SQL, indirect=True)
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def filled(url: str, **options: float) -> Database:
    """A database with a row in each append-only table."""
    database = open_database(url, **options)
    database.ledger.set_limit("vision", PERIOD, 1_000_000, NOW)
    database.runs.open_run(examples.run_record())
    database.runs.add_decision(RUN, examples.request(), examples.snapshot(), examples.decision())
    database.runs.claim_attempt(examples.attempt_record(), 4)
    for state in (AttemptState.DISPATCHED, AttemptState.FINISHED):
        database.runs.update_attempt(RUN, 1, state)
    database.runs.publish(examples.publication())
    database.policies.change(examples.POLICY, PolicyChange.APPLY, "first", NOW)
    database.spot.add(examples.sighting())
    return database


@on_both
def test_the_migrations_make_these_tables(database_url: str) -> None:
    engine = make_engine(parse_url(database_url))
    options = {"version_table": VERSION_TABLE, "compare_type": True}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == SCHEMA_VERSION
    engine.dispose()


@pytest.mark.parametrize("kind", SQL)
def test_a_database_of_the_first_schema_is_brought_up_to_date(kind: str, request, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}" if kind == "sqlite" else request.getfixturevalue("postgres").empty()
    engine = make_engine(parse_url(url))
    config = Config()
    config.set_main_option("script_location", str(Path(sql_schema.__file__).parent / "migrations"))
    with Transactions(engine).writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO accounts VALUES ('vision', '2026-11', 5, 0, 0)"))
    engine.dispose()
    with pytest.raises(UnavailableError) as caught:
        open_database(url)
    assert caught.value.code == "SCHEMA_OLDER"
    assert migrate(url) == SCHEMA_VERSION
    database = open_database(url)
    assert database.ledger.balance("vision", PERIOD).limit_micro == 5
    assert database.policies.current() is None
    database.close()


@on_both
def test_migrating_again_changes_nothing(database_url: str) -> None:
    filled(database_url).close()
    assert migrate(database_url) == SCHEMA_VERSION
    reopened = open_database(database_url)
    assert reopened.ledger.balance("vision", PERIOD).limit_micro == 1_000_000
    reopened.close()


@on_both
@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET {} = 'another'"])
def test_the_database_itself_refuses_to_rewrite_the_past(database_url: str, table: str, statement: str) -> None:
    filled(database_url).close()
    engine = create_engine(parse_url(database_url))
    with engine.begin() as connection, pytest.raises(Exception, match=f"{table} is append-only"):
        connection.execute(text(statement.format(table, "why" if table == "policies" else "run_id")))
    engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("table", APPEND_ONLY)
def test_the_past_cannot_be_truncated(database_url: str, table: str) -> None:
    engine = create_engine(parse_url(database_url))
    with engine.begin() as connection, pytest.raises(Exception, match=f"{table} is append-only"):
        connection.execute(text(f"TRUNCATE {table}"))
    engine.dispose()


@on_both
def test_the_database_itself_refuses_to_overdraw_an_account(database_url: str) -> None:
    database = filled(database_url)
    with pytest.raises(ConflictError) as refused, database._transactions.writing() as connection:
        connection.execute(accounts.update().values(reserved_micro=1_000_001))
    assert refused.value.code == "WRITE_REFUSED"
    database.close()


def break_by(*statements: str) -> Callable[[str], None]:
    def damage(path: str) -> None:
        with sqlite3.connect(path) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    return damage


@on_sqlite
@pytest.mark.parametrize(
    ("damage", "opening", "migrating"),
    [
        (break_by(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"), "SCHEMA_NEWER", "SCHEMA_NEWER"),
        (break_by("DROP TABLE arrivals"), "SCHEMA_HALF_MIGRATED", "SCHEMA_HALF_MIGRATED"),
        (break_by(f"DROP TABLE {VERSION_TABLE}"), "SCHEMA_HALF_MIGRATED", "SCHEMA_HALF_MIGRATED"),
        (break_by(f"UPDATE {VERSION_TABLE} SET version_num = 'x'"), "SCHEMA_HALF_MIGRATED", "SCHEMA_HALF_MIGRATED"),
        (break_by(f"UPDATE {VERSION_TABLE} SET version_num = '0000'"), "SCHEMA_OLDER", None),
        (lambda path: Path(path).unlink(), "DATABASE_MISSING", None),
        (lambda path: Path(path).write_bytes(b""), "SCHEMA_MISSING", None),
        (lambda path: Path(path).write_bytes(b"no database" * 999), "DATABASE_DAMAGED", "DATABASE_DAMAGED"),
    ],
)
def test_another_schema_is_refused(
    database_url: str, damage: Callable[[str], None], opening: str, migrating: str | None
) -> None:
    path = database_url.removeprefix("sqlite:///")
    damage(path)
    with pytest.raises(UnavailableError) as refused:
        open_database(database_url)
    assert refused.value.code == opening
    assert refused.value.remedy
    assert Path(path).exists() == (opening != "DATABASE_MISSING")
    if migrating:
        with pytest.raises(UnavailableError) as refused:
            migrate(database_url)
        assert refused.value.code == migrating


def test_migrating_makes_the_directory_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a/b/control.db"
    migrate(url)
    open_database(url).close()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://host/db", "sqlite://", "sqlite:///:memory:", "postgresql+asyncpg://u:geheim@h/d"]
)
def test_a_bad_url_is_the_users_fault(url: str) -> None:
    for call in (open_database, migrate):
        with pytest.raises(InputError) as refused:
            call(url)
        assert refused.value.code == "BAD_DATABASE_URL"
        assert "geheim" not in str(refused.value)


def test_an_absent_server_is_named_without_its_password() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused, nobody else gets the port
        url = f"postgresql://headrace:geheim@127.0.0.1:{bound.getsockname()[1]}/control"
        for call in (open_database, migrate):
            with pytest.raises(UnavailableError) as refused:
                call(url)
            assert refused.value.code == "DATABASE_UNREACHABLE"
            assert "geheim" not in str(refused.value)
            assert "127.0.0.1" in refused.value.where


@pytest.mark.slow
def test_an_absent_database_and_an_absent_schema(postgres) -> None:
    url = postgres.empty()
    with pytest.raises(UnavailableError) as refused:
        open_database(url)
    assert refused.value.code == "SCHEMA_MISSING"
    with pytest.raises(UnavailableError) as refused:
        open_database(str(parse_url(url).set(database="nowhere")))
    assert refused.value.code == "DATABASE_UNREACHABLE"
    migrate(url)
    open_database(url).close()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for below in ("file/control.db", "file/deeper/control.db"):
        with pytest.raises(UnavailableError) as refused:
            migrate(f"sqlite:///{tmp_path}/{below}")
        assert refused.value.code == "DATABASE_UNREACHABLE"


@on_both
def test_a_writer_that_does_not_end_is_reported(database_url: str) -> None:
    first, second = filled(database_url), open_database(database_url, lock_wait_s=0.05)
    with first.transaction():
        first.ledger.reserve("vision", PERIOD, RUN, 1, 5, NOW)
        with pytest.raises(UnavailableError) as refused:
            second.ledger.reserve("vision", PERIOD, RUN, 2, 5, NOW)
        assert refused.value.code == "DATABASE_LOCKED"
        assert second.ledger.balance("vision", PERIOD).reserved_micro == 0  # readers do not wait
    assert second.ledger.reserve("vision", PERIOD, RUN, 2, 5, NOW).reserved_micro == 10
    first.close()
    second.close()


@on_both
def test_reading_sees_one_instant(database_url: str) -> None:
    reader, writer = filled(database_url), open_database(database_url)
    with reader.reading():
        before = reader.ledger.entries()
        writer.ledger.reserve("vision", PERIOD, RUN, 1, 5, NOW)
        assert reader.ledger.entries() == before
        assert reader.ledger.reserved_for(RUN, 1) == 0
    assert reader.ledger.reserved_for(RUN, 1) == 5
    reader.close()
    writer.close()


@on_sqlite
def test_a_full_disk_keeps_nothing_of_the_call(database_url: str) -> None:
    database = filled(database_url)

    def stop_growing(connection, _record, _proxy) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")

    event.listen(database._engine, "checkout", stop_growing)
    before = database.ledger.entries()
    with pytest.raises(UnavailableError) as refused, database.transaction():  # noqa: PT012 - the block must fail
        database.ledger.reserve("vision", PERIOD, RUN, 1, 5, NOW)
        for number in range(100):
            database.runs.open_run(examples.run_record(f"run-{number:09d}", detail="x" * 500))
    assert refused.value.code == "DISK_FULL"
    event.remove(database._engine, "checkout", stop_growing)
    assert database.ledger.entries() == before
    assert database.ledger.reserved_for(RUN, 1) == 0
    assert [run.run_id for run in database.runs.runs()] == [RUN]
    assert database.ledger.reserve("vision", PERIOD, RUN, 1, 6, NOW).reserved_micro == 6
    database.close()


@on_both
def test_a_transaction_that_the_database_has_ended_is_not_written_on(database_url: str) -> None:
    database = filled(database_url)
    with pytest.raises(UnavailableError) as refused, database.transaction():  # noqa: PT012 - the block must fail
        database.ledger.reserve("vision", PERIOD, RUN, 1, 5, NOW)
        with database._transactions.reading() as connection:
            end_by_force(connection)
        for call in [
            lambda: database.ledger.reserve("vision", PERIOD, RUN, 2, 5, NOW),
            lambda: database.runs.set_run_state(RUN, RunState.PUBLISHED, "should not be kept"),
            lambda: database.ledger.reserved_for(RUN, 1),
        ]:
            with pytest.raises(UnavailableError):
                call()
    assert refused.value.code == "DATABASE_UNREACHABLE"
    assert database.ledger.balance("vision", PERIOD).reserved_micro == 0
    assert database.runs.run(RUN).detail == ""
    database.close()


def end_by_force(connection: Connection) -> None:
    """End the transaction as a full disk (SQLite) or a dying server (PostgreSQL) does: behind the caller's back."""
    if connection.dialect.name == "sqlite":
        connection.connection.dbapi_connection.execute("ROLLBACK")
        return
    pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    other = create_engine(connection.engine.url)
    with other.connect() as second:
        second.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    other.dispose()


@on_sqlite
def test_a_read_only_database_says_so(database_url: str) -> None:
    database = filled(database_url)
    event.listen(database._engine, "checkout", lambda connection, *_: connection.execute("PRAGMA query_only = ON"))
    with pytest.raises(UnavailableError) as refused:
        database.ledger.reserve("vision", PERIOD, RUN, 1, 5, NOW)
    assert refused.value.code == "DATABASE_READ_ONLY"
    database.close()


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_text_that_the_database_cannot_hold_is_the_callers_fault(database_url: str) -> None:
    database = filled(database_url)
    with pytest.raises(InputError) as refused:
        database.runs.open_run(examples.run_record("nul\x00byte-run"))
    assert refused.value.code == "BAD_VALUE"
    database.close()


@on_both
def test_a_dropped_connection_is_replaced(database_url: str) -> None:
    database = filled(database_url)
    with database._transactions.reading() as connection:
        if connection.dialect.name == "postgresql":
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        else:
            pid = None
            raw = connection.connection.dbapi_connection
    if pid is None:
        raw.close()
        database._engine.dispose()
    else:
        other = create_engine(parse_url(database_url))
        with other.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        other.dispose()
    assert database.ledger.reserve("vision", PERIOD, RUN, 1, 5, NOW).reserved_micro == 5
    database.close()


def _reserve_in_child(database: Database, attempt: int) -> None:
    database.ledger.reserve("vision", PERIOD, RUN, attempt, 5, NOW)


@on_both
def test_a_forked_child_connects_anew(database_url: str) -> None:
    database = filled(database_url)
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_reserve_in_child, args=(database, attempt)) for attempt in (1, 2)]
    for child in children:
        child.start()
    database.ledger.reserve("vision", PERIOD, RUN, 3, 5, NOW)
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert database.ledger.balance("vision", PERIOD).reserved_micro == 15
    database.close()


def test_processes_may_migrate_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/control.db"
    failures: list[Exception] = []

    def attempt() -> None:
        try:
            migrate(url)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    open_database(url).close()


def test_the_database_file_is_its_owners_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/control.db"
    migrate(url)
    assert stat.S_IMODE(os.stat(tmp_path / "control.db").st_mode) == 0o600


def test_opening_does_not_import_alembic(tmp_path: Path) -> None:
    code = "import sys, infra.adapters.sql; sys.exit('alembic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

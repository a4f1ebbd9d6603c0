"""Connections and transactions: one writer at a time on both databases.

SQLite takes its write lock with ``BEGIN IMMEDIATE``; on PostgreSQL a write transaction begins with one advisory lock.
So a transaction that looks and then writes needs no other care: nobody writes in between, nothing can deadlock,
and the ledger's sequence has no gaps. The locks end with the transaction, also when its process is killed. Readers
never wait. A control plane writes some ten short transactions per run, far below what one writer can do.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Column, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from infra.adapters.sql.failures import translated
from infra.core.errors import InputError, UnavailableError

LOCK_WAIT_S = 30
"""How long a writer waits for its turn before it says DATABASE_LOCKED."""

_WRITER_LOCK = 0x4845_4144_5241_4345
"""Key of PostgreSQL's advisory lock: "HEADRACE" in ASCII."""


def parse_url(url: str) -> URL:
    """Check a database URL.

    Raises:
        InputError: ``BAD_DATABASE_URL``. The URL is not repeated in the error: it may hold a password.
    """
    remedy = "use sqlite:///path/to/file.db or postgresql+psycopg://user:password@host/name"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InputError("BAD_DATABASE_URL", "it cannot be read", "database URL", remedy) from error
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise InputError("BAD_DATABASE_URL", f"{parsed.drivername!r} is not supported", "database URL", remedy)
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise InputError("BAD_DATABASE_URL", "a database in memory is lost with its process", "database URL", remedy)
    return parsed


def sqlite_file(url: URL) -> Path | None:
    """The database file, or ``None`` when the URL is not SQLite's."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def make_engine(url: URL, lock_wait_s: float = LOCK_WAIT_S) -> Engine:
    """An engine whose connections begin as :class:`Transactions` says. Nothing is connected yet."""
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": lock_wait_s})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        limits = f"-c lock_timeout={int(lock_wait_s * 1000)} -c idle_in_transaction_session_timeout=60000"
        engine = create_engine(
            url,
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            connect_args={"connect_timeout": 10, "options": limits, "application_name": "headrace"},
        )
        event.listen(engine, "begin", _begin_postgresql)
    # A forked child must not use, nor close, its parent's connections.
    child = weakref.ref(engine)
    os.register_at_fork(after_in_child=lambda: _forget(child()))
    return engine


def _forget(engine: Engine | None) -> None:
    if engine is not None:
        engine.dispose(close=False)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver is not to begin transactions by itself: _begin_sqlite does.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    _use_wal(connection)
    # FULL: what was committed is on the disk, also when the power fails. Money is worth the wait.
    connection.execute("PRAGMA synchronous = FULL")


def _use_wal(connection: Any) -> None:
    # Only the very first connection changes the mode; then SQLite does not wait for others that do the same, so wait
    # here. Later it is a look at the file's header.
    give_up = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("headrace_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("headrace_writes", False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")


class Transactions:
    """The transaction that the current thread is in, if any; stores join it, or run one of their own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._local = threading.local()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a write transaction: committed at the end, rolled back when an exception leaves the block.

        Inside another one it is a savepoint of it.
        """
        current = self._current()
        if current is None:
            with self._begun(headrace_writes=True) as connection:
                yield connection
                self._require_unbroken(connection)
        elif not self._local.writes:
            raise RuntimeError("a write inside reading(): use transaction()")
        else:
            with translated(self.engine.url):
                self._require_unbroken(current)
                with self._savepoint(current):
                    yield current

    @contextmanager
    def _savepoint(self, connection: Connection) -> Iterator[None]:
        savepoint = None
        try:
            savepoint = connection.begin_nested()
            yield
            savepoint.commit()
        except BaseException as error:
            try:
                if savepoint is not None:
                    savepoint.rollback()
            except SQLAlchemyError:
                savepoint = None
            if savepoint is None:
                # A full disk or a lost connection has ended the whole transaction; the first error tells why.
                self._local.broken = error
            raise

    def _require_unbroken(self, connection: Connection) -> None:
        """Refuse to go on in, or to commit, a transaction that the database has already ended.

        Without this, a caller that handled the error would write on without a transaction.
        """
        driver = connection.connection.dbapi_connection if not connection.invalidated else None
        if self._local.broken is None and isinstance(driver, sqlite3.Connection) and not driver.in_transaction:
            self._local.broken = sqlite3.OperationalError("the database has ended the transaction")
        if self._local.broken is not None:
            raise self._local.broken

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection whose reads all see one instant; inside a transaction, that transaction's."""
        current = self._current()
        if current is not None:
            try:
                with translated(self.engine.url):
                    self._require_unbroken(current)
                    yield current
            except UnavailableError as error:
                self._local.broken = error
                raise
            return
        sqlite = self.engine.dialect.name == "sqlite"  # whose every transaction sees one instant
        options = {} if sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self._begun(headrace_writes=False, **options) as connection:
            yield connection

    @contextmanager
    def reading_only(self) -> Iterator[None]:
        """As :meth:`reading`, and writes of the block are refused."""
        with self.reading():
            before, self._local.writes = self._local.writes, False
            try:
                yield
            finally:
                self._local.writes = before

    def _current(self) -> Connection | None:
        return getattr(self._local, "connection", None)

    @contextmanager
    def _begun(self, **options: Any) -> Iterator[Connection]:
        with translated(self.engine.url), self.engine.connect() as connection:
            connection = connection.execution_options(**options)
            with connection.begin():
                self._local.connection, self._local.broken = connection, None
                self._local.writes = options["headrace_writes"]
                try:
                    yield connection
                finally:
                    self._local.connection = None


def next_number(connection: Connection, column: Column[int]) -> int:
    """The number after the largest one in a column; unique because there is one writer at a time."""
    return int(connection.execute(select(func.coalesce(func.max(column), 0) + 1)).scalar_one())

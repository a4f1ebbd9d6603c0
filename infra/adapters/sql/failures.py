"""Turns what a database driver raises into errors that say what to do. Passwords never appear in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from infra.core.errors import ConflictError, HeadraceError, InputError, UnavailableError

_SQLITE: tuple[tuple[str, str, str], ...] = (
    ("database is locked", "DATABASE_LOCKED", "another process has been writing for long: find it, or try again"),
    ("database table is locked", "DATABASE_LOCKED", "another process has been writing for long: try again"),
    ("database or disk is full", "DISK_FULL", "free space on its disk; nothing of this call was kept"),
    ("disk i/o error", "DISK_FAILED", "check its disk and its free space; nothing of this call was kept"),
    ("unable to open database file", "DATABASE_UNREACHABLE", "check that the directory exists and may be written to"),
    ("readonly database", "DATABASE_READ_ONLY", "make the file and its directory writable for this user"),
    ("not a database", "DATABASE_DAMAGED", "this file is no SQLite database: name another, or restore a backup"),
    ("malformed", "DATABASE_DAMAGED", "restore the file from a backup"),
    ("no such table", "SCHEMA_MISSING", "run `headrace up`, which makes the schema"),
    ("no such column", "SCHEMA_DIFFERENT", "run `headrace up` with the version of Headrace that made the database"),
)

_POSTGRESQL: tuple[tuple[str, str, str], ...] = (
    ("53100", "DISK_FULL", "free space on the server's disk; nothing of this call was kept"),
    ("53", "DATABASE_BUSY", "the server is out of connections or memory: try again, or give it more"),
    (
        "55P03",
        "DATABASE_LOCKED",
        "another process has been writing for long: find it in pg_stat_activity, or try again",
    ),
    ("57014", "DATABASE_LOCKED", "the statement took too long: look for a long transaction in pg_stat_activity"),
    ("57", "DATABASE_UNREACHABLE", "the server is stopping or starting: try again"),
    ("58", "DISK_FAILED", "check the server's disk; nothing of this call was kept"),
    ("25006", "DATABASE_READ_ONLY", "connect to the primary server"),
    ("28", "DATABASE_UNREACHABLE", "check user and password in the URL"),
    ("3D000", "DATABASE_UNREACHABLE", "create the database, or correct its name in the URL"),
    ("42P01", "SCHEMA_MISSING", "run `headrace up`, which makes the schema"),
    ("42703", "SCHEMA_DIFFERENT", "run `headrace up` with the version of Headrace that made the database"),
    ("42501", "DATABASE_READ_ONLY", "grant this user the rights on the schema"),
)


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Raise a driver's errors as Headrace's.

    Raises:
        UnavailableError: The database does not answer, is locked, full, damaged or of another schema.
        ConflictError: ``TRANSACTION_CONFLICT``, ``WRITE_REFUSED``: nothing of the transaction was kept.
        InputError: ``BAD_VALUE`` for a value that the database cannot hold.
    """
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise translate(error, url) from error


def translate(error: Exception, url: URL) -> HeadraceError:
    """The error to raise in place of a driver's error."""
    where = f"database {url.render_as_string(hide_password=True)}"
    if isinstance(error, PoolTimeout):
        return UnavailableError("DATABASE_BUSY", "no free connection", where, "try again, or run fewer at a time")
    cause = getattr(error, "orig", None) or error
    problem = " ".join(str(cause).split())
    if url.password:
        problem = problem.replace(url.password, "…")
    state = getattr(cause, "sqlstate", None) or ""
    if state in ("40001", "40P01"):
        return ConflictError("TRANSACTION_CONFLICT", problem, where, "try again")
    for known, code, remedy in _POSTGRESQL if state else ():
        if state.startswith(known):
            return UnavailableError(code, problem, where, remedy)
    for known, code, remedy in _SQLITE if url.get_backend_name() == "sqlite" else ():
        if known in problem.lower():
            return UnavailableError(code, problem, where, remedy)
    if isinstance(error, IntegrityError):
        return ConflictError("WRITE_REFUSED", problem, where, "nothing was kept: look again and decide anew")
    if isinstance(error, DataError) or (isinstance(error, StatementError) and not isinstance(error, DBAPIError)):
        return InputError("BAD_VALUE", problem, where, "use plain text and numbers within 64 bits")
    return UnavailableError("DATABASE_UNREACHABLE", problem, where, "check that the server runs and the URL is right")

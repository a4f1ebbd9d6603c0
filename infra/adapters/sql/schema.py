"""Makes the schema, and checks that a database has the one that this code needs."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import Connection, Engine, column, inspect, select, table

from infra.adapters.sql.engine import Transactions, make_engine, parse_url, sqlite_file
from infra.adapters.sql.tables import SCHEMA_VERSION, metadata
from infra.core.errors import UnavailableError

VERSION_TABLE = "headrace_schema"
_MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(url: str) -> str:
    """Bring a database to this code's schema, creating the file of a SQLite database; return the schema's version.

    All in one transaction, behind the writers' lock: of several processes one does the work, and one that dies has
    changed nothing. A schema that is already right is left alone.

    Raises:
        UnavailableError: ``SCHEMA_NEWER``, ``SCHEMA_HALF_MIGRATED``, or the database does not answer.
        InputError: ``BAD_DATABASE_URL``.
    """
    # Alembic takes a while to import and only this function needs it.
    from alembic import command
    from alembic.config import Config

    parsed = parse_url(url)
    file = sqlite_file(parsed)
    if file is not None:
        _make_file(file)
    engine = make_engine(parsed)
    try:
        with Transactions(engine).writing() as connection:
            version = _version(connection)
            if version != SCHEMA_VERSION:
                _require_known(connection, version, engine)
                config = Config()
                config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            _require_whole(connection, engine)
    finally:
        engine.dispose()
    return SCHEMA_VERSION


def check_schema(engine: Engine) -> None:
    """Refuse a database without exactly this code's schema.

    Raises:
        UnavailableError: ``DATABASE_MISSING``, ``SCHEMA_MISSING``, ``SCHEMA_OLDER``, ``SCHEMA_NEWER``,
            ``SCHEMA_HALF_MIGRATED``, or the database does not answer.
    """
    file = sqlite_file(engine.url)
    if file is not None and not file.exists():
        raise UnavailableError(
            "DATABASE_MISSING", "there is no such file", f"database {file}", "run `headrace up`, which makes it"
        )
    with Transactions(engine).reading() as connection:
        version = _version(connection)
        _require_known(connection, version, engine)
        if version is None:
            raise UnavailableError(
                "SCHEMA_MISSING", "it holds no Headrace tables", _where(engine), "run `headrace up`, which makes them"
            )
        if version != SCHEMA_VERSION:
            raise UnavailableError(
                "SCHEMA_OLDER",
                f"its schema is {version}, this version needs {SCHEMA_VERSION}",
                _where(engine),
                "run `headrace up`, which brings it up to date",
            )
        _require_whole(connection, engine)


def _make_file(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Its owner's alone: it holds what everybody's runs cost. SQLite's own files beside it get the same mode.
        os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise UnavailableError(
            "DATABASE_UNREACHABLE", str(error), f"database {file}", "name a file that can be made and written"
        ) from error


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(select(column("version_num")).select_from(table(VERSION_TABLE))).scalar_one_or_none()


def _require_known(connection: Connection, version: str | None, engine: Engine) -> None:
    present = _present(connection)
    if version is None and present:
        raise _half_migrated(f"it has {', '.join(sorted(present))} and no schema version", engine)
    if version is not None and not version.isdigit():
        raise _half_migrated(f"its schema version is {version!r}", engine)
    if version is not None and version > SCHEMA_VERSION:
        raise UnavailableError(
            "SCHEMA_NEWER",
            f"its schema is {version}, this version knows {SCHEMA_VERSION}",
            _where(engine),
            "use the newer version of Headrace that made it",
        )


def _require_whole(connection: Connection, engine: Engine) -> None:
    missing = set(metadata.tables) - _present(connection)
    if missing:
        raise _half_migrated(f"{', '.join(sorted(missing))} are missing", engine)


def _present(connection: Connection) -> set[str]:
    return set(metadata.tables) & set(inspect(connection).get_table_names())


def _half_migrated(problem: str, engine: Engine) -> UnavailableError:
    return UnavailableError(
        "SCHEMA_HALF_MIGRATED", problem, _where(engine), "restore a backup, or name another database"
    )


def _where(engine: Engine) -> str:
    return f"database {engine.url.render_as_string(hide_password=True)}"

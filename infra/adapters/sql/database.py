"""One open database with its six stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from infra.adapters.clock import SystemClock
from infra.adapters.sql.catalog import SqlCatalog, SqlHistory
from infra.adapters.sql.engine import LOCK_WAIT_S, Transactions, make_engine, parse_url
from infra.adapters.sql.ledger import SqlLedger
from infra.adapters.sql.policies import SqlPolicyStore
from infra.adapters.sql.runs import SqlRunStore
from infra.adapters.sql.schema import check_schema
from infra.adapters.sql.spot import SqlSpotStore
from infra.ports import Clock


class Database:
    """A :class:`infra.ports.ControlStore` in SQL. May be shared by threads; a forked child connects anew."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.clock = clock
        self._engine = engine
        self._transactions = Transactions(engine)
        self.ledger = SqlLedger(self._transactions)
        self.runs = SqlRunStore(self._transactions)
        self.catalog = SqlCatalog(self._transactions, clock)
        self.history = SqlHistory(self._transactions)
        self.policies = SqlPolicyStore(self._transactions)
        self.spot = SqlSpotStore(self._transactions)

    @property
    def url(self) -> str:
        """Where it is, without the password."""
        return self._engine.url.render_as_string(hide_password=True)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes of the block in this thread, or none; see :class:`infra.ports.ControlStore`."""
        with self._transactions.writing():
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Reads of the block in this thread see one instant; see :class:`infra.ports.ControlStore`."""
        with self._transactions.reading_only():
            yield

    def close(self) -> None:
        """Close the connections. Closing twice is no error."""
        self._engine.dispose()


def open_database(url: str, clock: Clock | None = None, lock_wait_s: float = LOCK_WAIT_S) -> Database:
    """Open a database that has this version's schema.

    Args:
        url: ``sqlite:////absolute/path.db`` or ``postgresql+psycopg://user:password@host/name``.
        clock: The system's clock when none is given.
        lock_wait_s: Seconds that a write waits for other writers.

    Raises:
        InputError: ``BAD_DATABASE_URL``.
        UnavailableError: It does not answer, or its schema is missing, older, newer or incomplete; see
            :func:`infra.adapters.sql.schema.check_schema`.
    """
    engine = make_engine(parse_url(url), lock_wait_s)
    try:
        check_schema(engine)
    except BaseException:
        engine.dispose()
        raise
    return Database(engine, clock or SystemClock())

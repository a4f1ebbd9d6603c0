"""The Prefect server's application, with one connection to its SQLite database.

Prefect opens a pool of SQLite connections, each with a busy timeout of a minute, and drives them from one event loop.
When the garbage collector, on the loop's thread, finalises a statement of a connection whose own thread is waiting for
the write lock, the loop waits for that thread, and the transaction that holds the lock waits for the loop: the whole
server stands still for a minute. SQLite writes one after the other in any case; with a single connection nobody ever
waits for a lock. Prefect itself uses one connection for databases in memory. A PostgreSQL server keeps its pool.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from prefect.server.api.server import create_app as prefect_app
from prefect.server.database import configurations
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import AsyncAdaptedQueuePool

POOL_TIMEOUT_S = 60.0
"""How long a request may wait for its turn."""

_create_async_engine = configurations.create_async_engine


def create_app() -> FastAPI:
    """What ``prefect server start`` serves (a uvicorn factory)."""
    configurations.create_async_engine = _one_connection
    return prefect_app()


def _one_connection(url: str, **options: Any) -> AsyncEngine:
    if str(url).startswith("sqlite"):
        options |= {
            "poolclass": AsyncAdaptedQueuePool,
            "pool_size": 1,
            "max_overflow": 0,
            "pool_timeout": POOL_TIMEOUT_S,
        }
    return _create_async_engine(url, **options)

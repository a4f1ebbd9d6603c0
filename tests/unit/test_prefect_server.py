"""The embedded Prefect server uses one connection to SQLite, and its usual pool for anything else."""

from __future__ import annotations

import asyncio

from infra.platform import prefect_server


def test_sqlite_gets_one_connection_and_postgres_its_pool(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(prefect_server, "_create_async_engine", lambda url, **options: seen.update({url: options}))
    prefect_server._one_connection(f"sqlite+aiosqlite:///{tmp_path}/server.db", echo=False)
    prefect_server._one_connection("postgresql+asyncpg://host/name", pool_size=7)
    sqlite, postgres = seen.values()
    assert (sqlite["pool_size"], sqlite["max_overflow"], sqlite["echo"]) == (1, 0, False)
    assert postgres == {"pool_size": 7}


def test_prefects_own_configuration_takes_it(tmp_path, monkeypatch):
    """Guards against a Prefect that makes its engine in another place."""
    from prefect.server.database import configurations

    monkeypatch.setattr(configurations, "create_async_engine", prefect_server._one_connection)

    async def pool_size() -> int:
        url = f"sqlite+aiosqlite:///{tmp_path}/server.db"
        engine = await configurations.AioSqliteConfiguration(connection_url=url).engine()
        size = engine.pool.size()
        await engine.dispose()
        return size

    assert asyncio.run(pool_size()) == 1

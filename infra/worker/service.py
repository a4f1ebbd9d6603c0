"""Runs one worker until SIGTERM or SIGINT, then lets it put its runs in order."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

import anyio

from infra.core.errors import ConflictError, InputError
from infra.processes import locked
from infra.settings import CONTROL_POOL
from infra.worker.settings import WorkerSettings
from infra.worker.worker import HeadraceWorker

_FAREWELL_S = 6.0


def serve(pool: str, site: str | None = None, name: str | None = None) -> None:
    """Serve a pool until the process is told to end.

    Raises:
        InputError: ``WRONG_SITE`` when ``site`` is not the pool's.
        ConflictError: ``WORKER_RUNNING`` when this site's state is served by another process.
    """
    settings = WorkerSettings.from_env(pool)
    if site is not None and (settings.site is None or settings.site.site != site):
        raise InputError("WRONG_SITE", f"pool {pool!r} is not that of site {site!r}", "--site", "leave --site out")
    with contextlib.ExitStack() as stack:
        if settings.site is not None:
            try:
                stack.enter_context(locked(settings.site.directory / "worker.lock", timeout_s=20.0))
            except ConflictError as error:
                raise ConflictError(
                    "WORKER_RUNNING", "another worker serves this site", str(settings.site.directory), "stop it first"
                ) from error
        worker = HeadraceWorker(
            work_pool_name=pool,
            name=name or f"headrace-{pool}",
            prefetch_seconds=0,
            heartbeat_interval_seconds=5 if pool != CONTROL_POOL else 10,
            settings=settings,
        )
        anyio.run(_serve, worker)


async def _serve(worker: HeadraceWorker) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(worker.start)
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                break
        await worker.drain()
        # All runs are accounted for. What follows is courtesy to the server, and must not hang on one that is gone.
        deadline = threading.Timer(_FAREWELL_S, os._exit, args=(0,))
        deadline.daemon = True
        deadline.start()
        group.cancel_scope.cancel()

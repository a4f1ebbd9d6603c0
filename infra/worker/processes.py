"""Flow-run processes, forked from one server that has the heavy imports behind it.

A fresh interpreter that imports Prefect, Dask and torch needs seconds; a fork of one that did needs milliseconds. The
server dies with the worker and every flow-run process dies with the server, by the kernel's parent-death signal, so a
worker that is killed leaves nothing running unseen.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess

import anyio
import anyio.to_thread

from infra.worker.child import FlowOrder, run_order
from infra.worker.preload import PRELOAD_VARIABLE, WORKER_PID_VARIABLE

_POLL_S = 0.02


class FlowProcess:
    """One running flow-run process, leader of a session of its own."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self.pid: int = process.pid or 0

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; negative when a signal ended it, as in :mod:`subprocess`."""
        return self._process.exitcode

    def signal(self, number: int) -> None:
        """Signal the process; one that is gone is no error."""
        if self.exit_code is None:
            _kill(self.pid, number)

    def kill_session(self) -> None:
        """Kill the process and what it started; the group outlives its leader while a member lives."""
        _kill(-self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Exit code, once it has ended."""
        sentinel = self._process.sentinel
        while self.exit_code is None:
            try:
                with anyio.move_on_after(1.0):
                    await anyio.wait_readable(sentinel)
            except anyio.BusyResourceError:
                # Somebody else waits for the same process.
                await anyio.sleep(_POLL_S)
        self.kill_session()
        code = self.exit_code
        assert code is not None
        return code

    async def stop(self, grace_s: float) -> int:
        """SIGTERM, then SIGKILL after the grace; the exit code."""
        self.signal(signal.SIGTERM)
        with anyio.move_on_after(grace_s):
            return await self.wait()
        self.kill_session()
        return await self.wait()


class FlowProcesses:
    """Starts flow-run processes. Create it, and call :meth:`warm_up` and :meth:`start`, in the main thread."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._preload = tuple(preload)
        self._context = multiprocessing.get_context("forkserver")

    def warm_up(self) -> None:
        """Start the server if it is not running; returns at once, the imports go on behind it."""
        os.environ[PRELOAD_VARIABLE] = ",".join(self._preload)
        os.environ[WORKER_PID_VARIABLE] = str(os.getpid())
        self._context.set_forkserver_preload(["infra.worker.preload"])
        # Here and not in the thread below: the kernel ends the server with the thread that started it.
        forkserver.ensure_running()

    async def start(self, order: FlowOrder) -> FlowProcess:
        """Fork a process for this order; returns when it exists."""
        self.warm_up()
        process = self._context.Process(target=run_order, args=(order,), name=f"flow-run-{order.flow_run_id}")
        await anyio.to_thread.run_sync(process.start)
        return FlowProcess(process)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        # Gone already, or the id belongs to somebody else by now.
        return

"""One run at a site, from its lease to its closing report.

The order matters and holds whatever fails: lease written → cluster opened → process run, watched by the clock and the
cap → cluster closed → report signed. Only then does the run get its last state, so nobody sees a run that ended while
its machines still cost money.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from infra.core.errors import HeadraceError, UnavailableError
from infra.core.metering import ReportOutcome, SiteReport
from infra.core.units import usd
from infra.ports import Clock
from infra.worker.attempt import Admission, SiteAttempt
from infra.worker.desk import SiteDesk
from infra.worker.running import Running, StopReason

logger = logging.getLogger("headrace.site")

_CLOCK_STEP_S = 0.5
_EXTENSION_STEP_S = 2.0
_RENEWAL_STEP_S = 5.0
NEAR = 0.75
"""Share of its money's time from which on an extension is looked for: somewhat before the control plane grants any."""

_OUTCOMES = {
    StopReason.CANCELLED: ReportOutcome.CANCELLED,
    StopReason.CAPPED: ReportOutcome.CAPPED,
    StopReason.LEASE_ENDED: ReportOutcome.EXPIRED,
    StopReason.WORKER_STOPS: ReportOutcome.LOST,
    StopReason.OVER_ELSEWHERE: ReportOutcome.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """How a flow's process ended.

    Attributes:
        completed: Whether the engine said that the flow completed; ``None`` when it said nothing.
        handled: Whether the run's end is recorded at the server already.
    """

    exit_code: int
    completed: bool | None
    handled: bool


RunProcess = Callable[[Path, Callable[[int], Awaitable[None]]], Awaitable[ProcessEnd]]
"""Runs the flow's process with this context file, tells its pid, and returns when it has ended."""


class SiteRun:
    """Carries one admitted run through."""

    def __init__(self, desk: SiteDesk, admission: Admission, clock: Clock) -> None:
        self._desk, self._admission, self._clock = desk, admission, clock

    @property
    def lease_id(self) -> str:
        return self._admission.claims.id

    async def execute(
        self, running: Running, run_process: RunProcess, start_deadline_s: float, metering_interval_s: float
    ) -> tuple[SiteReport, ProcessEnd | None]:
        """Do all of it; the closing report, and how the process ended if there was one."""
        attempt = await anyio.to_thread.run_sync(self._desk.begin, self._admission)
        end: ProcessEnd | None = None
        problem = ""
        try:
            context_file = await self._open(attempt, running, start_deadline_s)
            if context_file is not None:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._watch_the_clock, attempt, running)
                    group.start_soon(self._meter, attempt, metering_interval_s)
                    group.start_soon(self._renew_access, attempt)

                    async def tell_pid(pid: int) -> None:
                        await anyio.to_thread.run_sync(self._desk.process_started, attempt, pid)

                    end = await run_process(context_file, tell_pid)
                    group.cancel_scope.cancel()
        except HeadraceError as error:
            problem = str(error)
        except Exception as error:
            problem = f"WORKER_ERROR: {error!r}"
            raise
        finally:
            with anyio.CancelScope(shield=True):
                outcome = self._outcome(attempt, running, end)
                message = self._message(attempt, running, end, problem)
                report = await anyio.to_thread.run_sync(
                    self._desk.close, attempt, outcome, end.exit_code if end else None, message
                )
        return report, end

    async def _open(self, attempt: SiteAttempt, running: Running, start_deadline_s: float) -> Path | None:
        """The context file of the opened cluster; ``None`` when the run was told to stop meanwhile.

        Raises:
            UnavailableError: ``CLUSTER_START_FAILED`` or ``CLUSTER_START_SLOW``.
        """
        opened: list[Path] = []
        failed: list[HeadraceError] = []
        done = anyio.Event()

        async def open_it() -> None:
            try:
                opened.append(await anyio.to_thread.run_sync(self._desk.open_cluster, attempt))
            except HeadraceError as error:
                failed.append(error)
            done.set()

        async def stop_it() -> None:
            with anyio.move_on_after(start_deadline_s):
                await running.asked.wait()
            # Closing under way ends the start: the provider's own call returns with an error.
            await anyio.to_thread.run_sync(self._desk.close_cluster, attempt)

        async with anyio.create_task_group() as group:
            group.start_soon(open_it)
            watch = anyio.CancelScope()

            async def watched() -> None:
                with watch:
                    await stop_it()

            group.start_soon(watched)
            await done.wait()
            watch.cancel()
        if running.reason is not None:
            return None
        if failed:
            raise failed[0]
        if not opened:
            raise UnavailableError("CLUSTER_START_SLOW", f"not up within {start_deadline_s:g} s", self.lease_id)
        return opened[0]

    async def _watch_the_clock(self, attempt: SiteAttempt, running: Running) -> None:
        """Stop the run when its money, with all extensions, or its permit ends, whichever is first."""
        ends_at = attempt.admission.claims.expires_at
        looks_at = self._clock.now()
        while True:
            capped_at, now_at = attempt.capped_at, self._clock.now()
            left_s = min(capped_at, ends_at) - now_at
            near = attempt.extendable and now_at - attempt.lease.opened_at >= NEAR * (
                capped_at - attempt.lease.opened_at
            )
            if near and (now_at >= looks_at or left_s <= 0):
                looks_at = now_at + _EXTENSION_STEP_S
                if await anyio.to_thread.run_sync(self._desk.look_for_extension, attempt):
                    continue
            if left_s <= 0:
                break
            # In steps, because the wall clock may be set while we wait.
            await anyio.sleep(_CLOCK_STEP_S if math.isinf(left_s) else min(_CLOCK_STEP_S, left_s))
        if capped_at <= ends_at:
            running.stop(StopReason.CAPPED, f"CAP_REACHED: the devices have cost {usd(attempt.lease.cap_micro)}")
        else:
            running.stop(StopReason.LEASE_ENDED, "LEASE_ENDED: the permit's time is over")

    async def _meter(self, attempt: SiteAttempt, interval_s: float) -> None:
        while True:
            await anyio.sleep(interval_s)
            await anyio.to_thread.run_sync(self._desk.meter, attempt)

    async def _renew_access(self, attempt: SiteAttempt) -> None:
        """Keep the process's way into the store open; while that fails, it goes on with what it has."""
        while attempt.access.renew_at is not None:
            await anyio.sleep(_RENEWAL_STEP_S)
            try:
                await anyio.to_thread.run_sync(self._desk.renew_access, attempt)
            except HeadraceError as problem:
                logger.warning("The store's credentials of %s are not renewed yet: %s", self.lease_id, problem)

    def _outcome(self, attempt: SiteAttempt, running: Running, end: ProcessEnd | None) -> ReportOutcome:
        """FAILED is for work that would fail again; what only lost its cluster or its process may be tried again."""
        if end is not None and end.completed:
            # It finished before the stop reached it.
            return ReportOutcome.FINISHED
        if running.reason is not None:
            return _OUTCOMES[running.reason]
        left = self._desk.left_by(attempt)
        if left.result_manifest_sha256:
            # The result is whole; the engine could only not say so, for the Prefect server was away.
            return ReportOutcome.FINISHED
        lost = end is None or not end.handled or left.lost
        return ReportOutcome.LOST if lost else ReportOutcome.FAILED

    @staticmethod
    def _message(attempt: SiteAttempt, running: Running, end: ProcessEnd | None, problem: str) -> str:
        if end is not None and end.completed:
            return ""
        if problem or running.message:
            return problem or running.message
        if end is not None and not end.handled:
            return f"PROCESS_DIED: the flow's process ended with status {end.exit_code}"
        return ""

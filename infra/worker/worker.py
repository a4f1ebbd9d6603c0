"""The Prefect worker type ``headrace``: flow runs in forked processes, and at a site only what a permit allows.

Prefect's base worker finds the runs and proposes their states. This class decides whether a run may start at all
(before its job variables are even looked at), runs it in a process forked from a pre-imported server, watches for
cancellation, and at a site wraps it in a lease (see :mod:`infra.worker.site_run`). It never stops running work because
the Prefect API does not answer.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import anyio
import anyio.abc
import anyio.to_thread
import httpx
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import InfrastructureNotAvailable, InfrastructureNotFound, ObjectNotFound
from prefect.states import Completed
from prefect.workers.base import BaseWorker, BaseWorkerResult

from infra.core.errors import HeadraceError, RefusedError
from infra.core.metering import ReportOutcome
from infra.processes import notify_ready
from infra.worker.context import SITE_CONTEXT_VARIABLE
from infra.worker.flow_process import FlowRunner
from infra.worker.processes import FlowProcesses
from infra.worker.running import Running, StopReason
from infra.worker.settings import WorkerSettings
from infra.worker.site_run import ProcessEnd, SiteRun
from infra.worker.template import DOCUMENTATION_URL, HeadraceConfiguration, HeadraceVariables, logo_url
from infra.worker.wake import listen

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

    from infra.worker.desk import SiteDesk

_WATCH_S = 1.0
_OUTBOX_S = 5.0
_REAP_EVERY_S = 15.0
_STATE_RETRY_S = (0.5, 1, 2, 5, 10, 20, 30, 60, 60, 60)


_HOST = socket.gethostname()


@dataclass(frozen=True, slots=True)
class _Plan:
    """What an admitted run is to do; ``site_run`` is set at a site."""

    entrypoint: str
    site_run: SiteRun | None


class HeadraceResult(BaseWorkerResult):
    """Exit status of a flow run's process; 0 when its end is recorded."""


class HeadraceWorker(BaseWorker[HeadraceConfiguration, HeadraceVariables, HeadraceResult]):
    """Worker of the pools of type ``headrace``.

    Args:
        settings: Told by the environment when left out, as under ``prefect worker start --type headrace``.
        desk: The site's enforcement; built from the settings when left out.
    """

    type = "headrace"
    job_configuration = HeadraceConfiguration
    job_configuration_variables = HeadraceVariables
    _display_name = "Headrace"
    _description = (
        "Run placed AI work. In the control pool: entry flows. In a site's pool: only runs with a valid permit, each in "
        "its own leased Dask cluster, metered and stopped at its cap."
    )
    _documentation_url = DOCUMENTATION_URL
    _logo_url = logo_url()
    cleanup_max_concurrency: ClassVar[int | None] = 4

    def __init__(
        self, *args: Any, settings: WorkerSettings | None = None, desk: SiteDesk | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.settings = settings or WorkerSettings.from_env(self._work_pool_name)
        self.desk = desk
        self._processes = FlowProcesses(self.settings.preload)
        self._runner = FlowRunner(self._processes, self.name, at_site=self.settings.site is not None)
        self._running: dict[UUID, Running] = {}
        self._plans: dict[UUID, _Plan] = {}
        self._wake_start, self._wake_stop = anyio.Event(), anyio.Event()
        self._background: anyio.abc.TaskGroup | None = None
        self._draining = False

    # ------------------------------------------------------------------ life of the worker

    async def setup(self) -> None:
        """Start the fork server, account for what a killed worker left, then let Prefect's base set itself up."""
        self._processes.warm_up()
        if self.settings.site is not None:
            if self.desk is None:
                from infra.worker.assembly import site_desk

                self.desk = await anyio.to_thread.run_sync(site_desk, self.settings.site)
            for report in await anyio.to_thread.run_sync(self.desk.recover):
                self._logger.warning(
                    "Run %s, attempt %s: %s, told after its worker was gone",
                    report.run_id,
                    report.attempt,
                    report.outcome,
                )
        await self._runner.channel.__aenter__()
        try:
            await super().setup()
        except BaseException as problem:
            # Told to end while it starts: undo what the base entered, innermost first.
            await self._exit_stack.__aexit__(type(problem), problem, problem.__traceback__)
            await self._runner.channel.__aexit__(None, None, None)
            raise
        self._background = anyio.create_task_group()
        await self._background.__aenter__()
        self._background.start_soon(self._watch)
        if self.desk is not None:
            self._background.start_soon(self._deliver)
            self._background.start_soon(self._reap)

    async def teardown(self, *exc_info: Any) -> None:
        """Stop what still runs, in order, then everything else."""
        with anyio.CancelScope(shield=True):
            await self.drain()
        if self._background is not None:
            self._background.cancel_scope.cancel()
            await self._background.__aexit__(None, None, None)
            self._background = None
        await super().teardown(*exc_info)
        await self._runner.channel.__aexit__(None, None, None)

    async def drain(self) -> None:
        """Take no new runs, tell the running ones to save what they have, and wait until they are accounted for."""
        self._draining = True
        for running in self._running.values():
            running.stop(StopReason.WORKER_STOPS, "the worker was stopped")
        for running in list(self._running.values()):
            await running.done.wait()

    async def start(
        self, run_once: bool = False, with_healthcheck: bool = False, printer: Callable[..., None] = print
    ) -> None:
        """Serve until cancelled. The one-shot and health-checked forms are those of Prefect's base."""
        if run_once or with_healthcheck:
            await super().start(run_once, with_healthcheck, printer)
            return
        async with self:
            self._started_event = await self._emit_worker_started_event()
            printer(f"Worker {self.name!r} of pool {self.settings.pool!r} started")
            async with anyio.create_task_group() as loops:
                loops.start_soon(self._heartbeat_loop)
                loops.start_soon(self._listen)
                while True:
                    self._wake_start = anyio.Event()
                    await self.get_and_submit_flow_runs()
                    with anyio.move_on_after(self.settings.poll_s):
                        await self._wake_start.wait()

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Look for runs; an API that does not answer is no reason to stop anything."""
        if self._draining:
            return []
        try:
            return await super().get_and_submit_flow_runs()
        except (httpx.HTTPError, OSError) as problem:
            self._logger.warning("The Prefect API does not answer (%r); running work goes on", problem)
            return []

    async def _sync_and_initialize(self) -> None:
        try:
            await super()._sync_and_initialize()
        except (httpx.HTTPError, OSError) as problem:
            self._logger.warning("No heartbeat could be sent (%r); running work goes on", problem)
            return
        if self._has_successfully_synced:
            notify_ready()

    async def _heartbeat_loop(self) -> None:
        while True:
            await anyio.sleep(self.heartbeat_interval_seconds if self._has_successfully_synced else 1.0)
            await self._sync_and_initialize()

    async def _listen(self) -> None:
        while self._work_pool is None:
            await anyio.sleep(self.settings.poll_s)
        await listen(self._work_pool.id, lambda: self._wake_start.set(), lambda: self._wake_stop.set())

    async def _deliver(self) -> None:
        while True:
            await anyio.sleep(_OUTBOX_S)
            if self.desk is not None and await anyio.to_thread.run_sync(self.desk.deliver):
                self._logger.warning("The object store takes no reports; they wait in the site's outbox")

    async def _reap(self) -> None:
        """The site's own rounds: only it may have the credentials of its cloud."""
        while True:
            await anyio.sleep(_REAP_EVERY_S)
            try:
                for problem in await anyio.to_thread.run_sync(self.desk.reap):
                    self._logger.warning("%s", problem)
            except Exception:  # the next round may see what this one did not; the worker goes on either way
                self._logger.exception("The reaper's round failed")

    async def _watch(self) -> None:
        """See what the server thinks of the runs in hand, every second and whenever it says that one is to stop."""
        while True:
            with anyio.move_on_after(_WATCH_S):
                await self._wake_stop.wait()
            self._wake_stop = anyio.Event()
            # Runs that are taken in hand while the answer is under way are not in it, and must not count as deleted.
            asked = list(self._running)
            if not asked:
                continue
            try:
                seen = await self.client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=asked)))
            except (httpx.HTTPError, OSError) as problem:
                self._logger.debug("The Prefect API does not answer (%r); running work goes on", problem)
                continue
            states, now_s = {flow_run.id: flow_run.state for flow_run in seen}, time.monotonic()
            for flow_run_id in asked:
                if flow_run_id in self._running:
                    self._running[flow_run_id].judge(flow_run_id in states, states.get(flow_run_id), now_s)

    # ------------------------------------------------------------------ one run

    async def _submit_run_and_capture_errors(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[Any] | None = None
    ) -> BaseWorkerResult | Exception:
        """Admission comes first: a refused run's job variables are not even resolved."""
        try:
            plan = await self._admit(flow_run)
        except HeadraceError as error:
            await self._refuse(flow_run, error)
            self._release_limit_slot(flow_run.id)
            if task_status is not None:
                task_status.started(error)
            return error
        self._plans[flow_run.id], self._running[flow_run.id] = plan, Running(str(flow_run.id))
        try:
            return await super()._submit_run_and_capture_errors(flow_run, task_status)
        finally:
            del self._plans[flow_run.id]
            self._running.pop(flow_run.id).done.set()

    async def _admit(self, flow_run: FlowRun) -> _Plan:
        entrypoint = None
        if flow_run.deployment_id is not None:
            entrypoint = (await self.client.read_deployment(flow_run.deployment_id)).entrypoint
        entrypoint = self.settings.require_flow(entrypoint)
        if self.desk is None:
            return _Plan(entrypoint, None)
        parameters = dict(flow_run.parameters or {})
        admission = await anyio.to_thread.run_sync(self.desk.admit, str(flow_run.id), parameters)
        return _Plan(entrypoint, SiteRun(self.desk, admission, self.desk.clock))

    async def _refuse(self, flow_run: FlowRun, error: HeadraceError) -> None:
        self.get_flow_run_logger(flow_run).error("Refused: %s", error)
        name = "Refused" if isinstance(error, RefusedError) else "NotStarted"
        await self._end(flow_run.id, State(type=StateType.FAILED, name=name, message=str(error)))
        if self.desk is not None:
            parameters = dict(flow_run.parameters or {})
            await anyio.to_thread.run_sync(self.desk.refuse, str(flow_run.id), error, parameters)

    async def run(
        self,
        flow_run: FlowRun,
        configuration: HeadraceConfiguration,
        task_status: anyio.abc.TaskStatus[Any] | None = None,
    ) -> HeadraceResult:
        """Run an admitted flow run to its end.

        Raises:
            RefusedError: ``FLOW_NOT_ALLOWED`` for a run that did not come through admission.
        """
        task_status = task_status or anyio.TASK_STATUS_IGNORED
        plan, running = self._plans.get(flow_run.id), self._running.get(flow_run.id)
        if plan is None or running is None:
            raise RefusedError("FLOW_NOT_ALLOWED", "this run was not admitted", f"flow run {flow_run.id}")
        name = plan.site_run.lease_id if plan.site_run is not None else str(flow_run.id)
        running.identifier = f"{_HOST}:{os.getpid()}:{name}"
        task_status.started(running.identifier)
        if plan.site_run is None:
            end = await self._runner.run(flow_run, plan.entrypoint, configuration, running, {}, _ignore_pid)
            return await self._conclude(flow_run, running, end, running.last_state(running.message))

        async def run_process(context_file: Path, tell_pid: Callable[[int], Awaitable[None]]) -> ProcessEnd:
            extra = {SITE_CONTEXT_VARIABLE: str(context_file)}
            return await self._runner.run(flow_run, plan.entrypoint, configuration, running, extra, tell_pid)

        report, end = await plan.site_run.execute(
            running, run_process, configuration.start_deadline_s, configuration.metering_interval_s
        )
        finished = report.outcome is ReportOutcome.FINISHED
        last = Completed(message="the result is whole") if finished else running.last_state(report.message)
        return await self._conclude(flow_run, running, end, last)

    async def _conclude(
        self, flow_run: FlowRun, running: Running, end: ProcessEnd | None, last: State
    ) -> HeadraceResult:
        """Give the run its last state where the engine has not, and turn the rest into an exit status.

        Args:
            last: The state to give.
        """
        identifier = running.identifier or str(flow_run.id)
        if end is not None and running.reason is None and (end.handled or not last.is_completed()):
            return HeadraceResult(identifier=identifier, status_code=0 if end.handled else end.exit_code)
        if end is None or not end.handled:
            await self._end(flow_run.id, last)
        return HeadraceResult(identifier=identifier, status_code=0)

    async def _end(self, flow_run_id: UUID, state: State) -> None:
        """Set a run's last state unless it has one; keep trying while the API is away."""
        for pause_s in (*_STATE_RETRY_S, None):
            try:
                current = (await self.client.read_flow_run(flow_run_id)).state
                if current is not None and current.is_final():
                    return
                await self.client.set_flow_run_state(flow_run_id, state, force=True)
                return
            except ObjectNotFound:
                return
            except (httpx.HTTPError, OSError) as problem:
                if pause_s is None or self._draining:
                    self._logger.error("Run %s could not be set to %s: %r", flow_run_id, state.name, problem)
                    return
                await anyio.sleep(pause_s)

    async def kill_infrastructure(
        self, infrastructure_pid: str, configuration: HeadraceConfiguration, grace_seconds: int = 30
    ) -> None:
        """Stop a run of this worker and wait until its cluster is closed. Safe to repeat.

        Raises:
            InfrastructureNotFound: When nothing of it exists any more.
            InfrastructureNotAvailable: When it belongs to a worker on another machine.
        """
        for running in self._running.values():
            if running.identifier == infrastructure_pid:
                running.stop(StopReason.CANCELLED, "CANCELLED: the server had the run torn down")
                with anyio.move_on_after(grace_seconds):
                    await running.done.wait()
                return
        if infrastructure_pid.partition(":")[0] != _HOST:
            raise InfrastructureNotAvailable(f"{infrastructure_pid} is not on this machine ({_HOST})")
        raise InfrastructureNotFound(f"{infrastructure_pid} is gone")


async def _ignore_pid(_pid: int) -> None:
    return

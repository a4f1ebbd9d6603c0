"""One flow run's process from start to end: its order, its environment, and stopping it when the run is asked to stop."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from uuid import UUID

import anyio
from prefect._internal.attempt_control import EngineOutcomeReceipt
from prefect.client.schemas.objects import StateType
from prefect.runner._control_channel import ControlChannel
from prefect.settings import get_current_settings

from infra.worker.child import FlowOrder
from infra.worker.environment import base_environment
from infra.worker.processes import FlowProcess, FlowProcesses
from infra.worker.running import Running
from infra.worker.site_run import ProcessEnd
from infra.worker.template import HeadraceConfiguration

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun


class FlowRunner:
    """Runs admitted flow runs in forked processes, in touch with the engine in each through Prefect's control channel.

    Args:
        worker_name: What the processes are told about who runs them.
        at_site: Whether this is a site's worker: then its processes get no control-plane settings.
    """

    def __init__(self, processes: FlowProcesses, worker_name: str, at_site: bool) -> None:
        self._processes, self._worker_name, self._at_site = processes, worker_name, at_site
        self.channel = ControlChannel()

    async def run(
        self,
        flow_run: FlowRun,
        entrypoint: str,
        configuration: HeadraceConfiguration,
        running: Running,
        extra: dict[str, str],
        tell_pid: Callable[[int], Awaitable[None]],
    ) -> ProcessEnd:
        """Fork the flow's process and see it through, stopping it when the run is asked to stop.

        Args:
            extra: Variables that the process gets besides its usual environment.
            tell_pid: Is told the process's number as soon as it exists.
        """
        with tempfile.TemporaryDirectory(prefix="headrace-run-") as directory:
            order = FlowOrder(
                flow_run_id=str(flow_run.id),
                entrypoint=entrypoint,
                env=self._environment(flow_run, configuration) | extra,
                directory=directory,
            )
            process = await self._processes.start(order)
            try:
                await tell_pid(process.pid)
                async with anyio.create_task_group() as group:
                    group.start_soon(self._stop_when_asked, flow_run.id, process, running, configuration.stop_grace_s)
                    exit_code = await process.wait()
                    group.cancel_scope.cancel()
            finally:
                process.kill_session()
                conclusion = self.channel.unregister(flow_run.id)
        reported = getattr(conclusion, "state_type", None)
        completed = None if reported is None else reported == StateType.COMPLETED.value
        return ProcessEnd(exit_code, completed, handled=isinstance(conclusion, EngineOutcomeReceipt))

    async def _stop_when_asked(self, flow_run_id: UUID, process: FlowProcess, running: Running, grace_s: float) -> None:
        await running.asked.wait()
        intent = running.reason.intent if running.reason else None
        if intent is not None:
            # Told beforehand, the engine leaves the run's next state to us instead of calling it a crash.
            await self.channel.signal(flow_run_id, intent)
        await process.stop(grace_s)

    def _environment(self, flow_run: FlowRun, configuration: HeadraceConfiguration) -> dict[str, str]:
        settings = get_current_settings().to_environment_variables(exclude_unset=True)
        env = base_environment(os.environ, settings, configuration.env, control=not self._at_site)
        port, token = self.channel.register(flow_run.id)
        return env | {
            "PREFECT__FLOW_RUN_ID": str(flow_run.id),
            "PREFECT__WORKER_NAME": self._worker_name,
            "PREFECT__FLOW_ID": str(flow_run.flow_id),
            "PREFECT__DEPLOYMENT_ID": str(flow_run.deployment_id),
            "PREFECT__CONTROL_PORT": str(port),
            "PREFECT__CONTROL_TOKEN": token,
            # At a site the last word on a cancelled run comes when its cluster is closed, so from the worker.
            "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false" if self._at_site else "true",
            "PREFECT_LOGGING_LEVEL": configuration.log_level,
            "PYTHONUNBUFFERED": "1",
        }

"""Flow runs as the controller sees and moves them, through the Prefect API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelling, Scheduled


@dataclass(frozen=True, slots=True)
class FlowRunStatus:
    """What matters of a flow run.

    Attributes:
        run_count: How often it was started.
        process: What its worker named as its infrastructure, or an empty string.
    """

    id: str
    state: StateType
    state_name: str
    run_count: int
    process: str

    @property
    def final(self) -> bool:
        return self.state in (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)


def statuses(ids: Iterable[str]) -> dict[str, FlowRunStatus]:
    """Status of each of these flow runs that still exists, by id."""
    wanted = [UUID(each) for each in ids]
    if not wanted:
        return {}
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=wanted)))
    return {str(each.id): _status(each) for each in found}


def start_again(flow_run_id: str, why: str) -> None:
    """Have a worker start this flow run (again) now."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run_id), Scheduled(message=why), force=True)


def cancel(flow_run_id: str, why: str) -> None:
    """Ask for the flow run's cancellation; its worker stops what it started."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run_id), Cancelling(message=why))


def _status(run: FlowRun) -> FlowRunStatus:
    state = run.state_type or StateType.PENDING
    return FlowRunStatus(str(run.id), state, run.state_name or "", run.run_count, run.infrastructure_pid or "")

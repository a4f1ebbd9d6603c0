"""Flow runs as the controller sees and moves them, through the Prefect API."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterIdempotencyKey,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled, Cancelling, Crashed, Failed, Scheduled

_PAGE = 200
"""The API gives at most so many flow runs in one answer."""


@dataclass(frozen=True, slots=True)
class FlowRunStatus:
    """What matters of a flow run.

    Attributes:
        since: When it came into its state, seconds since the epoch.
        run_count: How often it was started.
        process: What its worker named as its infrastructure, or an empty string.
    """

    id: str
    state: StateType
    state_name: str
    since: float
    run_count: int
    process: str

    @property
    def final(self) -> bool:
        return self.state in (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)

    @property
    def completed(self) -> bool:
        return self.state is StateType.COMPLETED

    @property
    def worker_gone(self) -> bool:
        """Whether the worker that started it ran on this machine and has ended; its processes ended with it."""
        host, _, rest = self.process.partition(":")
        pid = rest.partition(":")[0]
        return host == socket.gethostname() and pid.isdigit() and not os.path.exists(f"/proc/{pid}")


def statuses(ids: Iterable[str]) -> dict[str, FlowRunStatus]:
    """Status of each of these flow runs that still exists, by id."""
    wanted = [UUID(each) for each in ids]
    found: list[FlowRun] = []
    if wanted:
        with get_client(sync_client=True) as client:
            for start in range(0, len(wanted), _PAGE):
                page = FlowRunFilterId(any_=wanted[start : start + _PAGE])
                found += client.read_flow_runs(flow_run_filter=FlowRunFilter(id=page), limit=_PAGE)
    return {str(each.id): _status(each) for each in found}


def in_states(pool: str, states: Iterable[StateType]) -> list[FlowRunStatus]:
    """All flow runs of a pool that are in one of these states."""
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))
    found: list[FlowRun] = []
    with get_client(sync_client=True) as client:
        while True:
            page = client.read_flow_runs(
                flow_run_filter=FlowRunFilter(state=state),
                work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
                limit=_PAGE,
                offset=len(found),
            )
            found += page
            if len(page) < _PAGE:
                return [_status(each) for each in found]


def tagged(tag: str, limit: int) -> list[FlowRunStatus]:
    """The newest flow runs with this tag, newest first; at most 200."""
    wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]))
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=min(limit, _PAGE)
        )
    return [_status(each) for each in found]


def start(deployment: str, parameters: dict[str, Any], idempotency_key: str, tags: list[str]) -> str:
    """Start a deployment, ``flow/name``, once for each key. Returns the flow run's id."""
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(deployment)
        run = client.create_flow_run_from_deployment(
            found.id, parameters=parameters, idempotency_key=idempotency_key, tags=tags
        )
    return str(run.id)


def by_key(idempotency_key: str) -> FlowRunStatus | None:
    """The flow run that was created with this idempotency key."""
    wanted = FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[idempotency_key]))
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=wanted, limit=1)
    return _status(found[0]) if found else None


def crashes(flow_run_id: str) -> int:
    """How often the flow run was lost with its process."""
    with get_client(sync_client=True) as client:
        return sum(state.is_crashed() for state in client.read_flow_run_states(UUID(flow_run_id)))


def start_again(flow_run_id: str, why: str) -> None:
    """Have a worker start this flow run (again) now."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run_id), Scheduled(message=why), force=True)


def crash(flow_run_id: str, why: str) -> None:
    """Say that the flow run was lost with its process, which could not say so itself."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run_id), Crashed(message=why), force=True)


def fail(flow_run_id: str, why: str) -> None:
    """End the flow run as failed."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run_id), Failed(message=why), force=True)


def cancel(flow_run_id: str, why: str) -> None:
    """Ask for the flow run's cancellation; its worker stops what it started."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run_id), Cancelling(message=why))


def cancelled(flow_run_id: str, why: str) -> None:
    """Say that a flow run without a process is cancelled."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run_id), Cancelled(message=why), force=True)


def _status(run: FlowRun) -> FlowRunStatus:
    kind = run.state_type or StateType.PENDING
    since = run.state.timestamp.timestamp() if run.state is not None else 0.0
    return FlowRunStatus(str(run.id), kind, run.state_name or "", since, run.run_count, run.infrastructure_pid or "")

"""Starts runs through their deployments, waits for what they become, and reads what was recorded of them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from infra.core.errors import UnavailableError
from infra.core.lifecycle import AttemptState
from infra.core.placement.decision import Decision
from infra.core.units import usd_float
from infra.documents import decision_from_json, request_from_json
from infra.ports import AttemptRecord
from infra.wiring import ControlPlane

T = TypeVar("T")
POLL_S = 0.3


@dataclass(frozen=True, slots=True)
class Row:
    """One run of the story: what was decided, estimated and measured."""

    name: str
    outcome: str
    site: str | None
    purchase: str | None
    residency: list[str]
    estimated_cost_usd: float | None
    actual_cost_usd: float | None
    estimated_s: float | None
    actual_s: float | None
    result: str
    run: str


class Driver:
    """A user of the platform: it starts deployments, drops files, and looks.

    Args:
        say: Told, in one line each, what goes on.
    """

    def __init__(self, control: ControlPlane, client: SyncPrefectClient, say: Callable[[str], None]) -> None:
        self.control, self.client, self.say = control, client, say
        self._seen: set[UUID] = set()

    def start(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Start a deployment, as its form in the UI does; returns the flow run's id."""
        found = self.client.read_deployment_by_name(deployment)
        run = self.client.create_flow_run_from_deployment(found.id, parameters=parameters)
        self._seen.add(run.id)
        return str(run.id)

    def started_by_event(self, deployment: str, version: str, timeout_s: float) -> str:
        """The flow run that the arrival of ``version`` started, once it exists."""
        found = self.client.read_deployment_by_name(deployment)
        only = DeploymentFilter(id=DeploymentFilterId(any_=[found.id]))

        def look() -> str | None:
            for run in self.client.read_flow_runs(
                deployment_filter=only, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=20
            ):
                if run.id not in self._seen and (run.parameters.get("dataset") or {}).get("version") == version:
                    self._seen.add(run.id)
                    return str(run.id)
            return None

        return self.until(look, f"the arrival of {version} to start {deployment}", timeout_s)

    def finished(self, flow_run_id: str, timeout_s: float) -> FlowRun:
        """The flow run, once it has ended."""

        def look() -> FlowRun | None:
            run = self.client.read_flow_run(UUID(flow_run_id))
            return run if run.state is not None and run.state.is_final() else None

        return self.until(look, f"flow run {flow_run_id} to end", timeout_s)

    def decided(self, flow_run_id: str, timeout_s: float) -> Decision:
        """The run's first decision, once it is made."""
        self.until(lambda: self.control.database.runs.decisions(flow_run_id) or None, "a decision", timeout_s)
        return decision_from_json(self.control.database.runs.decisions(flow_run_id)[0].decision_json)

    def computing(self, flow_run_id: str, timeout_s: float) -> AttemptRecord:
        """The run's attempt, once its site has it."""

        def look() -> AttemptRecord | None:
            attempts = self.control.database.runs.attempts(flow_run_id)
            return attempts[-1] if attempts and attempts[-1].state is AttemptState.DISPATCHED else None

        return self.until(look, "the site to take the run", timeout_s)

    def until(self, look: Callable[[], T | None], what: str, timeout_s: float) -> T:
        """Look until there is something to see.

        Raises:
            UnavailableError: ``DEMO_TIMEOUT``.
        """
        ends_at = time.monotonic() + timeout_s
        while time.monotonic() < ends_at:
            found = look()
            if found is not None:
                return found
            time.sleep(POLL_S)
        raise UnavailableError("DEMO_TIMEOUT", f"waited {timeout_s:.0f} s for {what}", "demo", "see .headrace/logs")

    def row(self, name: str, flow_run_id: str, tell: Callable[[dict[str, float]], str]) -> Row:
        """The run's line: the first decision's outcome, the last one's estimate, the attempts' actual figures.

        Args:
            tell: Turns the published metrics into the result's words; called for published runs only.
        """
        run = self.finished(flow_run_id, timeout_s=1.0)
        runs = self.control.database.runs
        records = runs.decisions(flow_run_id)
        if not records:
            state = run.state
            outcome = (state.name if state is not None else "unknown").lower()
            return Row(name, outcome, None, None, [], None, None, None, None, _told(run), flow_run_id)
        first, last = (decision_from_json(records[index].decision_json) for index in (0, -1))
        attempts = [attempt for attempt in runs.attempts(flow_run_id) if attempt.charged is not None]
        publication = runs.publication(flow_run_id)
        chosen = last.chosen
        request = request_from_json(records[-1].request_json)
        return Row(
            name=name,
            outcome=first.outcome,
            site=attempts[-1].site if attempts else None,
            purchase=attempts[-1].purchase if attempts else None,
            residency=self._residency(tuple((ref.name, ref.version) for ref in request.datasets)),
            estimated_cost_usd=usd_float(chosen.cost.total_micro) if chosen else None,
            actual_cost_usd=usd_float(sum(a.charged.total_micro for a in attempts)) if attempts else None,  # type: ignore[union-attr]
            estimated_s=round(chosen.time.total_s - chosen.time.wait_s, 1) if chosen else None,
            actual_s=round(sum((a.metered or {}).get("machine_s", 0.0) for a in attempts), 1) if attempts else None,
            result=tell(publication.metrics) if publication else _told(run),
            run=flow_run_id,
        )

    def _residency(self, datasets: tuple[tuple[str, str], ...]) -> list[str]:
        entries = [self.control.database.catalog.find(*each) for each in datasets]
        return sorted({tag for entry in entries if entry is not None for tag in entry.version.residency})


def _told(run: FlowRun) -> str:
    """What the flow run's state says, without the place (``CODE at PLACE: problem``): it is a column of its own."""
    message = (run.state.message if run.state is not None else None) or ""
    return re.sub(r"^([A-Z_]+) at \S+: ", r"\1: ", message)

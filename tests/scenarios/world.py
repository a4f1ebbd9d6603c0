"""One whole platform for all scenarios, and what a person does with it: start, look, cancel, drop files, kill things."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling

from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.lifecycle import AttemptState
from infra.platform.state import read_report
from infra.ports import AttemptRecord, Lease, RunRecord
from infra.processes import ProcessIdentity, descendants, marked
from infra.settings import Settings
from infra.wiring import ControlPlane
from infra.worker.site_state import AttemptNote, SiteState

T = TypeVar("T")
POLL_S = 0.1
PATIENCE_S = 120.0
SITES = ("onprem-fra", "cloud-eu-central", "cloud-us-east")


class Home:
    """A platform's directory and its command line, whether it is up or not."""

    def __init__(self, settings: Settings, environment: dict[str, str]) -> None:
        self.settings, self.environment = settings, environment

    def cli(self, *arguments: str) -> tuple[int, str, str]:
        """``headrace …``: exit status, output, errors."""
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def leases_in_use(self) -> list[str]:
        """Leases of all sites for which something still exists."""
        directories = [each for site in SITES for each in LeaseDirectory.all(self.settings.site_dir(site))]
        return [each.path.name for each in directories if each.running()]

    def processes(self) -> list[int]:
        """Everything that carries this platform's mark."""
        file = self.settings.home / "platform-id"
        return sorted(each.pid for each in marked(file.read_text().strip())) if file.exists() else []


class World(Home):
    """A platform that is up, seen as its user, its operator and its attacker see it.

    Args:
        client: A client of the platform's Prefect API.
    """

    def __init__(self, settings: Settings, environment: dict[str, str], client: SyncPrefectClient) -> None:
        super().__init__(settings, environment)
        self.client, self.control = client, ControlPlane(settings)
        self.runs, self.ledger = self.control.database.runs, self.control.database.ledger

    # ------------------------------------------------------------------ a user

    def json(self, *arguments: str, status: int = 0) -> Any:
        """What ``headrace … --json`` prints."""
        found, out, err = self.cli(*arguments, "--json")
        assert found == status, out + err
        return json.loads(out)

    def start(self, deployment: str, **parameters: Any) -> str:
        """Start a deployment as its form does; the flow run's id."""
        found = self.client.read_deployment_by_name(deployment)
        return str(self.client.create_flow_run_from_deployment(found.id, parameters=parameters).id)

    def probe(self, sleep_s: float = 0.0, tenant: str = "vision", **options: Any) -> str:
        return self.start("probe/empty", options={"tenant": tenant, **options}, probe={"sleep_s": sleep_s})

    def cancel(self, flow_run_id: str) -> None:
        """As the button in the UI does."""
        self.client.set_flow_run_state(UUID(flow_run_id), Cancelling())

    def answers(self) -> bool:
        """Whether the Prefect server does."""
        return self.client.api_healthcheck() is None

    def flow_run(self, flow_run_id: str) -> FlowRun:
        return self.client.read_flow_run(UUID(flow_run_id))

    def state_name(self, flow_run_id: str) -> str:
        return self.flow_run(flow_run_id).state_name or ""

    def finished(self, flow_run_id: str, timeout_s: float = PATIENCE_S) -> FlowRun:
        """The flow run, once it has ended; a crash is no end, for the controller starts it again."""

        def look() -> FlowRun | None:
            run = self.flow_run(flow_run_id)
            ended = run.state is not None and run.state.is_final() and not run.state.is_crashed()
            return run if ended else None

        return self.until(look, f"flow run {flow_run_id} to end", timeout_s)

    def ended(self, flow_run_id: str, name: str = "Completed", timeout_s: float = PATIENCE_S) -> str:
        """The message of a flow run that must end under this name."""
        run = self.finished(flow_run_id, timeout_s)
        message = (run.state.message or "") if run.state else ""
        assert run.state_name == name, f"{run.state_name}: {message}"
        return message

    def flow_runs(self, deployment: str) -> list[FlowRun]:
        """All runs of a deployment."""
        found = self.client.read_deployment_by_name(deployment)
        return self.client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[found.id])))

    def runs_for(self, deployment: str, version: str) -> list[FlowRun]:
        """The deployment's runs that an arrival of this version started."""

        def arrived(run: FlowRun) -> bool:
            dataset = run.parameters.get("dataset") or {}
            return dataset.get("version") == version and bool(dataset.get("arrival_sha256"))

        return [run for run in self.flow_runs(deployment) if arrived(run)]

    def arrival_run(self, deployment: str, version: str) -> str:
        """The run that the arrival started, once it is there."""
        found = self.until(lambda: self.runs_for(deployment, version) or None, f"{version} to start {deployment}")
        return str(found[0].id)

    def until(self, look: Callable[[], T | None], what: str, timeout_s: float = PATIENCE_S) -> T:
        """What ``look`` finds, once it finds something (neither ``None`` nor ``False``)."""
        ends_at = time.monotonic() + timeout_s
        while time.monotonic() < ends_at:
            found = look()
            if found is not None and found is not False:
                return found
            time.sleep(POLL_S)
        raise AssertionError(f"waited {timeout_s:.0f} s for {what}")

    # ------------------------------------------------------------------ its records

    def run(self, run_id: str) -> RunRecord:
        found = self.runs.run(run_id)
        assert found is not None, f"no run {run_id}"
        return found

    def run_or_none(self, run_id: str) -> RunRecord | None:
        return self.runs.run(run_id)

    def attempt(self, run_id: str, number: int = 1) -> AttemptRecord:
        return {each.attempt: each for each in self.runs.attempts(run_id)}[number]

    def reserved_micro(self, run_id: str) -> int:
        return sum(self.ledger.reserved_for(run_id, each.attempt) for each in self.runs.attempts(run_id))

    def settled(self, run_id: str) -> bool:
        """Whether every attempt of the run is paid and nothing of it is reserved any more."""
        return all(each.state.closed for each in self.runs.attempts(run_id)) and self.reserved_micro(run_id) == 0

    def replays(self, run_id: str) -> bool:
        return self.json("replay", run_id)["identical"]

    def computing(self, run_id: str, number: int = 1) -> AttemptNote:
        """The site's note of the attempt, once its flow process works on its cluster."""

        def look() -> AttemptNote | None:
            attempts = {each.attempt: each for each in self.runs.attempts(run_id)}
            attempt = attempts.get(number)
            if attempt is None or attempt.state is not AttemptState.DISPATCHED:
                return None
            notes = [note for note in self.notes(attempt.site) if note.permit_id == attempt.permit.id]
            return notes[0] if notes and notes[0].process is not None else None

        return self.until(look, f"attempt {number} of {run_id} to compute")

    # ------------------------------------------------------------------ its machines and processes

    def notes(self, site: str) -> tuple[AttemptNote, ...]:
        """Attempts that the site works on now."""
        return SiteState(self.settings.site_dir(site)).notes()

    def machines(self, lease: Lease) -> list[int]:
        """Processes of the lease's cluster: the simulated cloud's machines and what keeps them."""
        directory = LeaseDirectory.of(self.settings.site_dir(lease.site), lease.id)
        return [identity.pid for identity in directory.running()]

    def pid(self, component: str) -> int:
        report = read_report(self.settings)
        assert report is not None
        process = next(each.process for each in report.components if each.name == component)
        assert process is not None, f"{component} does not run"
        return process.pid

    def kill(self, pid: int) -> None:
        identity = ProcessIdentity.of(pid)
        assert identity is not None, "it is gone already"
        os.kill(pid, signal.SIGKILL)
        assert identity.wait(5.0)

    def flow_processes(self, component: str) -> set[int]:
        """Flow-run processes of a worker: those that run in a directory of their own."""
        found = set()
        for identity in descendants(self.pid(component)):
            try:
                if "headrace-run-" in psutil.Process(identity.pid).cwd():
                    found.add(identity.pid)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found


def scenario_environment(home: Path) -> dict[str, str]:
    """A person's environment with another home, and nothing of another platform in it."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HEADRACE_", "PREFECT_"))}
    return {**inherited, "HEADRACE_HOME": str(home)}

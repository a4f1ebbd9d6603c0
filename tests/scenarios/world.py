"""One whole platform for all scenarios, and what a person does with it: start, look, cancel, drop files, kill things."""

from __future__ import annotations

import json
import os
import signal
from typing import Any
from uuid import UUID

import psutil
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling

from infra.drills.platform import Platform
from infra.platform.state import read_report
from infra.ports import RunRecord
from infra.processes import ProcessIdentity, descendants
from infra.worker.site_state import AttemptNote, SiteState

PATIENCE_S = 180.0
SITES = ("onprem-fra", "cloud-eu-central", "cloud-us-east")


class World(Platform):
    """A platform that is up, seen as its user, its operator and its attacker see it."""

    # ------------------------------------------------------------------ a user

    def json(self, *arguments: str, status: int = 0) -> Any:
        """What ``headrace … --json`` prints."""
        found, out, err = self.cli(*arguments, "--json")
        assert found == status, out + err
        return json.loads(out)

    def cancel(self, flow_run_id: str) -> None:
        """As the button in the UI does."""
        self.client.set_flow_run_state(UUID(flow_run_id), Cancelling())

    def state_name(self, flow_run_id: str) -> str:
        return self.flow_run(flow_run_id).state_name or ""

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

    # ------------------------------------------------------------------ its records

    def run(self, run_id: str) -> RunRecord:
        found = self.runs.run(run_id)
        assert found is not None, f"no run {run_id}"
        return found

    def run_or_none(self, run_id: str) -> RunRecord | None:
        return self.runs.run(run_id)

    def reserved_micro(self, run_id: str) -> int:
        return sum(self.ledger.reserved_for(run_id, each.attempt) for each in self.runs.attempts(run_id))

    def replays(self, run_id: str) -> bool:
        return self.json("replay", run_id)["identical"]

    # ------------------------------------------------------------------ its machines and processes

    def notes(self, site: str) -> tuple[AttemptNote, ...]:
        """Attempts that the site works on now."""
        return SiteState(self.settings.site_dir(site)).notes()

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
        assert identity.wait(30.0)

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

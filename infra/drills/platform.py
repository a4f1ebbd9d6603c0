"""A platform that is up, as its user, its operator and whoever wishes it ill use it: start, look, wait, kill."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.errors import UnavailableError
from infra.core.lifecycle import AttemptState
from infra.documents import load_sites
from infra.platform.state import read_report
from infra.ports import AttemptRecord, Lease
from infra.processes import ProcessIdentity, marked
from infra.settings import Settings
from infra.wiring import ControlPlane
from infra.worker.reaper import SiteReaper
from infra.worker.site_state import AttemptNote, SiteState

T = TypeVar("T")
FAULTS_DIR = "faults"
POLL_S = 0.1
PATIENCE_S = 150.0


class Platform:
    """A platform's home and command line, and what runs there once :meth:`attach` has been called.

    Args:
        environment: Of the commands that are run here; names the home.
        say: Told, in one line each, what goes on.

    Attributes:
        faults: Where a drill arms points of a run's life, when the platform was started to look there.
    """

    client: SyncPrefectClient
    control: ControlPlane

    def __init__(self, settings: Settings, environment: dict[str, str], say: Callable[[str], None] = print) -> None:
        self.settings, self.environment, self.say = settings, environment, say
        self.faults = settings.home / FAULTS_DIR

    def attach(self, client: SyncPrefectClient) -> None:
        """Work with the platform that is up now, through a client of its Prefect API."""
        self.client, self.control = client, ControlPlane(self.settings)
        self.runs, self.ledger = self.control.database.runs, self.control.database.ledger

    def cli(self, *arguments: str) -> tuple[int, str, str]:
        """``headrace …``: exit status, output, errors."""
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=450,  # longer than `up` waits itself, for it says what it waited for
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    # ------------------------------------------------------------------ a user

    def start(self, deployment: str, **parameters: Any) -> str:
        """Start a deployment as its form does; the flow run's id."""
        found = self.client.read_deployment_by_name(deployment)
        return str(self.client.create_flow_run_from_deployment(found.id, parameters=parameters).id)

    def probe(self, sleep_s: float = 0.0, tenant: str = "vision", **options: Any) -> str:
        """An empty job that holds its device for a while."""
        return self.start("probe/empty", options={"tenant": tenant, **options}, probe={"sleep_s": sleep_s})

    def land_digits(self) -> dict[str, str]:
        """5,000 digits (residency EU), landed like any producer's data and accepted; the version's name."""
        from data_contracts.loading import load_contract
        from tasks.datasets import build
        from tasks.datasets.parquet import land

        catalog, (name, version) = self.control.database.catalog, ("mnist5k", "v1")
        if catalog.find(name, version) is None:
            land(self.control.store, load_contract(name, self.settings.contracts_dir), version, build(name))
            self.until(lambda: catalog.find(name, version), "the digits to be accepted")
        return {"name": name, "version": version}

    def flow_run(self, flow_run_id: str) -> FlowRun:
        return self.client.read_flow_run(UUID(flow_run_id))

    def finished(self, flow_run_id: str, timeout_s: float = PATIENCE_S) -> FlowRun:
        """The flow run, once it has ended; a crash is no end, for the controller starts it again."""

        def look() -> FlowRun | None:
            run = self.flow_run(flow_run_id)
            ended = run.state is not None and run.state.is_final() and not run.state.is_crashed()
            return run if ended else None

        return self.until(look, f"flow run {flow_run_id} to end", timeout_s)

    def until(self, look: Callable[[], T | None], what: str, timeout_s: float = PATIENCE_S) -> T:
        """What ``look`` finds, once it finds something (neither ``None`` nor ``False``). An API that is away finds nothing.

        Raises:
            UnavailableError: ``DRILL_TIMEOUT``.
        """
        ends_at = time.monotonic() + timeout_s
        while time.monotonic() < ends_at:
            try:
                found = look()
            except (OSError, httpx.HTTPError):
                found = None
            if found is not None and found is not False:
                return found
            time.sleep(POLL_S)
        raise UnavailableError("DRILL_TIMEOUT", f"waited {timeout_s:.0f} s for {what}", "drill", "see its home's logs")

    # ------------------------------------------------------------------ its records

    def attempt(self, run_id: str, number: int = 1) -> AttemptRecord:
        return {each.attempt: each for each in self.runs.attempts(run_id)}[number]

    def settled(self, run_id: str) -> bool:
        """Whether every attempt of the run is paid and nothing of it is reserved any more."""
        attempts = self.runs.attempts(run_id)
        return all(each.state.closed and self.ledger.reserved_for(run_id, each.attempt) == 0 for each in attempts)

    def computing(self, run_id: str, number: int = 1, timeout_s: float = PATIENCE_S) -> AttemptNote:
        """The site's note of the attempt, once its flow process works on its cluster."""

        def look() -> AttemptNote | None:
            attempt = {each.attempt: each for each in self.runs.attempts(run_id)}.get(number)
            if attempt is None or attempt.state is not AttemptState.DISPATCHED:
                return None
            notes = SiteState(self.settings.site_dir(attempt.site)).notes()
            found = [note for note in notes if note.permit_id == attempt.permit.id and note.process is not None]
            return found[0] if found else None

        return self.until(look, f"attempt {number} of {run_id} to compute", timeout_s)

    # ------------------------------------------------------------------ its processes and machines

    def machines(self, lease: Lease) -> list[int]:
        """Processes of the lease's cluster: the simulated cloud's machines and what keeps them."""
        directory = LeaseDirectory.of(self.settings.site_dir(lease.site), lease.id)
        return [identity.pid for identity in directory.running()]

    def leases_in_use(self) -> list[str]:
        """Leases of all sites for which a process or a cloud's machine still exists; asked of a platform that is down as well."""
        found: list[str] = []
        for site in load_sites(self.settings.sites_dir):
            state_dir = self.settings.site_dir(site.name)
            found += SiteReaper(state_dir, site, self.environment).leases()
            found += [each.path.name for each in LeaseDirectory.all(state_dir) if each.running()]
        return sorted(set(found))

    def processes(self) -> list[int]:
        """Everything that carries this platform's mark."""
        file = self.settings.home / "platform-id"
        return sorted(each.pid for each in marked(file.read_text().strip())) if file.exists() else []

    def component(self, name: str) -> ProcessIdentity:
        """The process of a component, once it has one that lives."""

        def look() -> ProcessIdentity | None:
            report = read_report(self.settings)
            found = [each.process for each in report.components if each.name == name] if report else []
            return found[0] if found and found[0] is not None and found[0].alive else None

        return self.until(look, f"{name} to run")

    def kill_components(self, *names: str) -> None:
        """``kill -9`` of components, all of them before the first is looked after."""
        victims = [self.component(name) for name in names]
        for victim in victims:
            victim.send(signal.SIGKILL)
        for victim in victims:
            victim.wait(30.0)

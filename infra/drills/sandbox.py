"""A platform that a drill may hurt: its own home, its own configuration, and what a user, an operator and an attacker do to it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.errors import UnavailableError
from infra.core.lifecycle import AttemptState
from infra.faults import FAULTS
from infra.platform.control import living_report, take_down
from infra.platform.state import read_report
from infra.ports import AttemptRecord, Lease
from infra.processes import ProcessIdentity, marked
from infra.settings import PACKAGE_DIR, Settings
from infra.wiring import ControlPlane
from infra.worker.site_state import AttemptNote, SiteState

T = TypeVar("T")
POLL_S = 0.1
PATIENCE_S = 150.0
CONFIGURATION = ("sites", "policies", "tenants.yaml", "rates.yaml")


def sandbox_environment(home: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """A person's environment with another home and configuration, and nothing of another platform in it."""
    inherited = {key: value for key, value in environ.items() if not key.startswith(("HEADRACE_", "PREFECT_"))}
    return {
        **inherited,
        "HEADRACE_HOME": str(home),
        "HEADRACE_CONFIG": str(home / "config"),
        FAULTS: str(home / "faults"),
    }


class Sandbox:
    """A platform that is up. Use it as a context: at its end the platform is down to the last process.

    Args:
        home: Made if needed; what lies there of an earlier drill is removed.
        say: Told, in one line each, what goes on.
    """

    def __init__(self, home: Path, say: Callable[[str], None]) -> None:
        self.home, self.say = home.absolute(), say
        self.environment = sandbox_environment(self.home)
        self.settings = Settings.from_env(self.environment)
        self.faults = self.home / "faults"

    def __enter__(self) -> Sandbox:
        take_down(self.settings, self.say)
        shutil.rmtree(self.home, ignore_errors=True)
        config = self.settings.config_dir
        config.mkdir(parents=True, mode=0o700)
        for name in CONFIGURATION:
            source = PACKAGE_DIR / name
            shutil.copytree(source, config / name) if source.is_dir() else shutil.copy(source, config / name)
        try:
            self.up()
        except BaseException:
            take_down(self.settings, self.say)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.client.__exit__(None, None, None)
        self.control.database.close()
        take_down(self.settings, self.say)

    def up(self) -> None:
        """Bring up whatever does not run."""
        status, out, err = self.cli("up")
        if status != 0:
            raise UnavailableError("DRILL_FAILED", (err or out).strip(), str(self.home), "see its logs")
        with temporary_settings(updates={PREFECT_API_URL: living_report(self.settings).api_url}):
            self.client: SyncPrefectClient = get_client(sync_client=True)
        self.client.__enter__()
        self.control = ControlPlane(self.settings)
        self.runs, self.ledger = self.control.database.runs, self.control.database.ledger

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

    # ------------------------------------------------------------------ a user

    def start(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Start a deployment as its form does; the flow run's id."""
        found = self.client.read_deployment_by_name(deployment)
        return str(self.client.create_flow_run_from_deployment(found.id, parameters=parameters).id)

    def probe(self, sleep_s: float = 0.0, tenant: str = "vision", **options: Any) -> str:
        """An empty job that holds its device for a while."""
        return self.start("probe/empty", {"options": {"tenant": tenant, **options}, "probe": {"sleep_s": sleep_s}})

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
        """Leases of all sites for which a process still exists."""
        sites = [site.name for site in self.control.sites]
        found = [each for site in sites for each in LeaseDirectory.all(self.settings.site_dir(site))]
        return [each.path.name for each in found if each.running()]

    def processes(self) -> list[int]:
        """Everything that carries this platform's mark."""
        file = self.home / "platform-id"
        return sorted(each.pid for each in marked(file.read_text().strip())) if file.exists() else []

    def component(self, name: str) -> ProcessIdentity:
        """The process of a component, once it has one that lives."""

        def look() -> ProcessIdentity | None:
            report = read_report(self.settings)
            found = [each.process for each in report.components if each.name == name] if report else []
            return found[0] if found and found[0] is not None and found[0].alive else None

        return self.until(look, f"{name} to run")

    def kill(self, *names: str) -> None:
        """``kill -9`` of components, all of them before the first is looked after."""
        victims = [self.component(name) for name in names]
        for victim in victims:
            victim.send(signal.SIGKILL)
        for victim in victims:
            victim.wait(5.0)

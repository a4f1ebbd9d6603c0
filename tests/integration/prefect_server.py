"""A real Prefect server for a test module, and the workers that its tests start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from infra.processes import tied

REPOSITORY = Path(__file__).parents[2]
_FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def base_environment(home: Path) -> dict[str, str]:
    names = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in names if name in os.environ} | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_COLORS": "false",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
    }


def start_logged(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@dataclass
class PrefectServer:
    """A running server, spoken to over HTTP as anybody could."""

    home: Path
    api_url: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.api_url, timeout=30.0)

    def post(self, path: str, /, **body: Any) -> Any:
        answer = self.http.post(path, json=body)
        for _ in range(20):
            if answer.status_code != 503:
                break
            # The server's SQLite was busy; Prefect's own client tries again, too.
            time.sleep(0.5)
            answer = self.http.post(path, json=body)
        assert answer.status_code < 400, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def create_pool(self, name: str, template: Mapping[str, Any], kind: str = "headrace") -> None:
        self.post("/work_pools/", name=name, type=kind, base_job_template=dict(template))

    def deploy(self, name: str, entrypoint: str, pool: str, path: str | None = None) -> str:
        flow_name = entrypoint.rpartition(".")[2].rpartition(":")[2].replace("_", "-")
        flow = self.post("/flows/", name=flow_name)
        deployment = self.post(
            "/deployments/",
            name=name,
            flow_id=flow["id"],
            entrypoint=entrypoint,
            work_pool_name=pool,
            path=path,
            enforce_parameter_schema=False,
        )
        return deployment["id"]

    def run(self, deployment_id: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> str:
        body = {"parameters": dict(parameters or {}), "state": {"type": "SCHEDULED"}, **more}
        return self.post(f"/deployments/{deployment_id}/create_flow_run", **body)["id"]

    def flow_run(self, flow_run_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/flow_runs/{flow_run_id}")
        answer.raise_for_status()
        return answer.json()

    def wait_for(self, flow_run_id: str, types: set[str] = _FINAL, timeout_s: float = 120.0) -> dict[str, Any]:
        """Ask until the run's state is of one of these types; the run."""
        deadline = time.monotonic() + timeout_s
        while True:
            run = self.flow_run(flow_run_id)
            if run["state_type"] in types:
                return run
            assert time.monotonic() < deadline, f"still {run['state']}"
            time.sleep(0.05)

    def cancel(self, flow_run_id: str) -> None:
        self.post(f"/flow_runs/{flow_run_id}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})

    def states(self, flow_run_id: str) -> list[str]:
        answer = self.http.get("/flow_run_states/", params={"flow_run_id": flow_run_id})
        answer.raise_for_status()
        return [state["name"] for state in answer.json()]

    def logs(self, flow_run_id: str) -> list[str]:
        found = self.post("/logs/filter", logs={"flow_run_id": {"any_": [flow_run_id]}}, limit=200)
        return [line["message"] for line in found]

    def start_worker(
        self, pool: str, log: Path, module: str = "infra.worker.main", **environment: str
    ) -> subprocess.Popen[bytes]:
        arguments = ["--pool", pool] if module == "infra.worker.main" else []
        process = start_logged(
            [sys.executable, "-m", module, *arguments],
            base_environment(self.home / f"worker-{pool}") | {"PREFECT_API_URL": self.api_url} | environment,
            log,
        )
        self.processes.append(process)
        return process

    def wait_for_worker(self, pool: str, timeout_s: float = 240.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not self.post(f"/work_pools/{pool}/workers/filter"):
            assert time.monotonic() < deadline, "no worker"
            time.sleep(0.1)

    def stop(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(20.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.http.close()


@contextmanager
def running_server(home: Path) -> Iterator[PrefectServer]:
    """A server with an empty database, gone when the block ends."""
    port = free_port()
    api_url = f"http://127.0.0.1:{port}/api"
    home.mkdir(parents=True, exist_ok=True)
    environment = base_environment(home) | {
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'server.db'}",
        "PREFECT_API_URL": api_url,
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT__SERVER_FINAL": "1",
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "infra.platform.prefect_server:create_app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    process = start_logged(tied(command), environment, home / "server.log")
    server = PrefectServer(home, api_url, [process])
    try:
        deadline = time.monotonic() + 240.0
        while not _answers(f"{api_url}/ready"):
            assert process.poll() is None, (home / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield server
    finally:
        server.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Any, timeout_s: float = 60.0, what: str = "condition") -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true in {timeout_s} s"
        time.sleep(0.05)


__all__ = ["PrefectServer", "base_environment", "is_alive", "running_server", "wait_until"]

"""The worker of the control pool on a real Prefect server: entry flows in forked processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.processes import descendants
from infra.worker import HeadraceWorker
from tests.integration.prefect_server import PrefectServer, is_alive, running_server, wait_until

pytestmark = pytest.mark.slow
FLOWS = "tests.integration.worker_flows"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    home = tmp_path_factory.mktemp("worker")
    with running_server(home) as server:
        server.create_pool("control", HeadraceWorker.get_default_base_job_template())
        start(server)
        server.wait_for_worker("control")
        yield server


def start(server: PrefectServer) -> int:
    return server.start_worker(
        "control",
        server.home / "worker.log",
        HEADRACE_HOME=str(server.home / "headrace"),
        HEADRACE_FLOW_PACKAGES="tests.integration",
        HEADRACE_SITE_FLOWS=f"{FLOWS}.site_work",
        HEADRACE_PRELOAD=FLOWS,
        SECRET_OF_THE_MACHINE="do not pass on",
    ).pid


def deploy(server: PrefectServer, flow: str) -> str:
    return server.deploy(f"control-{flow}", f"{FLOWS}.{flow}", "control")


def test_a_flow_runs_and_its_log_reaches_the_server(server: PrefectServer) -> None:
    run = server.wait_for(server.run(deploy(server, "speaks"), {"word": "weir"}))
    assert run["state_type"] == "COMPLETED"
    wait_until(lambda: "the word is weir" in server.logs(run["id"]), what="the flow's log")


def test_a_flow_that_raises_fails_and_one_that_dies_crashes(server: PrefectServer) -> None:
    failing, dying = server.run(deploy(server, "fails")), server.run(deploy(server, "dies"))
    assert "this flow fails" in server.wait_for(failing)["state"]["message"]
    assert server.flow_run(failing)["state_type"] == "FAILED"
    run = server.wait_for(dying)
    assert run["state_type"] == "CRASHED"
    assert "-9" in run["state"]["message"]


def test_cancelling_ends_the_process_within_seconds(server: PrefectServer, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    flow_run_id = server.run(deploy(server, "sleeps"), {"pid_file": str(pid_file)})
    wait_until(lambda: pid_file.exists() and pid_file.read_text(), 120, "the flow")
    server.cancel(flow_run_id)
    assert server.wait_for(flow_run_id, timeout_s=90)["state_type"] == "CANCELLED"
    wait_until(lambda: not is_alive(int(pid_file.read_text())), what="the end of the process")
    assert "Crashed" not in server.states(flow_run_id)


def test_the_environment_of_a_flow_is_made_of_known_names(server: PrefectServer, tmp_path: Path) -> None:
    file = tmp_path / "names"
    flow_run_id = server.run(
        deploy(server, "tells_environment"),
        {"file": str(file)},
        job_variables={"command": f"touch {tmp_path}/commanded", "env": {"HEADRACE_TAG_TEAM": "vision"}},
    )
    assert server.wait_for(flow_run_id)["state_type"] == "COMPLETED"
    names = file.read_text().split("\n")
    assert "HEADRACE_TAG_TEAM" in names
    assert "PREFECT_API_URL" in names
    assert not {"SECRET_OF_THE_MACHINE", "HEADRACE_WORKER_PID"} & set(names)
    assert not (tmp_path / "commanded").exists()


def test_other_variables_than_harmless_ones_are_refused_by_the_form(server: PrefectServer) -> None:
    deployment = deploy(server, "empty")
    answer = server.http.post(
        f"/deployments/{deployment}/create_flow_run", json={"job_variables": {"env": {"LD_PRELOAD": "/tmp/evil.so"}}}
    )
    assert answer.status_code == 422
    assert "LD_PRELOAD" in answer.text


@pytest.mark.parametrize(
    "entrypoint",
    [f"{FLOWS}.site_work", "os.system", "tests/integration/worker_flows.py:speaks", "tests.integrationx.f"],
)
def test_flows_of_other_places_are_refused(server: PrefectServer, entrypoint: str) -> None:
    deployment = server.deploy(f"other-{abs(hash(entrypoint))}", entrypoint, "control")
    run = server.wait_for(server.run(deployment))
    assert (run["state_type"], run["state"]["name"]) == ("FAILED", "Refused")
    assert "FLOW_NOT_ALLOWED" in run["state"]["message"]


def test_a_run_goes_on_while_the_server_is_away(server: PrefectServer, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    flow_run_id = server.run(deploy(server, "sleeps"), {"pid_file": str(pid_file)})
    wait_until(lambda: pid_file.exists() and pid_file.read_text(), 120, "the flow")
    pid, host = int(pid_file.read_text()), server.processes[0]
    host.send_signal(signal.SIGSTOP)
    try:
        time.sleep(5)
        assert is_alive(pid)
    finally:
        host.send_signal(signal.SIGCONT)
    server.cancel(flow_run_id)
    assert server.wait_for(flow_run_id)["state_type"] == "CANCELLED"


def test_a_killed_worker_leaves_no_process(server: PrefectServer, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    server.run(deploy(server, "sleeps"), {"pid_file": str(pid_file)})
    wait_until(lambda: pid_file.exists() and pid_file.read_text(), 120, "the flow")
    worker = server.processes[-1]
    family = descendants(worker.pid)
    assert int(pid_file.read_text()) in {process.pid for process in family}
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    wait_until(lambda: not any(process.alive for process in family), what="the end of the worker's family")

"""A standing cluster under attack: killed machines come back, a killed supervisor leaves nothing, claims hold."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.adapters.clusters_attached import (
    AttachedCluster,
    claims,
    standing_cluster,
    standing_cluster_command,
)
from infra.adapters.local_cloud.environment import machine_environment
from infra.adapters.local_cloud.machine import machine_is_ready
from infra.adapters.local_cloud.records import read_json
from infra.adapters.local_cloud.serve import main
from infra.core.errors import UnavailableError
from infra.worker.reaper import ReapReason, reap
from tests.integration.clusters_support import (
    SITE,
    client,
    lease,
    offer,
    processes_of,
    running_standing_cluster,
    site,
    until,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("site")
    with running_standing_cluster(path, devices=2):
        yield path


@pytest.fixture
def cluster(state_dir: Path) -> Iterator[AttachedCluster]:
    provider = AttachedCluster(state_dir, start_timeout_s=60.0)
    yield provider
    provider.shutdown()
    assert claims(state_dir) == {}


def record(state_dir: Path, name: str) -> dict:
    return read_json(Path(standing_cluster(state_dir)["directory"]) / f"vm-{name}.json")


def all_serve(state_dir: Path) -> bool:
    directory = Path(standing_cluster(state_dir)["directory"])
    return all(machine_is_ready(path) for path in directory.glob("vm-*.json"))


def test_a_killed_worker_and_a_killed_scheduler_come_back(cluster: AttachedCluster, state_dir: Path) -> None:
    for name in (f"{SITE}-0", "scheduler"):
        pid = record(state_dir, name)["pid"]
        os.kill(pid, signal.SIGKILL)
        until(lambda name=name, pid=pid: record(state_dir, name)["pid"] not in (None, pid))
    until(lambda: all_serve(state_dir))
    address = cluster.open(lease("after-kills", 2), offer(), site())
    with client(address) as connected:
        connected.wait_for_workers(2, timeout=60)
        for name in address.workers:
            assert connected.submit(pow, 2, 3, workers=[name], pure=False).result(timeout=60) == 8


def test_a_lease_gets_fresh_processes(cluster: AttachedCluster) -> None:
    def leave_a_mark() -> int:
        import builtins

        builtins.mark_of_a_former_run = getattr(builtins, "mark_of_a_former_run", 0) + 1
        return builtins.mark_of_a_former_run

    for name in ("mark-1", "mark-2"):
        address = cluster.open(lease(name, 2), offer(), site())
        with client(address) as connected:
            marks = [connected.submit(leave_a_mark, workers=[worker], pure=False) for worker in address.workers]
            assert connected.gather(marks) == [1, 1]
        cluster.close(name)


def test_closing_stops_work_that_still_runs(cluster: AttachedCluster, state_dir: Path) -> None:
    address = cluster.open(lease("runaway"), offer(), site())
    [worker] = address.workers
    pid = record(state_dir, worker)["pid"]
    with client(address) as connected:
        runaway = connected.submit(time.sleep, 600, workers=[worker])
        until(lambda: connected.processing(workers=None) and any(connected.processing().values()))
        cluster.close("runaway")
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        del runaway


def test_too_many_devices_fail_at_once_and_a_full_cluster_after_the_timeout(state_dir: Path) -> None:
    provider = AttachedCluster(state_dir, start_timeout_s=0.3)
    for name, devices in (("greedy", 3), ("holder", 2), ("waiter", 1)):
        if name == "holder":
            AttachedCluster(state_dir, start_timeout_s=60.0).open(lease(name, devices), offer(), site())
            continue
        with pytest.raises(UnavailableError) as caught:
            provider.open(lease(name, devices), offer(), site())
        assert caught.value.code == "CLUSTER_START_FAILED"
        assert name in str(caught.value)
    provider.close("holder")
    assert provider.leases() == ()


def test_claims_of_a_killed_process_are_reaped(state_dir: Path) -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from infra.adapters.clusters_attached import AttachedCluster\n"
        "from tests.integration.clusters_support import lease, offer, site\n"
        "AttachedCluster(Path(sys.argv[1]), start_timeout_s=60).open(lease('left', 2), offer(), site())\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(state_dir)], env=machine_environment(state_dir), check=False)
    assert {claim["lease"] for claim in claims(state_dir).values()} == {"left"}
    [would] = reap(state_dir, time.time(), dry_run=True)
    assert len(claims(state_dir)) == 2
    [did] = reap(state_dir, time.time())
    assert would.reason is did.reason is ReapReason.ORPHANED
    assert did.workers == would.workers == (f"{SITE}-0", f"{SITE}-1")
    assert claims(state_dir) == {}
    assert reap(state_dir, time.time()) == []


def test_a_claim_without_a_lease_is_reaped(state_dir: Path) -> None:
    (state_dir / "claims").mkdir(exist_ok=True)
    claim = state_dir / "claims" / f"{SITE}-1.json"
    claim.write_text(f'{{"lease": "ghost", "ends_at": {time.time() + 600}}}')
    [reaped] = reap(state_dir, time.time())
    assert (reaped.lease_id, reaped.reason, reaped.workers) == ("ghost", ReapReason.NO_LEASE, (f"{SITE}-1",))
    assert not claim.exists()


def test_processes_that_open_at_once_never_share_a_worker(state_dir: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from infra.adapters.clusters_attached import AttachedCluster\n"
        "from infra.core.errors import UnavailableError\n"
        "from tests.integration.clusters_support import lease, offer, site\n"
        "provider = AttachedCluster(Path(sys.argv[1]), start_timeout_s=10)\n"
        "try:\n"
        "    print(*provider.open(lease(sys.argv[2]), offer(), site()).workers, flush=True)\n"
        "except UnavailableError as error:\n"
        "    print(error.code, flush=True)\n"
        "sys.stdin.readline()\n"
        "provider.shutdown()\n"
    )
    # The workers of the lease before are started anew: a loser waits for 10 s only, and so would a winner.
    until(lambda: not claims(state_dir) and all_serve(state_dir))
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(state_dir), f"racer-{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=machine_environment(state_dir),
            text=True,
        )
        for number in range(4)
    ]
    answers = sorted(racer.stdout.readline().strip() for racer in racers)
    for racer in racers:
        racer.communicate("\n", timeout=60)
    assert answers == ["CLUSTER_START_FAILED", "CLUSTER_START_FAILED", f"{SITE}-0", f"{SITE}-1"]
    assert claims(state_dir) == {}


def test_a_second_standing_cluster_on_the_same_state_is_refused(state_dir: Path, capsys) -> None:
    command, environment = standing_cluster_command(SITE, 2, state_dir)
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert second.returncode == 1
    assert "STANDING_CLUSTER_RUNS" in second.stderr
    assert standing_cluster(state_dir) is not None


def test_without_a_standing_cluster_a_lease_fails_with_a_remedy(tmp_path: Path) -> None:
    provider = AttachedCluster(tmp_path, start_timeout_s=0.0)
    with pytest.raises(UnavailableError) as caught:
        provider.open(lease("early"), offer(), site())
    assert "headrace up" in caught.value.remedy
    assert provider.leases() == ()


@pytest.mark.parametrize("victim", ["supervisor", "parent"])
def test_a_killed_supervisor_or_parent_leaves_no_process(tmp_path: Path, victim: str) -> None:
    command, environment = standing_cluster_command(SITE, 2, tmp_path)
    program = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    parent = subprocess.Popen([sys.executable, "-c", program, *command], env=environment)
    until(lambda: standing_cluster(tmp_path) is not None)
    pid = parent.pid if victim == "parent" else standing_cluster(tmp_path)["supervisor"]["pid"]
    os.kill(pid, signal.SIGKILL)
    parent.wait(60)
    until(lambda: not processes_of(tmp_path))
    assert standing_cluster(tmp_path) is None
    # It can be started again over what is left.
    with running_standing_cluster(tmp_path, devices=1):
        assert AttachedCluster(tmp_path).open(lease("again"), offer(), site()).workers == (f"{SITE}-0",)


def test_the_entry_point_wants_to_know_what_to_run(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2

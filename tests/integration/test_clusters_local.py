"""The simulated cloud under attack: who is killed, when, and that no machine is left (I4); TLS; reclaims; idling."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.adapters.clusters_local import LocalCloud, draw_reclaim_s
from infra.adapters.local_cloud.environment import machine_environment
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.errors import InputError, UnavailableError
from infra.worker.reaper import ReapReason, forget_closed, reap
from tasks.departures import announced_in
from tests.integration.clusters_support import client, lease, offer, open_short, processes_of, security, site, until

slow = pytest.mark.slow


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LocalCloud]:
    provider = LocalCloud(tmp_path)
    yield provider
    provider.shutdown()
    until(lambda: not processes_of(tmp_path))


def machines(state_dir: Path, lease_id: str, role: str) -> list[dict]:
    records = LeaseDirectory.of(state_dir, lease_id).machines().values()
    return [record for record in records if record["role"] == role]


def reasons(state_dir: Path, lease_id: str) -> set[str]:
    return {record["why"] for record in LeaseDirectory.of(state_dir, lease_id).machines().values()}


@slow
def test_without_this_lease_s_certificates_nobody_connects(cloud: LocalCloud) -> None:
    from distributed import Client

    mine, other = (cloud.open(lease(name), offer(), site()) for name in ("mine", "other"))
    with pytest.raises(OSError, match=r"."):
        Client(mine.scheduler, security=security(other), timeout=2, set_as_default=False)
    with pytest.raises(OSError, match=r"."):
        Client(mine.scheduler.replace("tls://", "tcp://"), timeout=2, set_as_default=False)
    with client(mine) as connected:
        assert connected.submit(pow, 2, 3, workers=list(mine.workers)).result() == 8


@slow
def test_no_secret_is_in_a_command_line_or_environment(cloud: LocalCloud, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "very-secret")
    provider = LocalCloud(tmp_path)
    provider.open(lease("quiet"), offer(), site())
    key = Path(LeaseDirectory.of(tmp_path, "quiet").tls / "worker.key").read_text().splitlines()[1]
    found = processes_of(tmp_path)
    assert len(found) >= 4
    for pid in found:
        said = " ".join([*psutil.Process(pid).cmdline(), *psutil.Process(pid).environ().values()])
        assert "very-secret" not in said
        assert key not in said
    provider.shutdown()


@slow
def test_machines_are_tagged_and_boot_takes_its_time(cloud: LocalCloud, tmp_path: Path) -> None:
    requested_at = time.time()
    cloud.open(lease("tagged", 2), offer(boot_s=1.0), site())
    for record in [*machines(tmp_path, "tagged", "worker"), *machines(tmp_path, "tagged", "scheduler")]:
        assert record["tags"] == {"lease": "tagged", "run": "run-1", "attempt": 1}
        assert record["ready_at"] >= requested_at + 1.0
    assert cloud.usage("tagged")["boot_s"] >= 1.0


@slow
@pytest.mark.parametrize("victims", [("keeper",), ("nursery",), ("keeper", "nursery")])
def test_killing_the_holders_ends_every_machine(cloud: LocalCloud, tmp_path: Path, victims: tuple[str, ...]) -> None:
    cloud.open(lease("victim", 2), offer(), site())
    directory = LeaseDirectory.of(tmp_path, "victim")
    holders = {"keeper": directory.keeper(), "nursery": directory.nursery()}
    for name in victims:
        os.kill(holders[name].pid, signal.SIGKILL)
    pids = [record["pid"] for record in directory.machines().values()]
    assert len(pids) == 3
    until(lambda: not [identity for identity in directory.running() if identity.pid in pids])
    assert reasons(tmp_path, "victim") <= {"keeper_lost", "scheduler_lost", "closed"}
    cloud.close("victim")
    assert cloud.leases() == ()


@slow
def test_killing_the_process_that_opened_it_ends_everything(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from infra.adapters.clusters_local import LocalCloud\n"
        "from tests.integration.clusters_support import lease, offer, site\n"
        "LocalCloud(Path(sys.argv[1]), warm=True).open(lease('orphan', 2), offer(), site())\n"
        "print('open', flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    opener = subprocess.Popen(command, stdout=subprocess.PIPE, env=machine_environment(tmp_path))
    assert opener.stdout.readline() == b"open\n"
    assert reap(tmp_path, time.time()) == []
    opener.kill()
    opener.wait()
    opener.stdout.close()
    until(lambda: not processes_of(tmp_path))
    reaped = reap(tmp_path, time.time())
    assert [(found.lease_id, found.reason) for found in reaped] == [("orphan", ReapReason.ORPHANED)]
    assert reap(tmp_path, time.time()) == []
    assert not list(LeaseDirectory.of(tmp_path, "orphan").tls.glob("*.key"))


@slow
def test_a_lease_s_hard_end_does_not_wait_for_busy_or_blocked_machines(cloud: LocalCloud, tmp_path: Path) -> None:
    held, address = open_short(cloud, "busy", 12.0, offer(), site(), 2, needs_s=6.0)
    with client(address) as connected:
        work = connected.submit(time.sleep, 600, workers=list(address.workers[:1]))
        blocked = connected.submit(_block_the_loop, workers=list(address.workers[1:]))
        until(lambda: not processes_of(tmp_path, cloud), max(0.0, held.ends_at - time.time()) + 40.0)
        del work, blocked
    assert {record["why"] for record in machines(tmp_path, held.id, "worker")} == {"lease_ended"}
    assert cloud.leases() == ()


def _block_the_loop() -> None:
    from distributed import get_worker

    get_worker().loop.add_callback(time.sleep, 600)


@slow
def test_a_frozen_machine_is_reaped(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.open(lease("frozen"), offer(), site())
    directory = LeaseDirectory.of(tmp_path, "frozen")
    [frozen] = machines(tmp_path, "frozen", "worker")
    os.kill(frozen["pid"], signal.SIGSTOP)
    for holder in (directory.keeper(), directory.nursery()):
        os.kill(holder.pid, signal.SIGKILL)
    ends_at = directory.lease().ends_at
    assert reap(tmp_path, ends_at + 4, grace_s=5) == []
    until(lambda: {identity.pid for identity in directory.running()} == {frozen["pid"]})
    [would] = reap(tmp_path, ends_at + 6, grace_s=5, dry_run=True)
    assert would.reason is ReapReason.LEASE_ENDED
    assert [identity.pid for identity in would.processes] == [frozen["pid"]]
    assert directory.running()
    [did] = reap(tmp_path, ends_at + 6, grace_s=5)
    assert did.processes == would.processes
    assert not directory.running()
    [record] = machines(tmp_path, "frozen", "worker")
    assert record["why"] == "killed"
    assert record["ended_at"] <= time.time()


@slow
def test_a_reclaim_ends_a_machine_and_is_metered(tmp_path: Path) -> None:
    provider = LocalCloud(tmp_path, reclaims=lambda lease, offer, index: 4.0 if index == 0 else None)
    address = provider.open(lease("spot", 2), offer(interruptions_per_hour=1.0), site())
    with client(address) as connected:
        until(lambda: provider.usage("spot")["reclaimed"] == 1)
        until(lambda: len(connected.scheduler_info(n_workers=-1)["workers"]) == 1)
    provider.shutdown()
    usage = provider.usage("spot")
    assert sorted(record["why"] for record in machines(tmp_path, "spot", "worker")) == ["closed", "reclaimed"]
    assert usage["machine_s"] > 1.0
    assert not processes_of(tmp_path)


@slow
def test_what_a_reclaimed_machine_holds_is_moved_before_it_goes(tmp_path: Path) -> None:
    provider = LocalCloud(tmp_path, reclaims=lambda lease, offer, index: 8.0 if index == 0 else None)
    address = provider.open(lease("drained", 2), offer(interruptions_per_hour=1.0), site())
    with client(address) as connected:
        departures = announced_in(connected)
        held = {
            worker: connected.submit(os.getpid, workers=[worker], allow_other_workers=True, pure=False)
            for worker in connected.nthreads()
        }
        pids = connected.gather(held)
        until(lambda: provider.usage("drained")["reclaimed"] == 1)
        assert len(departures()) == 1
        assert connected.gather(held) == pids, "moved, and not computed again in another process"
    provider.shutdown()
    assert not processes_of(tmp_path)


@slow
def test_an_idle_cluster_ends_itself(tmp_path: Path) -> None:
    provider = LocalCloud(tmp_path, idle_timeout_s=8.0)
    provider.open(lease("idle"), offer(), site())
    directory = LeaseDirectory.of(tmp_path, "idle")
    until(lambda: all(record["ended_at"] for record in directory.machines().values()))
    assert [record["why"] for record in machines(tmp_path, "idle", "scheduler")] == ["idle"]
    provider.shutdown()


@slow
def test_close_works_from_another_process(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.open(lease("remote"), offer(), site())
    elsewhere = LocalCloud(tmp_path)
    assert elsewhere.leases() == ("remote",)
    elsewhere.close("remote")
    assert elsewhere.leases() == ()
    until(lambda: not processes_of(tmp_path, cloud))
    assert elsewhere.usage("remote") == cloud.usage("remote")


@slow
def test_a_killed_host_is_replaced_and_its_leases_go_on(tmp_path: Path) -> None:
    provider = LocalCloud(tmp_path, warm=True)
    first = provider.open(lease("before"), offer(), site())
    os.kill(provider._host.process.pid, signal.SIGKILL)
    provider._host.process.wait()
    provider.open(lease("after"), offer(), site())
    with client(first) as connected:
        assert connected.submit(pow, 2, 3, workers=list(first.workers)).result() == 8
    assert provider.leases() == ("after", "before")
    provider.shutdown()
    until(lambda: not processes_of(tmp_path))


@slow
def test_closing_a_lease_on_its_way_up_ends_the_start(cloud: LocalCloud, tmp_path: Path) -> None:
    caught: list[BaseException] = []

    def open_it() -> None:
        try:
            cloud.open(lease("unwanted", 2), offer(boot_s=50.0), site())
        except UnavailableError as error:
            caught.append(error)

    opening = threading.Thread(target=open_it)
    opening.start()
    until(lambda: cloud.leases() == ("unwanted",))
    cloud.close("unwanted")
    opening.join(60)
    assert [error.code for error in caught] == ["CLUSTER_START_FAILED"]
    assert cloud.leases() == ()
    assert not LeaseDirectory.of(tmp_path, "unwanted").running()


@slow
def test_machines_do_not_draw_the_same_random_numbers(tmp_path: Path) -> None:
    provider = LocalCloud(tmp_path, preload=("numpy",))
    address = provider.open(lease("dice", 2), offer(), site())

    def draw() -> float:
        import numpy

        return numpy.random.random()

    with client(address) as connected:
        futures = [connected.submit(draw, workers=[worker], pure=False) for worker in address.workers]
        assert len(set(connected.gather(futures))) == 2
    provider.shutdown()


def test_reclaims_are_drawn_from_the_lease_alone_and_follow_the_rate() -> None:
    on_demand, spot = offer(), offer(interruptions_per_hour=2.0)
    leases = [lease(f"lease-{number}", at=1_800_000_000.0) for number in range(2000)]
    assert draw_reclaim_s(leases[0], on_demand, 0) is None
    drawn = [draw_reclaim_s(one, spot, 0) for one in leases]
    assert drawn == [draw_reclaim_s(one, spot, 0) for one in leases]
    assert draw_reclaim_s(leases[0], spot, 0) != draw_reclaim_s(leases[0], spot, 1)
    assert sum(drawn) / len(drawn) == pytest.approx(1800, rel=0.1)


def test_a_process_with_a_used_again_number_is_not_touched(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        directory = LeaseDirectory.of(tmp_path, "old")
        directory.begin(lease("old", at=1_800_000_000.0), 1_800_000_000.0, {})
        record = {"pid": stranger.pid, "process_started_at": psutil.Process(stranger.pid).create_time() - 3600}
        record |= {"name": "old", "role": "worker", "started_at": 1_800_000_000.0, "ended_at": None, "why": None}
        (directory.path / "vm-old.json").write_text(json.dumps(record))
        [reaped] = reap(tmp_path, 1_800_000_000.0 + 600)
        assert reaped.processes == ()
        assert stranger.poll() is None
        assert directory.closed
    finally:
        stranger.communicate(b"\n", timeout=10)


def test_files_of_closed_leases_are_forgotten_in_the_end(tmp_path: Path) -> None:
    for name in ("closed", "open"):
        LeaseDirectory.of(tmp_path, name).begin(lease(name, at=1000.0), 1000.0, {})
    LeaseDirectory.of(tmp_path, "closed").end("closed", 1010.0)
    assert forget_closed(tmp_path, 1100.0, keep_s=100.0) == []
    assert forget_closed(tmp_path, 1111.0, keep_s=100.0) == ["closed"]
    assert [path.name for path in (tmp_path / "leases").iterdir()] == ["open"]


def test_reaping_where_nothing_is(tmp_path: Path) -> None:
    assert reap(tmp_path / "nowhere", 1000.0) == []
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("bad", ["", "../x", "a/b", ".hidden", "a b", "x" * 300])
def test_a_lease_id_that_is_no_file_name_is_refused(tmp_path: Path, bad: str) -> None:
    with pytest.raises(InputError) as caught:
        LeaseDirectory.of(tmp_path, bad)
    assert caught.value.code == "BAD_LEASE_ID"

"""Leases on a real Slurm under attack: secrets, strangers, kills, a full queue, a silent controller, and nothing left."""

from __future__ import annotations

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

from infra.adapters.cloud import slurm_queue
from infra.adapters.cloud.tags import owner_of
from infra.adapters.clusters_slurm import SlurmClusters
from infra.adapters.local_cloud.environment import machine_environment
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.errors import InputError, UnavailableError
from infra.ports import ReapReason
from infra.worker.reaper import SiteReaper
from tests.clouds.slurm import Slurm
from tests.integration.clusters_support import client, kill_keeper, lease, open_short, reaches, security, until
from tests.integration.slurm_support import ON_SLURM, slurm_offer, slurm_provider, slurm_site

pytestmark = list(ON_SLURM)


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with Slurm() as running:
        yield running


@pytest.fixture
def provider(slurm: Slurm, tmp_path: Path) -> Iterator[SlurmClusters]:
    with slurm_provider(slurm, tmp_path) as made:
        yield made


def reaper_of(slurm: Slurm, state_dir: Path) -> SiteReaper:
    return SiteReaper(state_dir, environ={**os.environ, **slurm.environment()})


def described(slurm: Slurm, job: str) -> str:
    return slurm.call("scontrol", "show", "job", job)


def workers_of(state_dir: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if "distributed.cli.dask_worker" in process.cmdline() and str(state_dir) in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.name() != "timeout"]


def test_jobs_say_whose_they_are_and_hold_no_secret(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "prefect-secret")
    monkeypatch.setenv("SBATCH_PARTITION", "somebodys")
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM__JOB_SCRIPT_PROLOGUE", "['touch /tmp/somebodys']")
    site = slurm_site(qos="normal", cores=2, directives=("--nice=5",))
    with slurm_provider(slurm, tmp_path) as provider:
        mine = provider.open(lease("run:1", 2), slurm_offer(), site)
        other = provider.open(lease("other"), slurm_offer(), site)
        jobs = slurm.jobs()
        assert len(jobs) == 3
        for job in jobs:
            text = described(slurm, job)
            for part in ("Requeue=0", "Partition=main", "accel:sim:1", "TimeLimit=00:02:00", "Nice=5"):
                assert part in text, part
            for part in ("headrace:run=run-1", "headrace:attempt=1", "headrace:site=site-a", "headrace:expires-at=20"):
                assert part in text, part
            assert f"headrace:owner={owner_of(tmp_path)}" in text
            script = slurm.call("scontrol", "write", "batch_script", job, "-")
            assert "--tls-key" in script
            assert "#SBATCH --qos=normal\n" in script, "there are no books here that could show it"
            for secret in ("PRIVATE", "BEGIN", "prefect-secret", "client.key", "somebodys"):
                assert secret not in script
        environments = [str(process.environ()) for process in workers_of(tmp_path)]
        assert len(environments) == 3
        assert not [text for text in environments if "prefect-secret" in text or "PREFECT_" in text]
        assert all("'OMP_NUM_THREADS': '2'" in text for text in environments)

        assert reaches(mine.scheduler, security(mine), "client")
        assert not reaches(mine.scheduler, security(other), "client")


OPENER = """
import os, sys, time
from pathlib import Path
from infra.adapters.clusters_slurm import SlurmClusters
from tests.integration.clusters_support import lease
from tests.integration.slurm_support import slurm_offer, slurm_site
print("opening", flush=True)
SlurmClusters(Path(sys.argv[1])).open(lease("orphan", 2, life_s=300), slurm_offer(), slurm_site())
print("open", flush=True)
time.sleep(600)
"""


def opener(slurm: Slurm, state_dir: Path, until_it_says: bytes) -> subprocess.Popen:
    command = [sys.executable, "-c", OPENER, str(state_dir)]
    environment = machine_environment(state_dir, slurm.environment())
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if line == until_it_says:
            return process
    raise AssertionError("the opener failed")


@pytest.mark.parametrize("with_keeper", [False, True], ids=["opener", "opener and keeper"])
def test_a_killed_opener_leaves_nothing(
    slurm: Slurm, provider: SlurmClusters, tmp_path: Path, with_keeper: bool
) -> None:
    process = opener(slurm, tmp_path, b"open\n")
    assert len(slurm.jobs()) == 2
    reaper = reaper_of(slurm, tmp_path)
    assert reaper.reap(time.time()) == []
    if with_keeper:
        kill_keeper(tmp_path, "orphan")
    process.kill()
    process.communicate()
    until(lambda: not slurm.jobs(), 25)  # the keeper cancels them; without one, workers miss their scheduler
    [did] = reaper.reap(time.time())
    assert (did.lease_id, did.reason) == ("orphan", ReapReason.ORPHANED)
    assert reaper.reap(time.time()) == []
    assert reaper.problems == []
    assert provider.leases() == ()


def test_the_reaper_cancels_jobs_that_wait_for_nobody(slurm: Slurm, provider: SlurmClusters, tmp_path: Path) -> None:
    stranger = slurm.call("sbatch", "--parsable", "--wrap=sleep 60", "--comment=headrace:nothing", "--time=1").strip()
    slurm.set_node("drain")
    process = opener(slurm, tmp_path, b"opening\n")
    until(lambda: len(slurm.jobs()) == 3)
    keeper = LeaseDirectory.of(tmp_path, "orphan").keeper()
    assert keeper is not None
    os.kill(keeper.pid, signal.SIGSTOP)  # each would cancel the jobs if it saw the other one die
    process.kill()
    process.communicate()
    kill_keeper(tmp_path, "orphan")
    reaper = reaper_of(slurm, tmp_path)
    [would] = reaper.reap(time.time(), dry_run=True)
    assert (would.reason, len(would.machines)) == (ReapReason.ORPHANED, 2)
    assert len(slurm.jobs()) == 3
    [did] = reaper.reap(time.time())
    assert (did.lease_id, did.reason, did.machines) == ("orphan", ReapReason.ORPHANED, would.machines)
    assert slurm.jobs() == [stranger]
    assert reaper.reap(time.time()) == []
    assert provider.usage("orphan")["machine_s"] == 0.0, "what waited in the queue has used nothing"
    slurm.call("scancel", stranger)


def test_jobs_of_a_lease_that_nobody_wrote_down(slurm: Slurm, provider: SlurmClusters, tmp_path: Path) -> None:
    comment = slurm_queue.comment_of({"headrace:lease": "lost", "headrace:owner": owner_of(tmp_path)})
    slurm.call("sbatch", "--wrap=sleep 60", f"--comment={comment}", "--time=1")
    assert provider.reap(time.time(), 10.0, dry_run=False) == [], "one is given the time that clocks may differ"
    [did] = provider.reap(time.time() + 200.0, 10.0, dry_run=False)
    assert (did.lease_id, did.reason, len(did.machines)) == ("lost", ReapReason.NO_LEASE, 1)
    assert slurm.jobs() == []


def test_a_job_ends_by_its_own_timer_with_nobody_to_end_it(
    slurm: Slurm, provider: SlurmClusters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "hard_end_margin_s", 1.0)
    held, _ = open_short(provider, "frozen", 7.0, slurm_offer(), slurm_site(), needs_s=3.0)
    keeper = LeaseDirectory.of(tmp_path, held.id).keeper()
    assert keeper is not None
    os.kill(keeper.pid, signal.SIGSTOP)  # it neither ends the lease nor lets its workers miss it
    try:
        until(lambda: not slurm.jobs(), max(0.0, held.ends_at - time.time()) + 40.0)
        assert held.ends_at - 1.0 < time.time() < held.ends_at + 30.0
    finally:
        os.kill(keeper.pid, signal.SIGKILL)


def test_an_idle_cluster_ends_itself(slurm: Slurm, tmp_path: Path) -> None:
    with slurm_provider(slurm, tmp_path, idle_timeout_s=8.0) as provider:
        provider.open(lease("idle"), slurm_offer(), slurm_site())
        until(lambda: not slurm.jobs())


def test_a_full_queue_is_told_and_leaves_nothing(slurm: Slurm, tmp_path: Path) -> None:
    slurm.set_node("drain")
    with slurm_provider(slurm, tmp_path, start_timeout_s=8.0) as provider:
        with pytest.raises(UnavailableError, match=r"NO_CAPACITY: jobs that wait in the queue: [12] for ") as caught:
            provider.open(lease("full", 2), slurm_offer(), slurm_site())
        assert (caught.value.code, caught.value.retryable) == ("CLUSTER_START_FAILED", True)
        assert provider.leases() == ()
        assert slurm.jobs() == []


def test_what_slurm_refuses_is_told_in_its_words(slurm: Slurm, provider: SlurmClusters) -> None:
    site = slurm_site(gres=(("gpu-sim", "accel:other:1"),))
    with pytest.raises(
        UnavailableError, match=r"Requested node configuration is not available|Invalid generic resource"
    ):
        provider.open(lease("refused", 2), slurm_offer(), site)
    assert provider.leases() == ()
    assert slurm.jobs() == []


def test_closing_a_lease_on_its_way_up_ends_the_start(slurm: Slurm, provider: SlurmClusters) -> None:
    slurm.set_node("drain")
    problems: list[Exception] = []

    def open_it() -> None:
        try:
            provider.open(lease("unwanted"), slurm_offer(), slurm_site())
        except UnavailableError as problem:
            problems.append(problem)

    opening = threading.Thread(target=open_it)
    opening.start()
    until(slurm.jobs)
    provider.close("unwanted")
    opening.join(60)
    assert [problem.code for problem in problems] == ["CLUSTER_START_FAILED"]
    assert slurm.jobs() == []
    assert provider.leases() == ()


def test_a_controller_that_does_not_answer_is_told(
    slurm: Slurm, provider: SlurmClusters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = provider.open(lease("cut-off"), slurm_offer(), slurm_site())
    slurm.set_control(False)
    reaper = reaper_of(slurm, tmp_path)
    with monkeypatch.context() as impatient:  # before and after, the controller may take its time
        impatient.setattr(slurm_queue, "CALL_TIMEOUT_S", 1.0)
        assert reaper.reap(time.time()) == []
    assert [problem.code for problem in reaper.problems] == ["CLOUD_UNREACHABLE"]
    assert provider.leases() == ("cut-off",)
    with client(address) as connected:
        assert connected.submit(pow, 2, 3).result() == 8, "running work goes on"
    slurm.set_control(True)
    until(lambda: reaper.reap(time.time()) == [] and reaper.problems == [])
    provider.close("cut-off")
    assert slurm.jobs() == []


def test_what_cannot_work_is_refused_before_anything_is_written(slurm: Slurm, tmp_path: Path) -> None:
    environ = {**os.environ, **slurm.environment()}
    spaced = SlurmClusters(tmp_path / "a b", environ=environ)
    with pytest.raises(InputError) as caught:
        spaced.open(lease("spaced"), slurm_offer(), slurm_site())
    assert caught.value.code == "BAD_STATE_DIRECTORY"
    without = SlurmClusters(tmp_path / "without", environ={"PATH": "/nowhere"})
    with pytest.raises(UnavailableError, match="not on the PATH of the site's worker: sbatch, squeue, scancel"):
        without.open(lease("without"), slurm_offer(), slurm_site())

"""Warm clusters of the simulated cloud: one that idles serves a run at once, and nothing is left of it afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.adapters.clock import SystemClock
from infra.adapters.clusters_local import LocalCloud
from infra.adapters.local_cloud.faults import CloudFaults
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.adapters.objects import open_store
from infra.adapters.permits import PermitSigner
from infra.core.canonical import digest
from infra.core.errors import UnavailableError
from infra.core.metering import ReportOutcome, SiteReport, charge_parts, machine_cost_micro
from infra.worker.attempt import SiteAttempt
from infra.worker.context import SiteContext
from infra.worker.desk import SiteDesk
from infra.worker.site_state import SiteState
from infra.worker.warm import Fate, reaches, settle
from tasks.site_job import SiteResult
from tasks.site_run import execute
from tests.integration.clusters_support import processes_of, until
from tests.unit.test_permits import CLAIMS, CONTROL, OFFER, SITE, SITE_KEY

pytestmark = pytest.mark.slow
BOOT_S = 1.0
BOOTING = replace(OFFER, boot_s=BOOT_S)
POOL = replace(SITE.pools[0], offers=(BOOTING,))


class WarmSite:
    """A site's desk over the simulated cloud, without Prefect: flow processes are threads here."""

    def __init__(self, home: Path) -> None:
        self.cloud_dir = home / "cloud"
        self.cloud = LocalCloud(self.cloud_dir)
        store_url = f"file://{home / 'store'}"
        self.desk = SiteDesk(
            site=replace(SITE, pools=(POOL,)),
            pool=POOL.name,
            verifier=PermitSigner(CONTROL).verifier(),
            key=SITE_KEY,
            store=open_store(store_url),
            state=SiteState(home / "site"),
            providers=lambda _pool: self.cloud,
            clock=SystemClock(),
            store_url=store_url,
        )

    def begin(self, name: str, kind: str = "probe", cluster_lease: str = "", **parameters: Any) -> SiteAttempt:
        run_id = f"run-{name}"
        work = {"run_id": run_id, "attempt": 1, "kind": kind, "inputs": [], "parameters": parameters}
        now_at = time.time()
        claims = replace(
            CLAIMS,
            id=name,
            run_id=run_id,
            work_sha256=digest(work),
            datasets=(),
            cap_micro=5_000_000,
            issued_at=now_at,
            expires_at=now_at + (600 if kind == "warm" else 300),
            cluster_lease=cluster_lease,
        )
        token = PermitSigner(CONTROL).sign(claims)
        return self.desk.begin(self.desk.admit(f"flow-{name}", {"permit": token, "work": work}))

    def open(self, attempt: SiteAttempt) -> SiteContext:
        return SiteContext.load(self.desk.open_cluster(attempt))

    def work(self, attempt: SiteAttempt) -> SiteResult:
        """What its flow process does."""
        context = SiteContext.load(self.desk.state.context_file(attempt.lease.id))
        return execute(context, dict(attempt.admission.work), lambda *_: None)

    def close(self, attempt: SiteAttempt) -> SiteReport:
        return self.desk.close(attempt, ReportOutcome.FINISHED, 0, "")

    def machines_left(self) -> list[int]:
        return processes_of(self.cloud_dir, self.cloud)


@contextmanager
def running(home: Path) -> Iterator[WarmSite]:
    site = WarmSite(home)
    try:
        yield site
    finally:
        site.cloud.shutdown()
        until(lambda: not processes_of(site.cloud_dir))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WarmSite]:
    with running(tmp_path) as site:
        yield site


@contextmanager
def in_background(site: WarmSite, attempt: SiteAttempt) -> Iterator[Future[SiteResult]]:
    """The attempt's work, as its own process would do it; it has ended afterwards."""
    with ThreadPoolExecutor(1) as threads:
        try:
            yield threads.submit(site.work, attempt)
        finally:
            # It waits for a taker or for that taker's end: neither comes from a test that failed.
            settle(site.desk.state.cache_dir(attempt.lease.id), Fate(time.time()))
            for note in site.desk.state.notes():
                if note.lease.id != attempt.lease.id:
                    site.desk.state.forget(note.lease.id)


def test_a_run_on_a_warm_cluster_starts_at_once_and_the_money_adds_up(site: WarmSite) -> None:
    idling = site.begin("w", "warm", keep_s=120.0)
    ready = site.open(idling)
    # Dask ends a scheduler without work by itself: not while it may be kept.
    assert LeaseDirectory.of(site.cloud_dir, "w").document()["order"]["idle_timeout_s"] == 300.0 + 120.0
    with in_background(site, idling) as kept:
        taker = site.begin("t", cluster_lease="w", sleep_s=0.2)
        context = site.open(taker)
        assert context.cluster == ready.cluster
        assert taker.taken == "w"
        (pid,) = site.work(taker).detail["worker_pids"]
        machines = LeaseDirectory.of(site.cloud_dir, "w").machines().values()
        assert pid in {record["pid"] for record in machines}
        assert not kept.done()
        served = site.close(taker)
        assert not site.machines_left()
        assert kept.result(60).detail == {"taken": True}
    idled = site.close(idling)
    assert (served.outcome, idled.outcome) == (ReportOutcome.FINISHED, ReportOutcome.FINISHED)
    assert idled.result_manifest_sha256
    assert idled.boot_s >= BOOT_S
    assert (idled.ended_at, served.boot_s < idled.boot_s) == (served.started_at, True)
    whole = machine_cost_micro(BOOTING.price, 1, idled.started_at, served.ended_at)
    parts = [machine_cost_micro(BOOTING.price, 1, each.started_at, each.ended_at) for each in (idled, served)]
    # Each part is rounded up to a micro-dollar.
    assert whole <= sum(parts) <= whole + 1
    assert site.desk.state.notes() == ()


def test_a_warm_cluster_that_nobody_wants_idles_out(site: WarmSite) -> None:
    idling = site.begin("w", "warm", keep_s=0.5)
    site.open(idling)
    result = site.work(idling)
    assert result.detail == {"taken": False}
    assert 0.5 <= result.metrics["idle_s"] < 60.0
    late = site.begin("t", cluster_lease="w")
    assert site.open(late).cluster.scheduler != ""
    assert late.taken == ""
    for attempt in (idling, late):
        site.close(attempt)
    assert not site.machines_left()


def test_a_run_whose_warm_cluster_died_boots_its_own(site: WarmSite) -> None:
    idling = site.begin("w", "warm", keep_s=120.0)
    dead = site.open(idling)
    for machine in LeaseDirectory.of(site.cloud_dir, "w").machines().values():
        os.kill(machine["pid"], signal.SIGKILL)
    # A killed process listens until the kernel has taken it down.
    until(lambda: not reaches(dead.cluster.scheduler))
    with in_background(site, idling) as kept:
        taker = site.begin("t", cluster_lease="w", sleep_s=0.1)
        context = site.open(taker)
        assert context.cluster.scheduler != dead.cluster.scheduler
        assert taker.note.ready_at is not None
        assert taker.note.ready_at - taker.lease.opened_at >= BOOT_S
        assert site.work(taker).units_done == 1.0
        assert kept.result(60).detail == {"taken": False}
    for attempt in (taker, idling):
        site.close(attempt)
    assert not site.machines_left()


def test_an_attempt_that_never_had_a_machine_costs_nothing(site: WarmSite) -> None:
    CloudFaults(refuse=(BOOTING.name,)).write(site.cloud_dir)
    refused = site.begin("r")
    with pytest.raises(UnavailableError):
        site.open(refused)
    report = site.desk.close(refused, ReportOutcome.LOST, None, "CLUSTER_START_FAILED")
    assert report.ended_at >= refused.lease.opened_at
    assert (report.started_at, report.machine_s, report.boot_s) == (report.ended_at, 0.0, 0.0)
    assert charge_parts(report, BOOTING.price, 0, 5_000_000).total_micro == 0
    # A worker that was killed after it wrote the lease down had not asked for anything either.
    site.begin("k")
    (lost,) = WarmSite(site.cloud_dir.parent).desk.recover()
    assert (lost.outcome, lost.machine_s) == (ReportOutcome.LOST, 0.0)
    CloudFaults().write(site.cloud_dir)
    served = site.begin("s")
    site.open(served)
    assert site.close(served).machine_s > 0.0


def test_of_two_runs_at_once_one_is_given_the_cluster(site: WarmSite) -> None:
    idling = site.begin("w", "warm", keep_s=120.0)
    address = site.open(idling).cluster
    takers = [site.begin(name, cluster_lease="w") for name in ("t1", "t2")]
    with ThreadPoolExecutor(2) as threads:
        contexts = list(threads.map(site.open, takers))
    assert sorted(attempt.taken for attempt in takers) == ["", "w"]
    assert [context.cluster == address for context in contexts].count(True) == 1
    for attempt in (*takers, idling):
        assert site.close(attempt).outcome is ReportOutcome.FINISHED
    assert not site.machines_left()


def hold(home: str) -> None:
    """A worker that has a warm cluster and a run on it, until it is killed."""
    site = WarmSite(Path(home))
    site.open(site.begin("w", "warm", keep_s=120.0))
    taker = site.begin("t", cluster_lease="w")
    site.open(taker)
    print(taker.taken, flush=True)
    threading.Event().wait()


def test_a_killed_worker_leaves_nothing_of_a_taken_cluster(tmp_path: Path) -> None:
    command = f"from {__name__} import hold; hold({str(tmp_path)!r})"
    worker = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, text=True)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline().strip() == "w"
        opened_at = {note.lease.id: note.lease.opened_at for note in SiteState(tmp_path / "site").notes()}
        worker.kill()
        worker.wait(20)
        with running(tmp_path) as site:
            reports = {report.lease_id: report for report in site.desk.recover()}
            assert {report.outcome for report in reports.values()} == {ReportOutcome.LOST}
            assert (reports["w"].ended_at, reports["t"].started_at) == (opened_at["t"], opened_at["t"])
            assert site.desk.state.notes() == ()
            until(lambda: not site.machines_left())
    finally:
        worker.kill()
        worker.wait(20)
        assert worker.stdout is not None
        worker.stdout.close()

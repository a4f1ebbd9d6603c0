"""A site's worker on a real Prefect server: permits, leases, meters, and what happens when things die."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.adapters.extensions import leave_extension
from infra.adapters.objects import WatchableStore, open_store
from infra.adapters.permits import PermitSigner, create_key_pair
from infra.adapters.reports import load_trusted_keys, read_refusal, read_report
from infra.core.canonical import digest
from infra.core.inventory import TrustZone
from infra.core.metering import ReportOutcome, SiteReport, cap_reached_at, charge_parts
from infra.core.trust import PermitClaims, PermitExtension
from infra.worker import HeadraceWorker
from tests.guarded_s3 import guarded_s3_server
from tests.integration.prefect_server import PrefectServer, is_alive, running_server, wait_until
from tests.integration.site_worker import OFFERS, SITE
from tests.s3_server import REGION, new_bucket, s3_store

pytestmark = pytest.mark.slow
POOL = SITE.name
FLOW = "tests.integration.worker_flows.site_work"


@dataclass
class SiteUnderTest:
    """The site's worker, and the control plane's side of the permit and report exchange.

    ``environment`` adds to the worker's; ``store`` is in the home when none is given. With a
    ``deployment``, the pool is there already.
    """

    server: PrefectServer
    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    store: WatchableStore | None = None
    deployment: str = ""

    def __post_init__(self) -> None:
        self.directory = self.home / "site"
        create_key_pair(self.home / "control" / "permit.pem", self.directory / "permit.pub.pem")
        create_key_pair(self.directory / "key.pem", self.home / "control" / "sites" / f"{POOL}.pem")
        self.signer = PermitSigner.from_file(self.home / "control" / "permit.pem")
        self.keys = load_trusted_keys(self.home / "control" / "sites")
        self.store = self.store or open_store(f"file://{self.home / 'store'}")
        if not self.deployment:
            self.server.create_pool(POOL, HeadraceWorker.get_default_base_job_template())
            self.deployment = self.server.deploy("site-work", FLOW, POOL)
        self.start()

    def start(self) -> None:
        self.worker = self.server.start_worker(
            POOL,
            self.home / "worker.log",
            module="tests.integration.site_worker",
            HEADRACE_SITE=POOL,
            HEADRACE_SITE_DIR=str(self.directory),
            HEADRACE_SITE_KEY_FILE=str(self.directory / "key.pem"),
            HEADRACE_PERMIT_PUBLIC_KEY_FILE=str(self.directory / "permit.pub.pem"),
            HEADRACE_STORE_URL=self.store.uri,
            HEADRACE_SITE_FLOWS=FLOW,
            HEADRACE_PRELOAD="tests.integration.worker_flows",
            HEADRACE_DATABASE_URL="postgresql://control:secret@elsewhere/headrace",
            **{"AWS_SECRET_ACCESS_KEY": "secret"} | self.environment,
        )

    def permitted(
        self, offer: str = "gpu", cap_micro: int = 5_000_000, most_micro: int = 0, **parameters: Any
    ) -> dict[str, Any]:
        """Parameters of a flow run with a good permit."""
        run_id = str(uuid.uuid4())
        work = {"run_id": run_id, "attempt": 1, "kind": "probe", "inputs": [], "parameters": parameters}
        now_at = time.time()
        claims = PermitClaims(
            id=f"permit-{run_id}",
            run_id=run_id,
            attempt=1,
            site=POOL,
            pool=POOL,
            offer=offer,
            devices=1,
            work_sha256=digest(work),
            datasets=(),
            residency=("EU",),
            trust_zone=TrustZone.PUBLIC,
            cap_micro=cap_micro,
            issued_at=now_at,
            expires_at=now_at + 600,
            most_micro=most_micro,
        )
        return {"permit": self.signer.sign(claims), "work": work}

    def run(self, parameters: dict[str, Any]) -> str:
        return self.server.run(self.deployment, parameters)

    def report(self, parameters: dict[str, Any], kind: str = "closed") -> SiteReport:
        run_id = parameters["work"]["run_id"]
        wait_until(lambda: read_report(self.store, self.keys, run_id, 1, kind, POOL), 120, f"the {kind} report")
        report = read_report(self.store, self.keys, run_id, 1, kind, POOL)
        assert report is not None
        return report

    def nothing_left(self) -> bool:
        """Whether neither a cluster nor the record of an attempt is left."""
        return not self.clusters() and not self.attempts()

    def worker_log(self) -> str:
        return (self.home / "worker.log").read_text()[-4000:]

    def clusters(self) -> list[str]:
        return os.listdir(self.directory / "clusters") if (self.directory / "clusters").exists() else []

    def attempts(self) -> list[str]:
        return os.listdir(self.directory / "runs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteUnderTest]:
    home = tmp_path_factory.mktemp("site")
    with running_server(home / "prefect") as server:
        site = SiteUnderTest(server, home)
        server.wait_for_worker(POOL)
        yield site


def test_permitted_work_runs_and_is_reported(site: SiteUnderTest, tmp_path: Path) -> None:
    names = tmp_path / "names"
    parameters = site.permitted(environment_file=str(names))
    assert site.server.wait_for(site.run(parameters))["state_type"] == "COMPLETED"
    report = site.report(parameters)
    assert (report.outcome, report.exit_code, report.offer, report.devices) == (ReportOutcome.FINISHED, 0, "gpu", 1)
    assert (report.egress_bytes, report.egress_sources) == (1000, ("onprem-fra",))
    assert report.result_manifest_sha256 == "0" * 64
    assert report.ready_at is not None
    assert report.started_at <= report.ready_at <= report.ended_at
    assert site.report(parameters, "opened").outcome is ReportOutcome.RUNNING
    assert charge_parts(report, OFFERS[0].price, 0, 5_000_000).total_micro > 0
    wait_until(site.nothing_left, what="the end of the attempt")
    environment = names.read_text().split("\n")
    assert not [name for name in environment if name.startswith("AWS_") or name == "HEADRACE_DATABASE_URL"]


def test_a_run_opens_an_s3_store_with_credentials_of_its_own(site: SiteUnderTest, tmp_path: Path) -> None:
    with guarded_s3_server() as (endpoint, guard):
        store = s3_store(endpoint, new_bucket(endpoint), "store")
        environment = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "HEADRACE_STORE_ROLE_ARN": "arn:aws:iam::123456789012:role/headrace-runs",
        }
        site.worker.send_signal(signal.SIGTERM)
        site.worker.wait(90)
        scoped = SiteUnderTest(site.server, tmp_path, environment, store, site.deployment)
        try:
            told = tmp_path / "told.json"
            parameters = scoped.permitted(store_file=str(told))
            run = scoped.run(parameters)
            assert scoped.server.wait_for(run)["state_type"] == "COMPLETED", scoped.worker_log()
            assert scoped.report(parameters).outcome is ReportOutcome.FINISHED
            answer = json.loads(told.read_text())
            assert answer["variables"]["AWS_ACCESS_KEY_ID"] in guard.sessions
            assert "test-secret" not in told.read_text()
            assert answer["own"] == "mine"
            assert answer["reports"] == "STORE_DENIED"
            key = answer["variables"]["AWS_ACCESS_KEY_ID"]
            assert {seen.allowed for seen in guard.asked_with(key)} == {True, False}
            assert store.get(f"runs/{parameters['work']['run_id']}/attempts/1/own.txt") == b"mine"
            # A run that STS gives nothing for is told so, and leaves nothing.
            guard.broken = (403, "AccessDenied")
            refused = scoped.permitted(store_file=str(tmp_path / "never.json"))
            ended = scoped.server.wait_for(scoped.run(refused))
            assert "STORE_ACCESS_FAILED" in ended["state"]["message"]
            assert scoped.report(refused).outcome is ReportOutcome.LOST
            wait_until(scoped.nothing_left, what="the end of the attempts")
            assert not (tmp_path / "never.json").exists()
        finally:
            scoped.worker.send_signal(signal.SIGTERM)
            scoped.worker.wait(90)
            site.start()


def test_work_that_fails_or_dies_is_closed_and_reported(site: SiteUnderTest) -> None:
    failing, dying = site.permitted(fail=True), site.permitted(die=True)
    runs = [site.run(failing), site.run(dying)]
    assert [site.server.wait_for(run)["state_type"] for run in runs] == ["FAILED", "CRASHED"]
    assert site.report(failing).outcome is ReportOutcome.FAILED
    died = site.report(dying)
    assert (died.outcome, died.exit_code) == (ReportOutcome.LOST, -9)
    assert "PROCESS_DIED" in died.message
    wait_until(site.nothing_left, what="the end of the attempts")


@pytest.mark.parametrize("parameters", [{}, {"permit": "", "work": {}}, {"permit": "a.b.c", "work": {}}])
def test_a_hand_made_call_is_refused_and_starts_nothing(site: SiteUnderTest, parameters: dict[str, Any]) -> None:
    used = len(os.listdir(site.directory / "permits"))
    run = site.server.wait_for(site.run(parameters))
    assert (run["state_type"], run["state"]["name"]) == ("FAILED", "Refused")
    assert run["state"]["message"].startswith("PERMIT_M")
    assert run["infrastructure_pid"] is None
    assert "Running" not in site.server.states(run["id"])
    assert len(os.listdir(site.directory / "permits")) == used
    wait_until(site.nothing_left, what="the end of the attempts")
    wait_until(lambda: read_refusal(site.store, site.keys, POOL, run["id"]), what="the signed refusal")


def test_a_call_without_a_deployment_is_refused(site: SiteUnderTest) -> None:
    flow = site.server.post("/flows/", name="whatever")
    created = site.server.post(
        "/flow_runs/",
        flow_id=flow["id"],
        work_pool_name=POOL,
        state={"type": "SCHEDULED"},
        parameters=site.permitted(),
        job_variables={"command": "touch /tmp/headrace-was-here"},
    )
    run = site.server.wait_for(created["id"])
    assert run["state"]["name"] == "Refused"
    assert "FLOW_NOT_ALLOWED" in run["state"]["message"]


def test_a_permit_is_honoured_for_one_flow_run(site: SiteUnderTest) -> None:
    parameters = site.permitted()
    assert site.server.wait_for(site.run(parameters))["state_type"] == "COMPLETED"
    run = site.server.wait_for(site.run(parameters))
    assert run["state"]["name"] == "Refused"
    assert "PERMIT_REPLAYED" in run["state"]["message"]
    assert site.report(parameters).outcome is ReportOutcome.FINISHED


def test_cancelling_closes_the_cluster_within_seconds(site: SiteUnderTest, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    parameters = site.permitted(sleep_s=600, pid_file=str(pid_file))
    flow_run_id = site.run(parameters)
    wait_until(lambda: pid_file.exists() and pid_file.read_text(), 120, "the flow")
    assert len(site.clusters()) == 1
    site.server.cancel(flow_run_id)
    assert site.server.wait_for(flow_run_id, timeout_s=90)["state_type"] == "CANCELLED"
    assert not is_alive(int(pid_file.read_text()))
    assert site.report(parameters).outcome is ReportOutcome.CANCELLED
    assert site.clusters() == []
    assert "Crashed" not in site.server.states(flow_run_id)


def test_cancelling_while_the_cluster_starts_ends_the_start(site: SiteUnderTest) -> None:
    parameters = site.permitted(offer="slow-to-start")
    flow_run_id = site.run(parameters)
    wait_until(site.clusters, 120, "the cluster's start")
    site.server.cancel(flow_run_id)
    assert site.server.wait_for(flow_run_id, timeout_s=90)["state_type"] == "CANCELLED"
    report = site.report(parameters)
    assert (report.outcome, report.exit_code) == (ReportOutcome.CANCELLED, None)
    assert site.clusters() == []


def test_a_run_is_stopped_at_its_cap(site: SiteUnderTest) -> None:
    parameters = site.permitted(sleep_s=600, cap_micro=3_000)
    run = site.server.wait_for(site.run(parameters))
    assert (run["state_type"], run["state"]["name"]) == ("FAILED", "Capped")
    assert "CAP_REACHED" in run["state"]["message"]
    report = site.report(parameters)
    assert report.outcome is ReportOutcome.CAPPED
    assert charge_parts(report, OFFERS[0].price, 0, 3_000).total_micro == 3_000


def test_a_run_goes_on_with_an_extension_and_is_stopped_at_the_larger_cap(site: SiteUnderTest) -> None:
    parameters = site.permitted(sleep_s=600, cap_micro=3_000, most_micro=6_000)
    run_id = parameters["work"]["run_id"]
    leave_extension(site.store, site.signer, PermitExtension(f"permit-{run_id}", run_id, 1, 4_500, time.time()))
    run = site.server.wait_for(site.run(parameters))
    assert (run["state_type"], run["state"]["name"]) == ("FAILED", "Capped")
    report = site.report(parameters)
    price = OFFERS[0].price
    assert report.outcome is ReportOutcome.CAPPED
    assert report.ended_at >= cap_reached_at(price, 1, report.started_at, 4_500)
    assert charge_parts(report, price, 0, 4_500).total_micro == 4_500


def test_a_killed_worker_leaves_nothing_and_its_run_is_reported_lost(site: SiteUnderTest, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    parameters = site.permitted(sleep_s=600, pid_file=str(pid_file))
    site.run(parameters)
    wait_until(lambda: pid_file.exists() and pid_file.read_text(), 120, "the flow")
    os.kill(site.worker.pid, signal.SIGKILL)
    site.worker.wait()
    wait_until(lambda: not is_alive(int(pid_file.read_text())), what="the end of the flow's process")
    assert len(site.clusters()) == 1
    site.start()
    report = site.report(parameters)
    assert report.outcome is ReportOutcome.LOST
    wait_until(site.nothing_left, what="the end of the attempts")


def test_reports_wait_while_the_store_takes_none(site: SiteUnderTest) -> None:
    reports = site.home / "store" / "reports"
    hidden = reports.with_name("reports-hidden")
    reports.rename(hidden)
    reports.write_text("in the way: no directory can be made here")
    try:
        parameters = site.permitted()
        assert site.server.wait_for(site.run(parameters))["state_type"] == "COMPLETED"
        wait_until(lambda: os.listdir(site.directory / "outbox"), what="the outbox")
    finally:
        reports.unlink()
        hidden.rename(reports)
    assert site.report(parameters).outcome is ReportOutcome.FINISHED


def test_a_worker_that_is_told_to_end_puts_its_run_in_order(site: SiteUnderTest, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    parameters = site.permitted(sleep_s=600, pid_file=str(pid_file))
    flow_run_id = site.run(parameters)
    wait_until(lambda: pid_file.exists() and pid_file.read_text(), 120, "the flow")
    site.worker.send_signal(signal.SIGTERM)
    assert site.worker.wait(90) == 0
    assert not is_alive(int(pid_file.read_text()))
    assert site.report(parameters).outcome is ReportOutcome.LOST
    assert site.server.wait_for(flow_run_id)["state_type"] == "CRASHED"
    assert site.clusters() == []

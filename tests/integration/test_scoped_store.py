"""Runs in an S3 store with credentials of their own: real works, what else they reach, renewal, and STS that fails.

The server is moto's; a guard before it keeps the session policies, for moto itself takes and does not enforce them.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from distributed import Client

import tasks.site_run
from infra.adapters import objects_s3, renewed_keys
from infra.adapters.objects_s3 import S3Store
from infra.adapters.permits import PermitSigner, PermitVerifier
from infra.adapters.security_tokens import SecurityTokens
from infra.core.canonical import digest, plain
from infra.core.errors import HeadraceError, RefusedError, UnavailableError
from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site, TrustZone
from infra.core.metering import ReportOutcome
from infra.core.pricing import Price
from infra.core.trust import PermitClaims, PermittedDataset
from infra.core.workload import WorkKind
from infra.ports import ClusterAddress, Lease
from infra.worker import site_run as site_runs
from infra.worker.attempt import SiteAttempt
from infra.worker.context import SiteContext, newest_key
from infra.worker.desk import SiteDesk
from infra.worker.running import Running
from infra.worker.site_run import ProcessEnd, SiteRun
from infra.worker.site_state import SiteState
from infra.worker.store_access import RENEW_BEFORE_S, ScopedStore
from tasks.site_job import InputRef, SiteWork
from tests.guarded_s3 import Guard, guarded_s3_server
from tests.s3_server import REGION, new_bucket, s3_store
from tests.session_policies import Asked, allows
from tests.unit.test_store_scope import documented
from tests.work_support import dask_client, digits, documents, in_role, output, put_version

pytestmark = pytest.mark.slow

ROLE = "arn:aws:iam::123456789012:role/headrace-runs"
CONTROL = Ed25519PrivateKey.from_private_bytes(b"c" * 32)
OFFER = Offer("gpu", Purchase.ON_DEMAND, "gpu-sim", 2, 8.0, 1.0, Price(3_600_000))
SITE = Site("aws-fra", "DE", TrustZone.PRIVATE, (Pool("aws-fra", Cluster.LOCAL, (OFFER,)),), simulated=True)
WORKERS_KEY, WORKERS_SECRET = "test", "test-secret"
SMALL = {"epochs": 2, "batch_size": 32, "hidden": 16, "learning_rate": 0.01, "checkpoint_every_s": 0.0}


class Watch:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = float(int(time.time()))

    def now(self) -> float:
        return self.at


class Clusters:
    """Clusters that are the test's own Dask cluster; keeps who was opened and is open."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.open_now: set[str] = set()
        self.boot_s, self.clock = 0.0, Watch()

    def open(self, lease: Lease, offer: Offer, site: Site) -> ClusterAddress:
        self.opened.append(lease.id)
        self.open_now.add(lease.id)
        self.clock.at += self.boot_s
        return ClusterAddress("tls://own", "ca", "cert", "key")

    def close(self, lease_id: str) -> None:
        self.open_now.discard(lease_id)

    def had_machines(self, lease_id: str) -> bool:
        return lease_id in self.opened

    def leases(self) -> tuple[str, ...]:
        return tuple(sorted(self.open_now))


@dataclass
class Bench:
    """A site's desk over the guarded store."""

    endpoint: str
    guard: Guard
    directory: Path
    longest_s: int = 3600

    def __post_init__(self) -> None:
        self.bucket = new_bucket(self.endpoint)
        self.whole = s3_store(self.endpoint, self.bucket, "store")
        self.clusters = Clusters()
        self.clock = self.clusters.clock
        self.guard.now = self.clock.now
        self.desk = self.site_desk(self.endpoint)
        self.number = 0

    def site_desk(self, sts_endpoint: str, store: S3Store | None = None) -> SiteDesk:
        environ = {
            "AWS_ACCESS_KEY_ID": WORKERS_KEY,
            "AWS_SECRET_ACCESS_KEY": WORKERS_SECRET,
            "AWS_ENDPOINT_URL_STS": sts_endpoint,
            "AWS_REGION": REGION,
        }
        tokens = SecurityTokens(ROLE, self.longest_s, environ)
        where = {"AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": REGION}
        return SiteDesk(
            site=SITE,
            pool="aws-fra",
            verifier=PermitVerifier(CONTROL.public_key()),
            key=Ed25519PrivateKey.from_private_bytes(b"s" * 32),
            store=store or self.whole,
            state=SiteState(self.directory),
            providers=lambda _pool: self.clusters,
            clock=self.clock,
            store_url=f"s3://{self.bucket}/store",
            access=ScopedStore(tokens, self.bucket, "store", where),
        )

    def admitted(
        self, kind: WorkKind = WorkKind.PROBE, inputs: tuple[InputRef, ...] = (), life_s: float = 600, **options: Any
    ) -> tuple[SiteAttempt, dict[str, Any]]:
        """An attempt with its lease, and its work; ``run_id`` and ``attempt`` among the options name it."""
        self.number += 1
        run_id, number = options.pop("run_id", f"run-{self.number}"), options.pop("attempt", 1)
        work = plain(SiteWork(run_id, number, kind, inputs, options))
        datasets = (
            PermittedDataset(ref.name, ref.version, ("EU",), TrustZone.PUBLIC, ref.manifest_sha256) for ref in inputs
        )
        claims = PermitClaims(
            id=f"permit-{self.number}",
            run_id=run_id,
            attempt=number,
            site=SITE.name,
            pool="aws-fra",
            offer="gpu",
            devices=1,
            work_sha256=digest(work),
            datasets=tuple({(item.name, item.version): item for item in datasets}.values()),
            residency=(),
            trust_zone=TrustZone.PUBLIC,
            cap_micro=60_000_000,
            issued_at=self.clock.at,
            expires_at=self.clock.at + life_s,
        )
        token = PermitSigner(CONTROL).sign(claims)
        return self.desk.begin(self.desk.admit(f"flow-run-{self.number}", {"permit": token, "work": work})), work

    def opened(self, *about: Any, **options: Any) -> tuple[SiteAttempt, dict[str, Any], Path]:
        attempt, work = self.admitted(*about, **options)
        return attempt, work, self.desk.open_cluster(attempt)

    def finished(self, kind: WorkKind, inputs: tuple[InputRef, ...], **options: Any) -> str:
        """Do a work from its permit to its end, as a flow's process would; the temporary key that it used."""
        attempt, work, file = self.opened(kind, inputs, **options)
        context = SiteContext.load(file)
        before = len(self.guard.seen)
        tasks.site_run.execute(context, work, lambda done, total, message: None)
        assert self.desk.left_by(attempt).result_manifest_sha256
        key = context.store_credentials["AWS_ACCESS_KEY_ID"]
        assert {seen.key for seen in self.guard.seen[before:]} == {key}
        self.desk.close(attempt, ReportOutcome.FINISHED, 0, "")
        return key

    def actions(self, key: str) -> set[str]:
        """What was done with a key; all of it was allowed."""
        seen = self.guard.asked_with(key)
        assert [one for one in seen if not one.allowed] == []
        return {one.asked.action.removeprefix("s3:") for one in seen}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Guard]]:
    with guarded_s3_server() as started:
        yield started


@pytest.fixture
def bench(server: tuple[str, Guard], tmp_path: Path) -> Iterator[Bench]:
    yield Bench(*server, tmp_path / "site")
    server[1].broken = None


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with dask_client(1) as started:
        yield started


@pytest.fixture
def on_dask(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease's cluster is the test's own: what is tested here is the store."""
    monkeypatch.setattr(tasks.site_run, "connect", lambda _cluster: contextlib.nullcontext(client))


# --- real works ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("on_dask")
def test_every_kind_of_work_needs_no_more_than_its_credentials_allow(bench: Bench) -> None:
    data = put_version(bench.whole, "digits", "v1", {"part-00000.parquet": digits(200)}, "aws-fra")
    key = bench.finished(WorkKind.TRAINING, (data,), **SMALL, run_id="train")
    assert bench.actions(key) == {"GetObject", "PutObject", "DeleteObject", "ListBucket"}

    files = {path: output(bench.whole, path, "train") for path in ("model.safetensors", "model.json")}
    # Of another site: it is copied over first, with the same credentials.
    model = in_role(put_version(bench.whole, "model", "v1", files, "onprem-fra"), "model")
    inputs = (data, model, in_role(model, "champion"))
    key = bench.finished(WorkKind.EVALUATION, inputs, thresholds={"accuracy": 0.1})
    assert "PutObject" in bench.actions(key)
    assert bench.whole.list("sites/aws-fra/datasets/model/v1") != []

    bench.actions(bench.finished(WorkKind.BATCH_INFERENCE, (data, model), partition_rows=50))
    bench.actions(bench.finished(WorkKind.PROBE, ()))

    texts = {"a": "Return the square root of x.", "b": "Parse a string."}
    docs = put_version(bench.whole, "docs", "v1", {"part-00000.parquet": documents(texts)}, "aws-fra")
    bench.actions(bench.finished(WorkKind.EMBEDDING_REFRESH, (docs,), run_id="embed"))
    hashes = {"documents-00000.parquet": output(bench.whole, "documents-00000.parquet", "embed")}
    known = in_role(put_version(bench.whole, "index-hashes", "v1", hashes, "onprem-fra"), "vectors")
    bench.actions(bench.finished(WorkKind.EMBEDDING_REFRESH, (docs, known), batch_rows=1))
    assert [seen for seen in bench.guard.seen if not seen.allowed] == []


@pytest.mark.usefixtures("on_dask")
def test_a_second_attempt_goes_on_from_the_first_ones_checkpoint(bench: Bench) -> None:
    data = put_version(bench.whole, "digits", "v1", {"part-00000.parquet": digits(200)}, "aws-fra")
    attempt, work, file = bench.opened(WorkKind.TRAINING, (data,), run_id="cut", **SMALL)

    def die(done: float, total: float, message: str) -> None:
        if done >= total / 2:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        tasks.site_run.execute(SiteContext.load(file), work, die)
    bench.desk.close(attempt, ReportOutcome.LOST, 1, "killed")
    bench.finished(WorkKind.TRAINING, (data,), run_id="cut", attempt=2, **SMALL)
    assert json.loads(output(bench.whole, "result.json", "cut", 2))["detail"]["resumed_at_step"] > 0


# --- what else they reach -----------------------------------------------------------------------------------------


def test_the_rest_of_the_store_stays_shut(bench: Bench) -> None:
    mine = put_version(bench.whole, "mine", "v1", {"a.bin": b"a"}, "aws-fra")
    others = (
        *("sites/aws-fra/datasets/mine/v2/a.bin", "sites/aws-fra/datasets/theirs/v1/a.bin"),
        *("sites/onprem-fra/datasets/mine/v1/a.bin", "runs/other/attempts/1/result.json"),
        *("runs/me/attempts/2/result.json", "runs/other/checkpoints/progress.json"),
        *("reports/me/1/closed.jws", "extensions/permit-1.jws", "artefacts/model/champion.json"),
    )
    for key in others:
        bench.whole.put(key, b"not for everybody")
    _, _, file = bench.opened(WorkKind.PROBE, (mine,), run_id="me")
    store = SiteContext.load(file).open_store()
    assert store.get("sites/aws-fra/datasets/mine/v1/a.bin") == b"a"
    for key in others:
        for call in (store.get, store.exists, store.delete, lambda key: store.put(key, b"forged")):
            with pytest.raises(UnavailableError) as caught:
                call(key)
            assert caught.value.code == "STORE_DENIED"
        assert bench.whole.get(key) == b"not for everybody"
    for prefix in ("", "runs", "runs/me", "runs/other", "reports", "sites/aws-fra/datasets"):
        with pytest.raises(UnavailableError, match="STORE_DENIED"):
            store.list(prefix)
    with pytest.raises(UnavailableError, match="STORE_DENIED"):
        store.put("sites/aws-fra/datasets/mine/v1/a.bin", b"forged")


def test_what_is_not_there_is_told_from_what_is_forbidden(bench: Bench) -> None:
    mine = put_version(bench.whole, "mine", "v1", {"a.bin": b"a"}, "aws-fra")
    _, _, file = bench.opened(WorkKind.PROBE, (mine,), run_id="me")
    store = SiteContext.load(file).open_store()
    for key in ("sites/aws-fra/datasets/mine/v1/b.bin", "runs/me/checkpoints/progress.json"):
        assert not store.exists(key)
        with pytest.raises(UnavailableError) as caught:
            store.get(key)
        assert caught.value.code == "NOT_FOUND"
    assert store.list("runs/me/checkpoints/parts") == []
    assert store.put_new("runs/me/checkpoints/parts/1", b"first")
    assert not store.put_new("runs/me/checkpoints/parts/1", b"second")
    assert store.list("runs/me/checkpoints/parts") == ["runs/me/checkpoints/parts/1"]


def test_a_large_output_goes_in_parts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects_s3, "_SINGLE_PUT_BYTES", 5 * 2**20)
    _, _, file = bench.opened(run_id="me")
    context = SiteContext.load(file)
    data = bytes(range(256)) * (12 * 4096)
    context.open_store().put("runs/me/attempts/1/model.bin", data)
    assert bench.whole.get("runs/me/attempts/1/model.bin") == data
    key = context.store_credentials["AWS_ACCESS_KEY_ID"]
    assert bench.actions(key) == {"PutObject"}
    assert len(bench.guard.asked_with(key)) > 3


def test_the_process_is_given_nothing_of_the_workers(bench: Bench) -> None:
    attempt, _, file = bench.opened(life_s=7200)
    text = file.read_text()
    assert WORKERS_SECRET not in text
    assert file.stat().st_mode & 0o777 == 0o600
    variables = json.loads(text)["store_credentials"]
    assert set(variables) == {
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CREDENTIAL_EXPIRATION"),
        *("AWS_ENDPOINT_URL", "AWS_REGION"),
    }
    session = bench.guard.sessions[variables["AWS_ACCESS_KEY_ID"]]
    assert session.duration_s == 3600
    assert variables["AWS_SECRET_ACCESS_KEY"] not in repr(attempt)
    assert variables["AWS_SECRET_ACCESS_KEY"] not in repr(SiteContext.load(file).open_store())
    bench.desk.close(attempt, ReportOutcome.FINISHED, 0, "")
    assert not file.exists()


# --- their end and renewal ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life_s", "asked_s"), [(30, 900), (779, 900), (900, 1020), (3000.5, 3121), (3480, 3600), (86_400, 3600)]
)
def test_credentials_are_asked_for_until_the_permit_ends_within_what_sts_gives(
    bench: Bench, life_s: float, asked_s: int
) -> None:
    attempt, _, file = bench.opened(life_s=life_s)
    key = newest_key(file)
    assert bench.guard.sessions[key.key].duration_s == asked_s
    assert key.expires_at == bench.clock.at + asked_s
    assert (attempt.access.renew_at is None) == (life_s + 120 <= asked_s)


def test_credentials_that_outlive_the_permit_open_nothing_then(bench: Bench) -> None:
    _, _, file = bench.opened(life_s=60, run_id="me")
    store = SiteContext.load(file).open_store()
    store.put("runs/me/checkpoints/progress.json", b"1")
    bench.clock.at += 60 + 119
    store.put("runs/me/checkpoints/progress.json", b"2")
    bench.clock.at += 1
    assert bench.clock.at < newest_key(file).expires_at
    with pytest.raises(UnavailableError, match="STORE_DENIED"):
        store.put("runs/me/checkpoints/progress.json", b"3")
    assert bench.whole.get("runs/me/checkpoints/progress.json") == b"2"


@pytest.fixture
def short(server: tuple[str, Guard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A role of 15 minutes, and a flow's process on the bench's clock."""
    bench = Bench(*server, tmp_path / "site", longest_s=900)
    from datetime import UTC, datetime

    monkeypatch.setattr(renewed_keys, "now", lambda: datetime.fromtimestamp(bench.clock.at, UTC))
    yield bench
    server[1].broken = None


def test_a_long_run_goes_on_with_renewed_credentials(short: Bench) -> None:
    attempt, _, file = short.opened(life_s=3000, run_id="me")
    store = SiteContext.load(file).open_store()
    used = []

    def touched() -> str:
        store.put("runs/me/checkpoints/progress.json", b"1")
        used.append(short.guard.seen[-1].key)
        return used[-1]

    first = touched()
    assert not short.desk.renew_access(attempt)
    renewals = 0
    while short.clock.at < attempt.admission.claims.expires_at:
        short.clock.at += 30
        renewals += short.desk.renew_access(attempt)
        assert touched() in (newest_key(file).key, used[-2])
    # 900 s each, taken over 300 s before their end: at 600, 1200, 1800, 2400; the last one outlives the permit.
    assert renewals == 4
    assert len(dict.fromkeys(used)) == 5
    assert used[-1] == newest_key(file).key != first
    assert attempt.access.renew_at is None
    assert {short.guard.sessions[key].policy["Version"] for key in used} == {"2012-10-17"}
    assert len({json.dumps(short.guard.sessions[key].policy) for key in used}) == 1


def test_credentials_that_nobody_renewed_end_the_work_as_lost(short: Bench) -> None:
    _, _, file = short.opened(life_s=3000, run_id="me")
    store = SiteContext.load(file).open_store()
    store.put("runs/me/checkpoints/progress.json", b"1")
    short.clock.at += 901
    with pytest.raises(UnavailableError) as caught:
        store.put("runs/me/checkpoints/progress.json", b"2")
    assert caught.value.code == "STORE_FAILED"
    assert "not renewed" in str(caught.value)
    file.unlink()
    with pytest.raises(UnavailableError) as caught:
        store.get("runs/me/checkpoints/progress.json")
    assert caught.value.code == "STORE_ACCESS_FAILED"


def test_sts_that_is_away_for_a_while_costs_nothing(short: Bench) -> None:
    attempt, _, file = short.opened(life_s=3000, run_id="me")
    store = SiteContext.load(file).open_store()
    before = newest_key(file)
    short.clock.at += 900 - RENEW_BEFORE_S
    short.guard.broken = (403, "AccessDenied")
    with pytest.raises(UnavailableError, match="STORE_ACCESS_FAILED"):
        short.desk.renew_access(attempt)
    assert newest_key(file) == before
    store.put("runs/me/checkpoints/progress.json", b"1")
    short.clock.at += 200
    store.put("runs/me/checkpoints/progress.json", b"2")
    short.guard.broken = None
    assert short.desk.renew_access(attempt)
    short.clock.at += 101
    store.put("runs/me/checkpoints/progress.json", b"3")
    assert short.guard.seen[-1].key == newest_key(file).key != before.key


def test_a_boot_that_is_longer_than_the_credentials_live(short: Bench) -> None:
    short.clusters.boot_s = 1200
    _, _, file = short.opened(life_s=7200, run_id="me")
    assert newest_key(file).expires_at == short.clock.at + 900
    SiteContext.load(file).open_store().put("runs/me/checkpoints/progress.json", b"1")


def test_the_worker_renews_while_the_process_runs(short: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_runs, "_RENEWAL_STEP_S", 0.02)
    failed, renewed = threading.Event(), threading.Event()
    renew = short.desk.renew_access

    def told(attempt: SiteAttempt) -> bool:
        try:
            done = renew(attempt)
        except HeadraceError:
            failed.set()
            raise
        if done:
            renewed.set()
        return done

    monkeypatch.setattr(short.desk, "renew_access", told)
    keys = []

    async def process(file: Path, tell_pid: Any) -> ProcessEnd:
        keys.append(newest_key(file))
        short.guard.broken = (500, "InternalFailure")
        short.clock.at += 700
        assert await anyio.to_thread.run_sync(failed.wait, 30)
        short.guard.broken = None
        assert await anyio.to_thread.run_sync(renewed.wait, 30)
        keys.append(newest_key(file))
        return ProcessEnd(0, True, True)

    attempt, _ = short.admitted(life_s=3000)
    monkeypatch.setattr(short.desk, "begin", lambda _admission: attempt)
    run = SiteRun(short.desk, attempt.admission, short.clock)
    report, _ = anyio.run(run.execute, Running("flow-run"), process, 30.0, 60.0)
    assert report.outcome is ReportOutcome.FINISHED
    assert keys[0].key != keys[1].key
    assert short.clusters.open_now == set()


# --- the worker itself --------------------------------------------------------------------------------------------


def test_the_worker_needs_the_documented_rights_and_no_more(bench: Bench) -> None:
    own = S3Store(bench.bucket, "store", "sites-worker", "secret", None, bench.endpoint, REGION)
    bench.desk = bench.site_desk(bench.endpoint, own)
    attempt, _, _ = bench.opened(run_id="me")
    bench.desk.meter(attempt)
    assert not bench.desk.look_for_extension(attempt)
    bench.desk.close(attempt, ReportOutcome.FINISHED, 0, "")
    bench.desk.refuse("flow-run", RefusedError("PERMIT_MISSING", ""), {})
    bench.opened(run_id="killed")
    bench.desk = bench.site_desk(bench.endpoint, own)
    assert [report.run_id for report in bench.desk.recover()] == ["killed"]
    assert not (bench.directory / "outbox").exists() or not list((bench.directory / "outbox").iterdir())

    policy = json.loads(json.dumps(documented("GiveRunsTheirCredentials")).replace(":::headrace", f":::{bench.bucket}"))
    asked = [seen.asked for seen in bench.guard.asked_with("sites-worker")]
    assert {one.action for one in asked} == {"s3:PutObject", "s3:GetObject", "s3:ListBucket"}
    assert [one for one in asked if not allows(policy, one, bench.clock.at)] == []
    absent = Asked("s3:ListBucket", f"arn:aws:s3:::{bench.bucket}", {"s3:prefix": "store/extensions/me/1.jws"})
    assert allows(policy, absent, bench.clock.at)
    assert not allows(policy, replace(absent, context={"s3:prefix": "store/runs/me/"}), bench.clock.at)


# --- STS that fails -----------------------------------------------------------------------------------------------


def refused_start(bench: Bench, life_s: float = 600) -> str:
    """What the report says about an attempt that could not be started; nothing of it is left."""

    async def never(file: Path, tell_pid: Any) -> ProcessEnd:
        raise AssertionError("no process may start")

    attempt, _ = bench.admitted(life_s=life_s)
    desk = bench.desk
    begin, desk.begin = desk.begin, lambda _admission: attempt  # type: ignore[method-assign]
    try:
        run = SiteRun(desk, attempt.admission, bench.clock)
        report, end = anyio.run(run.execute, Running("flow-run"), never, 30.0, 60.0)
    finally:
        desk.begin = begin  # type: ignore[method-assign]
    assert end is None
    assert report.outcome is ReportOutcome.LOST
    assert bench.clusters.opened == []
    assert list((bench.directory / "runs").iterdir()) == []
    assert WORKERS_SECRET not in report.message
    return report.message


@pytest.mark.parametrize(
    ("answer", "code", "remedy"),
    [
        ((403, "AccessDenied"), "STORE_ACCESS_FAILED", "assume the role"),
        ((400, "ValidationError"), "STORE_ACCESS_FAILED", "HEADRACE_STORE_ROLE_MAX_S"),
        ((400, "MalformedPolicyDocument"), "STORE_ACCESS_FAILED", "session policy"),
        ((400, "PackedPolicyTooLarge"), "STORE_POLICY_TOO_LARGE", "fewer datasets"),
        ((500, "InternalFailure"), "STORE_ACCESS_FAILED", "STS server"),
    ],
)
def test_without_credentials_nothing_is_started(bench: Bench, answer: tuple[int, str], code: str, remedy: str) -> None:
    bench.guard.broken = answer
    message = refused_start(bench)
    assert message.startswith(code)
    assert answer[1] in message
    assert remedy in message


def test_an_sts_that_does_not_answer(bench: Bench) -> None:
    bench.desk = bench.site_desk("http://127.0.0.1:9")
    message = refused_start(bench)
    assert message.startswith("STORE_ACCESS_FAILED")
    assert "AWS_ENDPOINT_URL_STS" in message


def test_the_remedy_of_a_failure_is_to_try_again_and_of_a_size_is_not() -> None:
    assert UnavailableError("STORE_ACCESS_FAILED", "").retryable
    assert not RefusedError("STORE_POLICY_TOO_LARGE", "").retryable


def test_a_store_with_renewed_keys_can_be_sent_to_another_process(bench: Bench) -> None:
    import pickle

    _, _, file = bench.opened(run_id="me")
    store = pickle.loads(pickle.dumps(SiteContext.load(file).open_store()))
    assert isinstance(store, S3Store)
    assert b"secret" not in pickle.dumps(store)
    store.put("runs/me/checkpoints/progress.json", b"1")
    assert bench.whole.get("runs/me/checkpoints/progress.json") == b"1"

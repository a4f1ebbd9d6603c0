"""Permits at a site: what is honoured, once, and with which code everything else is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.adapters.clusters_memory import MemoryClusters
from infra.adapters.objects import MemoryStore
from infra.adapters.permits import PermitSigner, PermitVerifier, create_key_pair
from infra.adapters.reports import read_refusal, read_report
from infra.adapters.signing_keys import load_private_key, load_public_key
from infra.core.canonical import digest
from infra.core.errors import InputError, RefusedError
from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site, TrustZone
from infra.core.metering import ReportOutcome
from infra.core.pricing import Price
from infra.core.trust import PermitClaims, PermittedDataset
from infra.worker.desk import SiteDesk
from infra.worker.site_state import SiteState

NOW_AT = 1_790_000_000.0
CONTROL = Ed25519PrivateKey.from_private_bytes(b"c" * 32)
MALLORY = Ed25519PrivateKey.from_private_bytes(b"m" * 32)
SITE_KEY = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
WORK = {"run_id": "run-1", "attempt": 1, "kind": "probe", "inputs": [], "parameters": {}}
OFFER = Offer("gpu", Purchase.ON_DEMAND, "gpu-sim", 2, 8.0, 1.0, Price(3_600_000))
SITE = Site("cloud-eu", "DE", TrustZone.PUBLIC, (Pool("cloud-eu", Cluster.LOCAL, (OFFER,)),), simulated=True)
CLAIMS = PermitClaims(
    id="permit-1",
    run_id="run-1",
    attempt=1,
    site="cloud-eu",
    pool="cloud-eu",
    offer="gpu",
    devices=1,
    work_sha256=digest(WORK),
    datasets=(PermittedDataset("digits", "v1", ("EU",), TrustZone.PUBLIC, "0" * 64),),
    residency=(),
    trust_zone=TrustZone.PUBLIC,
    cap_micro=60_000,
    issued_at=NOW_AT - 5,
    expires_at=NOW_AT + 600,
)


class Watch:
    """A clock that stands until it is moved."""

    def __init__(self, at: float = NOW_AT) -> None:
        self.at = at

    def now(self) -> float:
        return self.at


class Bench:
    """A site's desk with everything in memory but its state directory."""

    def __init__(self, directory: Path) -> None:
        self.clock, self.store = Watch(), MemoryStore()
        self.clusters = MemoryClusters(clock=self.clock.now)
        self.desk = SiteDesk(
            site=SITE,
            pool="cloud-eu",
            verifier=PermitVerifier(CONTROL.public_key()),
            key=SITE_KEY,
            store=self.store,
            state=SiteState(directory),
            providers=lambda _pool: self.clusters,
            clock=self.clock,
            store_url="memory://",
        )

    def refusal_of(self, token: object, work: object = WORK, flow_run_id: str = "flow-run-1") -> str:
        """The code with which this is refused."""
        with pytest.raises(RefusedError) as refused:
            self.desk.admit(flow_run_id, {"permit": token, "work": work})
        return refused.value.code


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "site")


def token_of(claims: PermitClaims = CLAIMS, key: Ed25519PrivateKey = CONTROL) -> str:
    return PermitSigner(key).sign(claims)


def part(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def payload_of(token: str) -> dict:
    middle = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))


def unsigned(token: str) -> str:
    return f"{part({'alg': 'none', 'typ': 'headrace-permit+jwt'})}.{token.split('.')[1]}."


def hmac_with_public_key(token: str) -> str:
    """The old trick: the public key used as the secret of a symmetric algorithm."""
    pem = CONTROL.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signed = f"{part({'alg': 'HS256', 'typ': 'headrace-permit+jwt'})}.{token.split('.')[1]}"
    return f"{signed}.{part(hmac.new(pem, signed.encode(), hashlib.sha256).digest())}"


def resigned(payload: dict, kind: str = "headrace-permit+jwt", key: Ed25519PrivateKey = CONTROL) -> str:
    signed = f"{part({'alg': 'EdDSA', 'typ': kind})}.{part(payload)}"
    return f"{signed}.{part(key.sign(signed.encode()))}"


def with_changed_payload(token: str) -> str:
    head, _, tail = token.split(".")
    return f"{head}.{part({**payload_of(token), 'cap_micro': 10**12})}.{tail}"


def test_an_authentic_permit_comes_back_as_it_was_signed() -> None:
    assert PermitVerifier(CONTROL.public_key()).verify(token_of()) == CLAIMS


def test_a_permit_is_bound_to_the_warm_cluster_that_it_names_and_says_nothing_where_there_is_none() -> None:
    warm = replace(CLAIMS, cluster_lease="permit-w")
    assert PermitVerifier(CONTROL.public_key()).verify(token_of(warm)) == warm
    assert "cluster_lease" not in payload_of(token_of())


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda token: token_of(key=MALLORY), "PERMIT_FORGED"),
        (unsigned, "PERMIT_FORGED"),
        (hmac_with_public_key, "PERMIT_FORGED"),
        (with_changed_payload, "PERMIT_FORGED"),
        (lambda token: token[:-10], "PERMIT_FORGED"),
        (lambda token: token[: len(token) // 2], "PERMIT_MALFORMED"),
        (lambda token: token.rsplit(".", 1)[0], "PERMIT_MALFORMED"),
        (lambda token: "nonsense", "PERMIT_MALFORMED"),
        (lambda token: "ä" + token, "PERMIT_MALFORMED"),
        (lambda token: token + "A" * 100_000, "PERMIT_MALFORMED"),
        (lambda token: resigned(payload_of(token), kind="headrace-report+jwt"), "PERMIT_MALFORMED"),
        (lambda token: resigned({**payload_of(token), "also": "this"}), "PERMIT_MALFORMED"),
        (lambda token: resigned({**payload_of(token), "cluster_lease": ""}), "PERMIT_MALFORMED"),
        (lambda token: resigned({**payload_of(token), "cluster_lease": ["permit-w"]}), "PERMIT_MALFORMED"),
        (lambda token: resigned({k: v for k, v in payload_of(token).items() if k != "site"}), "PERMIT_MALFORMED"),
        (lambda token: resigned({**payload_of(token), "cap_micro": -1}), "PERMIT_MALFORMED"),
        (lambda token: resigned({**payload_of(token), "devices": True}), "PERMIT_MALFORMED"),
        (lambda token: resigned({**payload_of(token), "expires_at": float("nan")}), "PERMIT_MALFORMED"),
        (lambda token: resigned({**payload_of(token), "residency": "EU"}), "PERMIT_MALFORMED"),
        (lambda token: resigned({**payload_of(token), "trust_zone": "moon"}), "PERMIT_MALFORMED"),
        (lambda token: "", "PERMIT_MISSING"),
        (lambda token: None, "PERMIT_MISSING"),
        (lambda token: {"permit": token}, "PERMIT_MISSING"),
    ],
)
def test_what_is_no_authentic_permit_is_refused(bench: Bench, spoil, code: str) -> None:
    assert bench.refusal_of(spoil(token_of())) == code
    assert list((bench.desk.state.directory / "permits").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"site": "cloud-us"}, "PERMIT_WRONG_SITE"),
        ({"pool": "other"}, "PERMIT_WRONG_POOL"),
        ({"expires_at": NOW_AT}, "PERMIT_EXPIRED"),
        ({"issued_at": NOW_AT + 60}, "PERMIT_NOT_YET_VALID"),
        ({"work_sha256": "0" * 64}, "PERMIT_WRONG_WORK"),
        ({"run_id": "run-2"}, "PERMIT_WRONG_WORK"),
        ({"attempt": 2}, "PERMIT_WRONG_WORK"),
        ({"offer": "gold"}, "PERMIT_UNKNOWN_OFFER"),
        ({"residency": ("US",)}, "RESIDENCY_EXCLUDED"),
        ({"datasets": (replace(CLAIMS.datasets[0], residency=("US",)),)}, "RESIDENCY_EXCLUDED"),
        ({"datasets": (replace(CLAIMS.datasets[0], trust_zone=TrustZone.PRIVATE),)}, "RESIDENCY_EXCLUDED"),
    ],
)
def test_an_authentic_permit_for_something_else_is_refused(bench: Bench, changes: dict, code: str) -> None:
    assert bench.refusal_of(token_of(replace(CLAIMS, **changes))) == code
    assert list((bench.desk.state.directory / "permits").iterdir()) == []


@pytest.mark.parametrize("work", [{**WORK, "parameters": {"epochs": 99}}, None, [], {"x": float("nan")}])
def test_a_permit_allows_its_own_work_only(bench: Bench, work: object) -> None:
    assert bench.refusal_of(token_of(), work) == "PERMIT_WRONG_WORK"


def test_a_permit_is_honoured_once(bench: Bench) -> None:
    admission = bench.desk.admit("flow-run-1", {"permit": token_of(), "work": WORK})
    assert (admission.claims, admission.offer) == (CLAIMS, OFFER)
    assert bench.refusal_of(token_of(), flow_run_id="flow-run-2") == "PERMIT_REPLAYED"
    assert bench.refusal_of(token_of(), flow_run_id="flow-run-1") == "PERMIT_REPLAYED"


def test_a_used_permit_stays_used_after_a_restart(bench: Bench) -> None:
    bench.desk.admit("flow-run-1", {"permit": token_of(), "work": WORK})
    again = Bench(bench.desk.state.directory)
    assert again.refusal_of(token_of(), flow_run_id="flow-run-2") == "PERMIT_REPLAYED"


def test_a_permit_id_cannot_leave_its_directory(bench: Bench) -> None:
    claims = replace(CLAIMS, id="../../escape")
    bench.desk.admit("flow-run-1", {"permit": token_of(claims), "work": WORK})
    (used,) = (bench.desk.state.directory / "permits").iterdir()
    assert json.loads(used.read_text())["permit"] == "../../escape"


def test_a_refusal_is_signed_and_hides_no_real_report(bench: Bench) -> None:
    attempt = bench.desk.begin(bench.desk.admit("flow-run-1", {"permit": token_of(), "work": WORK}))
    bench.desk.close(attempt, ReportOutcome.FINISHED, 0, "")
    parameters = {"permit": token_of(), "work": WORK}
    with pytest.raises(RefusedError) as refused:
        bench.desk.admit("flow-run-2", parameters)
    bench.desk.refuse("flow-run-2", refused.value, parameters)
    keys = {"cloud-eu": SITE_KEY.public_key()}
    refusal = read_refusal(bench.store, keys, "cloud-eu", "flow-run-2")
    assert refusal is not None
    assert (refusal.code, refusal.run_id, refusal.attempt) == ("PERMIT_REPLAYED", "run-1", 1)
    closed = read_report(bench.store, keys, "run-1", 1, "closed")
    assert closed is not None
    assert closed.outcome is ReportOutcome.FINISHED


def test_key_files_are_private_whole_and_stay(tmp_path: Path) -> None:
    private, public = tmp_path / "keys" / "permit.pem", tmp_path / "public" / "permit.pub.pem"
    create_key_pair(private, public)
    first = private.read_bytes()
    create_key_pair(private, public)
    assert private.read_bytes() == first
    assert private.stat().st_mode & 0o777 == 0o600
    assert PermitVerifier.from_file(public).verify(PermitSigner.from_file(private).sign(CLAIMS)) == CLAIMS


def test_broken_or_open_key_files_are_named(tmp_path: Path) -> None:
    private, public = tmp_path / "permit.pem", tmp_path / "permit.pub.pem"
    create_key_pair(private, public)
    private.chmod(0o644)
    with pytest.raises(InputError, match="KEY_TOO_OPEN"):
        load_private_key(private)
    public.write_text("-----BEGIN PUBLIC KEY-----\nnothing\n-----END PUBLIC KEY-----\n")
    with pytest.raises(InputError, match="KEY_UNREADABLE"):
        load_public_key(public)
    with pytest.raises(InputError, match="KEY_UNREADABLE"):
        load_public_key(tmp_path / "missing.pem")

"""Identities of machines: files, names, lives, and that one cluster's certificates mean nothing to another."""

from __future__ import annotations

import ssl
import stat
import time
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509

from infra.adapters.certificates import ROLES, ClusterIdentity, forget_keys, issue_identity
from infra.core.errors import InputError, UnavailableError

ISSUED_AT = 1_800_000_000.0


def certificate(path: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(path).read_bytes())


def test_keys_are_private_and_the_authority_keeps_none(tmp_path: Path) -> None:
    identity = issue_identity(tmp_path / "tls", "run-1:train", ISSUED_AT, ISSUED_AT + 60)
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    assert sorted(path.name for path in (tmp_path / "tls").glob("*.key")) == [
        "client.key",
        "scheduler.key",
        "worker.key",
    ]
    for role in ROLES:
        assert stat.S_IMODE(Path(identity.key_file(role)).stat().st_mode) == 0o600
    assert ClusterIdentity.load("run-1:train", tmp_path / "tls") == identity


def test_certificates_carry_the_cluster_and_live_as_long_as_they_should(tmp_path: Path) -> None:
    identity = issue_identity(tmp_path, "run-1:train", ISSUED_AT, ISSUED_AT + 60)
    for role in ROLES:
        issued = certificate(identity.cert_file(role))
        assert issued.not_valid_after_utc.timestamp() == ISSUED_AT + 60
        names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"headrace:cluster:run-1-train:{role}"]
        assert "run-1:train" in issued.subject.rfc4514_string()
        assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    purposes = certificate(identity.cert_file("client")).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(purposes.value) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]


def test_forgotten_keys_are_gone_and_missed(tmp_path: Path) -> None:
    issue_identity(tmp_path, "run-1", ISSUED_AT, ISSUED_AT + 60)
    forget_keys(tmp_path)
    forget_keys(tmp_path)
    assert not list(tmp_path.glob("*.key"))
    with pytest.raises(UnavailableError) as caught:
        ClusterIdentity.load("run-1", tmp_path)
    assert caught.value.code == "NO_IDENTITY"


def test_a_life_must_begin_before_it_ends(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        issue_identity(tmp_path / "tls", "run-1", ISSUED_AT, ISSUED_AT)
    assert caught.value.code == "BAD_CERTIFICATE_LIFE"
    assert not (tmp_path / "tls").exists()


def handshake(server: ClusterIdentity, server_role: str, client: ClusterIdentity, client_role: str) -> None:
    """A mutual TLS handshake in memory, with the checks that Dask makes; raises ssl.SSLError when one side refuses."""
    sides = []
    for purpose, identity, role in (
        (ssl.Purpose.CLIENT_AUTH, server, server_role),
        (ssl.Purpose.SERVER_AUTH, client, client_role),
    ):
        context = ssl.create_default_context(purpose, cafile=identity.ca_file)
        context.check_hostname, context.verify_mode = False, ssl.CERT_REQUIRED
        context.load_cert_chain(identity.cert_file(role), identity.key_file(role))
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        sides.append((context.wrap_bio(received, sent, server_side=not sides), received, sent))
    (server_side, server_in, server_out), (client_side, client_in, client_out) = sides
    for _ in range(4):
        for side in (client_side, server_side):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
            server_in.write(client_out.read())
            client_in.write(server_out.read())
    server_side.do_handshake()
    client_side.do_handshake()


@pytest.mark.parametrize(
    ("server", "client"), [("scheduler", "client"), ("scheduler", "worker"), ("worker", "scheduler")]
)
def test_machines_of_one_cluster_trust_each_other(tmp_path: Path, server: str, client: str) -> None:
    identity = issue_identity(tmp_path, "run-1", time.time(), time.time() + 60)
    handshake(identity, server, identity, client)


def test_a_machine_of_another_cluster_is_refused(tmp_path: Path) -> None:
    one, other = (issue_identity(tmp_path / name, "run-1", time.time(), time.time() + 60) for name in ("one", "other"))
    with pytest.raises(ssl.SSLError):
        handshake(one, "scheduler", other, "worker")


def test_a_client_cannot_pose_as_a_scheduler(tmp_path: Path) -> None:
    identity = issue_identity(tmp_path, "run-1", time.time(), time.time() + 60)
    with pytest.raises(ssl.SSLError):
        handshake(identity, "client", identity, "worker")


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    identity = issue_identity(tmp_path, "run-1", time.time() - 120, time.time() - 60)
    with pytest.raises(ssl.SSLError):
        handshake(identity, "scheduler", identity, "worker")

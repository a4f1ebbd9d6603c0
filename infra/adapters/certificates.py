"""Identities of a cluster's machines: one certificate authority per cluster, used once and forgotten.

Dask checks on both ends of every connection that the other side's certificate was signed by the one authority that it
was told of, and checks nothing else (not the name in it). So what keeps a machine of one cluster out of another is
the authority, and every cluster gets its own. Its private key signs the certificates of the cluster (scheduler,
client, one for all workers or one for each), is never written anywhere and is gone when :func:`issue_identity` returns: afterwards
nobody, the site included, can make one more machine for that cluster. All keys are ECDSA on P-256. A client's
certificate cannot serve, so whoever steals it cannot pose as a scheduler or a worker.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.core.errors import InputError, UnavailableError

ROLES = ("scheduler", "worker", "client")

BACKDATED_S = 300.0
"""Certificates begin this much before they are issued, for machines whose clock lags."""


@dataclass(frozen=True, slots=True)
class ClusterIdentity:
    """Where the PEM files of one cluster lie.

    Attributes:
        directory: Holds ``ca.pem`` and, for each role, ``<role>.pem`` and ``<role>.key`` (mode 0600).
    """

    cluster_id: str
    directory: Path

    @classmethod
    def load(cls, cluster_id: str, directory: Path) -> ClusterIdentity:
        """The identity that was issued into ``directory``.

        Raises:
            UnavailableError: ``NO_IDENTITY`` when a file of it is missing.
        """
        identity = cls(cluster_id, Path(directory))
        files = [identity.ca_file, *(find(role) for role in ROLES for find in (identity.cert_file, identity.key_file))]
        for path in files:
            if not Path(path).is_file():
                raise UnavailableError("NO_IDENTITY", f"{path} is missing", f"cluster {cluster_id}", "open a new lease")
        return identity

    @property
    def ca_file(self) -> str:
        return str(self.directory / "ca.pem")

    def cert_file(self, role: str) -> str:
        return str(self.directory / f"{role}.pem")

    def key_file(self, role: str) -> str:
        return str(self.directory / f"{role}.key")

    def security_arguments(self, roles: tuple[str, ...] = ROLES) -> dict[str, Any]:
        """Keyword arguments for ``distributed.Security``: file paths, never key material."""
        arguments: dict[str, Any] = {"require_encryption": True, "tls_ca_file": self.ca_file}
        for role in roles:
            arguments[f"tls_{role}_cert"] = self.cert_file(role)
            arguments[f"tls_{role}_key"] = self.key_file(role)
        return arguments


def issue_identity(
    directory: Path, cluster_id: str, issued_at: float, ends_at: float, workers: tuple[str, ...] = ("worker",)
) -> ClusterIdentity:
    """Make a new authority and with it the certificates of one cluster; the authority's key is then forgotten.

    Args:
        workers: Names of the workers' certificates; one each where workers' machines are computers of their own.
        directory: Made if needed, readable by its owner alone.
        cluster_id: Stands in the certificates' common and alternative names.
        issued_at: Seconds since the epoch.
        ends_at: End of the certificates' life, seconds since the epoch.

    Raises:
        InputError: ``BAD_CERTIFICATE_LIFE`` when the life would end before it begins.
    """
    if ends_at <= issued_at:
        raise InputError("BAD_CERTIFICATE_LIFE", "it ends before it begins", f"cluster {cluster_id}", "end it later")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    identity = ClusterIdentity(cluster_id, directory)
    life = (datetime.fromtimestamp(issued_at - BACKDATED_S, UTC), datetime.fromtimestamp(ends_at, UTC))
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority_certificate(authority_key, cluster_id, life)
    for role in ("scheduler", *workers, "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _role_certificate(authority, authority_key, key, cluster_id, role, life)
        _write_private(Path(identity.key_file(role)), _private_pem(key))
        Path(identity.cert_file(role)).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    Path(identity.ca_file).write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    return identity


def forget_keys(directory: Path) -> None:
    """Delete the private keys of a closed cluster; its certificates stay for the record. No error when gone."""
    for path in Path(directory).glob("*.key"):
        path.unlink(missing_ok=True)


def forget_machine_keys(directory: Path) -> None:
    """Delete the keys of machines that have got theirs; the client's stays. No error when gone."""
    for path in Path(directory).glob("*.key"):
        if path.stem != "client":
            path.unlink(missing_ok=True)


def _name(text: str) -> x509.Name:
    # A common name holds at most 64 characters; the whole id stands in the alternative name.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _authority_certificate(
    key: ec.EllipticCurvePrivateKey, cluster_id: str, life: tuple[datetime, datetime]
) -> x509.Certificate:
    name = _name(f"authority of {cluster_id}")
    usage = _key_usage(digital_signature=False, key_cert_sign=True, crl_sign=True)
    return (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(life[0])
        .not_valid_after(life[1])
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _role_certificate(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    cluster_id: str,
    role: str,
    life: tuple[datetime, datetime],
) -> x509.Certificate:
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if role != "client":
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    uri = x509.UniformResourceIdentifier(f"headrace:cluster:{_uri_part(cluster_id)}:{role}")
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        x509.CertificateBuilder(
            subject_name=_name(f"{role} of {cluster_id}"), issuer_name=authority.subject, public_key=key.public_key()
        )
        .serial_number(x509.random_serial_number())
        .not_valid_before(life[0])
        .not_valid_after(life[1])
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True, key_cert_sign=False, crl_sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=True)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .add_extension(authority_id, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _key_usage(*, digital_signature: bool, key_cert_sign: bool, crl_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _uri_part(text: str) -> str:
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-._~") else "-" for letter in text)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_private(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    # Created with its final mode, so that there is no moment at which others can read it.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)

"""Permits as Ed25519 JWS: the control plane signs them, a site verifies them with the public key alone."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.adapters.signing_keys import (
    BadSignatureError,
    create_key_pair,
    load_private_key,
    load_public_key,
    open_document,
    parse_private_key,
    sign_document,
)
from infra.core.canonical import plain
from infra.core.errors import RefusedError
from infra.core.inventory import TrustZone
from infra.core.trust import PermitClaims, PermitExtension, PermittedDataset

__all__ = ["PermitSigner", "PermitVerifier", "create_key_pair"]

PERMIT_TYPE = "headrace-permit+jwt"
EXTENSION_TYPE = "headrace-extension+jwt"
_TEXTS = ("id", "run_id", "site", "pool", "offer", "work_sha256")
_COUNTS = ("attempt", "devices", "cap_micro", "most_micro")
_TIMES = ("issued_at", "expires_at")
_ADDED = frozenset(each.name for each in fields(PermitClaims) if each.metadata.get("added"))
"""Fields that a permit carries only when they say something: a site that does not know them still takes one that needs none."""
_FIELDS = frozenset(PermitClaims.__dataclass_fields__) - _ADDED
_DATASET_FIELDS = frozenset(PermittedDataset.__dataclass_fields__)
_EXTENSION_FIELDS = frozenset(PermitExtension.__dataclass_fields__)
_REMEDY = "start the run through its deployment, so that it is placed"


class PermitSigner:
    """Signs permits. Lives at the control plane only."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> PermitSigner:
        """Read the private key from a PEM file.

        Raises:
            InputError: ``KEY_UNREADABLE`` or ``KEY_TOO_OPEN``.
        """
        return cls(load_private_key(path))

    @classmethod
    def from_pem(cls, pem: bytes, where: str = "signing key") -> PermitSigner:
        """Read the private key from its PEM.

        Raises:
            InputError: ``KEY_UNREADABLE``.
        """
        return cls(parse_private_key(pem, where))

    def sign(self, claims: PermitClaims) -> str:
        """A compact JWS (EdDSA, Ed25519)."""
        return sign_document(self._key, PERMIT_TYPE, plain(claims))

    def sign_extension(self, extension: PermitExtension) -> str:
        """The same for an extension."""
        return sign_document(self._key, EXTENSION_TYPE, plain(extension))

    def verifier(self) -> PermitVerifier:
        """The verifier that fits this signer."""
        return PermitVerifier(self._key.public_key())


class PermitVerifier:
    """Verifies permits with the control plane's public key."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> PermitVerifier:
        """Read the public key from a PEM file.

        Raises:
            InputError: ``KEY_UNREADABLE``.
        """
        return cls(load_public_key(path))

    def verify(self, token: str) -> PermitClaims:
        """Claims of an authentic permit. Whether they allow anything here and now is ``check_permit``'s question.

        Raises:
            RefusedError: ``PERMIT_MALFORMED`` when it is no permit, ``PERMIT_FORGED`` when the control plane did not
                sign it.
        """
        return _claims(self._open(token, PERMIT_TYPE))

    def verify_extension(self, token: str) -> PermitExtension:
        """An authentic extension. Whether it is for a permit at hand is ``extended_cap``'s question.

        Raises:
            RefusedError: As for :meth:`verify`.
        """
        payload = self._open(token, EXTENSION_TYPE)
        try:
            _exactly(payload, _EXTENSION_FIELDS)
            _require_plain(payload, ("permit_id", "run_id"), ("attempt", "cap_micro"), ("issued_at",))
        except (KeyError, TypeError, ValueError) as problem:
            raise RefusedError("PERMIT_MALFORMED", f"{problem}", "extension of a permit", _REMEDY) from problem
        return PermitExtension(**payload)

    def _open(self, token: str, kind: str) -> dict[str, Any]:
        try:
            return open_document(token, self._key, kind)
        except BadSignatureError as problem:
            code = "PERMIT_MALFORMED" if problem.malformed else "PERMIT_FORGED"
            raise RefusedError(code, f"{problem}", "permit", _REMEDY) from problem


def _claims(payload: dict[str, Any]) -> PermitClaims:
    """Claims from an authentic payload, each field checked: a newer control plane may sign what we do not know."""
    try:
        added = _ADDED & set(payload)
        _exactly(payload, _FIELDS | added)
        _require_plain(payload, (*_TEXTS, *sorted(added)), _COUNTS, _TIMES)
        datasets = tuple(_dataset(entry) for entry in payload["datasets"])
        values = {
            **payload,
            "datasets": datasets,
            "residency": _texts(payload["residency"], "residency"),
            "trust_zone": TrustZone(payload["trust_zone"]),
        }
        return PermitClaims(**values)
    except (KeyError, TypeError, ValueError) as problem:
        raise RefusedError(
            "PERMIT_MALFORMED", f"its content is not that of a permit: {problem}", "permit", _REMEDY
        ) from problem


def _dataset(entry: Any) -> PermittedDataset:
    _exactly(entry, _DATASET_FIELDS)
    for name in ("name", "version", "manifest_sha256"):
        _require(isinstance(entry[name], str), name)
    return PermittedDataset(
        **{
            **entry,
            "residency": _texts(entry["residency"], "residency"),
            "trust_zone": TrustZone(entry["trust_zone"]),
        }
    )


def _require_plain(
    payload: dict[str, Any], texts: tuple[str, ...], counts: tuple[str, ...], times: tuple[str, ...]
) -> None:
    for name in texts:
        _require(isinstance(payload[name], str) and payload[name] != "", name)
    for name in counts:
        _require(type(payload[name]) is int and payload[name] >= 0, name)
    for name in times:
        _require(type(payload[name]) in (int, float) and math.isfinite(payload[name]), name)


def _texts(value: Any, name: str) -> tuple[str, ...]:
    _require(isinstance(value, list) and all(isinstance(item, str) for item in value), name)
    return tuple(value)


def _exactly(value: Any, names: frozenset[str]) -> None:
    """Unknown fields are refused: they might be conditions that this site does not know how to keep."""
    _require(isinstance(value, dict), "object")
    if set(value) != names:
        raise ValueError(f"fields {sorted(set(value) ^ names)} are missing or unknown")


def _require(holds: bool, name: str) -> None:
    if not holds:
        raise ValueError(f"{name} has a value that it cannot have")

"""Bytes by key, and permits that are signed and verified."""

from __future__ import annotations

from typing import Protocol

from infra.core.trust import PermitClaims, PermitExtension


class ObjectStore(Protocol):
    """Bytes by key under one root. Keys are relative, with ``/`` between parts; ``..`` is refused."""

    @property
    def uri(self) -> str:
        """The root, for people and records; never with credentials."""

    def put(self, key: str, data: bytes) -> None:
        """Whole or not at all: a reader never sees a part."""

    def put_new(self, key: str, data: bytes) -> bool:
        """As put, only when the key does not exist; False when it does."""

    def get(self, key: str) -> bytes:
        """UnavailableError NOT_FOUND when there is none."""

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> list[str]:
        """Keys under the prefix, sorted. A prefix is a folder: ``runs/1`` does not have ``runs/10/a`` under it."""

    def size(self, key: str) -> int: ...

    def delete(self, key: str) -> None:
        """No error when there is none."""


class PermitSigner(Protocol):
    def sign(self, claims: PermitClaims) -> str:
        """A compact JWS (EdDSA, Ed25519)."""

    def sign_extension(self, extension: PermitExtension) -> str:
        """The same for an extension."""


class PermitVerifier(Protocol):
    def verify(self, token: str) -> PermitClaims:
        """Claims of an authentic permit; RefusedError PERMIT_MALFORMED or PERMIT_FORGED otherwise. Checks no times."""

    def verify_extension(self, token: str) -> PermitExtension:
        """An authentic extension; RefusedError as for a permit otherwise."""

"""Ed25519 keys in PEM files, and the compact JWS that both permits and site reports are.

Only one algorithm is ever accepted (EdDSA), and only the expected kind of document (``typ``), so a token can neither
choose how it is checked nor be used for what it was not signed for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.core.errors import InputError

ALGORITHM = "EdDSA"
MAX_TOKEN_CHARACTERS = 64_000
_NO_REGISTERED_CLAIMS = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}


class BadSignatureError(Exception):
    """A token that is no authentic JWS of the expected kind.

    Attributes:
        malformed: Whether it is no JWS at all, as opposed to one that somebody else made.
    """

    def __init__(self, problem: str, malformed: bool) -> None:
        super().__init__(problem)
        self.malformed = malformed


def create_key_pair(private_file: Path, public_file: Path) -> None:
    """Make an Ed25519 key pair; an existing private key stays and its public file is written again.

    The private file is readable by its owner alone from its first moment.
    """
    private_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not private_file.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        # A hard link is whole or not there, and fails when another process was first.
        draft = private_file.with_name(f".{private_file.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        try:
            os.link(draft, private_file)
        except FileExistsError:
            private_file.stat()
        finally:
            draft.unlink()
    write_public_key(load_private_key(private_file).public_key(), public_file)


def write_public_key(key: Ed25519PublicKey, public_file: Path) -> None:
    """Write a public key as PEM, whole or not at all."""
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    public_file.parent.mkdir(parents=True, exist_ok=True)
    draft = public_file.with_name(f".{public_file.name}.{os.getpid()}")
    draft.write_bytes(pem)
    draft.replace(public_file)


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        InputError: ``KEY_UNREADABLE`` or ``KEY_TOO_OPEN`` (readable by others than its owner).
    """
    pem = _read(path)
    if os.stat(path).st_mode & 0o077:
        raise InputError("KEY_TOO_OPEN", "others can read this private key", str(path), f"run: chmod 600 {path}")
    return parse_private_key(pem, str(path))


def parse_private_key(pem: bytes, where: str) -> Ed25519PrivateKey:
    """Read a private key from its PEM.

    Raises:
        InputError: ``KEY_UNREADABLE``.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as problem:
        raise _unreadable(where, f"{problem}") from problem
    if not isinstance(key, Ed25519PrivateKey):
        raise _unreadable(where, "the key is not an Ed25519 private key")
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.

    Raises:
        InputError: ``KEY_UNREADABLE``.
    """
    try:
        key = serialization.load_pem_public_key(_read(path))
    except (ValueError, TypeError) as problem:
        raise _unreadable(path, f"{problem}") from problem
    if not isinstance(key, Ed25519PublicKey):
        raise _unreadable(path, "the key is not an Ed25519 public key")
    return key


def sign_document(key: Ed25519PrivateKey, kind: str, payload: dict[str, Any], key_id: str = "") -> str:
    """A compact JWS of the payload; ``kind`` goes into its header as ``typ``."""
    headers = {"typ": kind, **({"kid": key_id} if key_id else {})}
    return jwt.encode(payload, key, algorithm=ALGORITHM, headers=headers)


def open_document(token: str, key: Ed25519PublicKey, kind: str) -> dict[str, Any]:
    """The payload of an authentic JWS of this kind. Times in it are not looked at.

    Raises:
        BadSignatureError: For anything else.
    """
    header = read_header(token)
    if header.get("typ") != kind:
        raise BadSignatureError(f"it is a {header.get('typ')!r}, not a {kind!r}", malformed=True)
    if header.get("alg") != ALGORITHM:
        raise BadSignatureError(f"algorithm {header.get('alg')!r} is not accepted", malformed=False)
    try:
        return jwt.decode(token, key, algorithms=[ALGORITHM], options=_NO_REGISTERED_CLAIMS)
    except jwt.InvalidSignatureError as problem:
        raise BadSignatureError("the signature does not fit", malformed=False) from problem
    except (jwt.InvalidTokenError, ValueError, TypeError) as problem:
        raise BadSignatureError(f"{problem}", malformed=True) from problem


def read_header(token: str) -> dict[str, Any]:
    """The header of a JWS, which nobody has vouched for yet.

    Raises:
        BadSignatureError: When it is not a JWS.
    """
    if not isinstance(token, str) or not token.isascii() or len(token) > MAX_TOKEN_CHARACTERS:
        raise BadSignatureError("it is no compact JWS", malformed=True)
    try:
        return jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, TypeError) as problem:
        raise BadSignatureError(f"{problem}", malformed=True) from problem


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise _unreadable(path, problem.strerror or "cannot be read") from problem


def _unreadable(path: Path | str, problem: str) -> InputError:
    return InputError(
        "KEY_UNREADABLE", problem, str(path), "give a PEM file with an Ed25519 key; `headrace up` makes it"
    )

"""Object stores: bytes by key under one root, in a local directory, in an S3 bucket or in memory.

All three keep the same promises (``tests/contract/test_object_store.py`` runs on each): a reader sees a whole object
or none, ``put_new`` has one winner whoever races, a key can never leave the root, and a full disk leaves nothing
behind. Choose one with :func:`open_store`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from infra.adapters.objects_local import LocalStore
from infra.adapters.objects_s3 import S3Store
from infra.adapters.renewed_keys import TemporaryKey
from infra.core.errors import InputError, UnavailableError
from infra.core.object_keys import require_key, require_prefix
from infra.ports import ObjectStore

__all__ = ["LocalStore", "MemoryStore", "S3Store", "StoreView", "WatchableStore", "open_store", "under"]


class WatchableStore(ObjectStore, Protocol):
    """An object store that can tell cheaply whether an object changed."""

    def fingerprint(self, key: str) -> str:
        """A token that differs when the content differs; reads no content.

        Raises:
            UnavailableError: ``NOT_FOUND`` when there is no such object.
        """


@dataclass(slots=True)
class MemoryStore:
    """A store for tests and simulations; its content ends with the object."""

    uri: str = "memory://"
    _objects: dict[str, bytes] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def put(self, key: str, data: bytes) -> None:
        with self._lock:
            self._objects[require_key(key)] = bytes(data)

    def put_new(self, key: str, data: bytes) -> bool:
        with self._lock:
            if require_key(key) in self._objects:
                return False
            self._objects[key] = bytes(data)
            return True

    def get(self, key: str) -> bytes:
        try:
            return self._objects[require_key(key)]
        except KeyError:
            raise UnavailableError("NOT_FOUND", "no such object", f"{self.uri}{key}", "check the key") from None

    def exists(self, key: str) -> bool:
        return require_key(key) in self._objects

    def list(self, prefix: str) -> list[str]:
        start = require_prefix(prefix)
        return sorted(key for key in tuple(self._objects) if key.startswith(start))

    def size(self, key: str) -> int:
        return len(self.get(key))

    def delete(self, key: str) -> None:
        self._objects.pop(require_key(key), None)

    def fingerprint(self, key: str) -> str:
        return sha256(self.get(key)).hexdigest()


@dataclass(frozen=True, slots=True)
class StoreView:
    """A part of a store as a store of its own: a site sees ``sites/<site>`` and nothing beside it."""

    store: WatchableStore
    prefix: str

    @property
    def uri(self) -> str:
        return f"{self.store.uri.rstrip('/')}/{self.prefix}"

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{require_key(key)}"

    def put(self, key: str, data: bytes) -> None:
        self.store.put(self._full(key), data)

    def put_new(self, key: str, data: bytes) -> bool:
        return self.store.put_new(self._full(key), data)

    def get(self, key: str) -> bytes:
        return self.store.get(self._full(key))

    def exists(self, key: str) -> bool:
        return self.store.exists(self._full(key))

    def list(self, prefix: str) -> list[str]:
        inner = require_prefix(prefix)
        return [key[len(self.prefix) + 1 :] for key in self.store.list(f"{self.prefix}/{inner}")]

    def size(self, key: str) -> int:
        return self.store.size(self._full(key))

    def delete(self, key: str) -> None:
        self.store.delete(self._full(key))

    def fingerprint(self, key: str) -> str:
        return self.store.fingerprint(self._full(key))


def under(store: WatchableStore, prefix: str) -> StoreView:
    """The part of ``store`` below ``prefix`` (for example ``sites/onprem-fra``) as a store of its own."""
    return StoreView(store, require_key(prefix))


def open_store(
    url: str,
    *,
    key: str | None = None,
    secret: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    region: str | None = None,
    renewal: Callable[[], TemporaryKey] | None = None,
) -> WatchableStore:
    """Open the store that a URL names.

    Args:
        url: ``file:///directory`` (or a plain path), ``s3://bucket/prefix`` or ``memory://`` (always a new, empty one).
        key: Access key of the S3 account; without it the machine's own credentials are used.
        secret: Secret of that key.
        token: Session token of temporary credentials.
        endpoint: URL of an S3 server other than AWS.
        region: Region of the bucket.
        renewal: Gives the newest temporary key whenever one is needed; in place of ``key``, ``secret`` and ``token``.

    Raises:
        InputError: ``BAD_STORE_URL`` for another scheme, a missing bucket, or credentials where none are used.
    """
    parts = urlsplit(url)
    remedy = "use file:///directory, s3://bucket/prefix or memory://"
    if parts.scheme == "s3":
        if not parts.netloc or parts.username or parts.password or parts.query or parts.fragment:
            # The URL itself is not repeated: it may carry a secret.
            raise InputError("BAD_STORE_URL", "an S3 URL has a bucket and a prefix, nothing else", "store url", remedy)
        prefix = parts.path.strip("/")
        return S3Store(
            bucket=parts.netloc,
            prefix=require_key(prefix) if prefix else "",
            key=key,
            secret=secret,
            token=token,
            endpoint=endpoint,
            region=region,
            renewal=renewal,
        )
    if any(value is not None for value in (key, secret, token, endpoint, region, renewal)):
        raise InputError("BAD_STORE_URL", "credentials for a store that needs none", "store url", remedy)
    if parts.scheme == "memory":
        return MemoryStore()
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return LocalStore(Path(unquote(parts.path)))
    if not parts.scheme and url:
        return LocalStore(Path(os.path.expanduser(url)))
    raise InputError("BAD_STORE_URL", f"scheme {parts.scheme!r} is not known", "store url", remedy)

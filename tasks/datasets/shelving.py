"""Putting a whole version under a prefix: parts first, the manifest last and only once, nothing half done.

Two writers of the same content help each other; of two writers with different content one wins and the other is told.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable

from data_contracts.manifest import MANIFEST_NAME, Manifest, ManifestFile, parse_manifest
from infra.core.errors import ConflictError, HeadraceError, UnavailableError
from infra.ports import ObjectStore


def stored_manifest(store: ObjectStore, prefix: str) -> Manifest | None:
    """The manifest of a complete version, or ``None`` when there is none (yet)."""
    key = f"{prefix}/{MANIFEST_NAME}"
    try:
        return parse_manifest(store.get(key), f"{store.uri.rstrip('/')}/{key}")
    except UnavailableError as error:
        if error.code != "NOT_FOUND":
            raise
        return None


def shelve(store: ObjectStore, prefix: str, manifest: Manifest, read: Callable[[ManifestFile], bytes]) -> int:
    """Write a version; afterwards it is complete. Returns the bytes that had to be written (0 when it was there).

    Args:
        read: Gives a part's verified content. Part names must not be shared by different content.

    Raises:
        ConflictError: ``VERSION_EXISTS`` when another content stands complete under the prefix.
        UnavailableError: ``STORE_FULL`` and others; what this call wrote is gone again.
    """
    before = stored_manifest(store, prefix)
    _require_same(before, manifest, store, prefix)
    created: list[ManifestFile] = []
    written = 0
    try:
        for file in manifest.files:
            key = f"{prefix}/{file.path}"
            if _is_whole(store, key, file):
                continue
            data = read(file)
            if not store.put_new(key, data):
                # A part of that name and another content: what a broken disk or a stranger left.
                store.put(key, data)
            created.append(file)
            written += file.bytes
        if before is None:
            store.put_new(f"{prefix}/{MANIFEST_NAME}", manifest.encoded)
    except BaseException:
        _take_back(store, prefix, created, manifest, read)
        raise
    _require_same(stored_manifest(store, prefix), manifest, store, prefix)
    for file in manifest.files:
        # Another writer that failed may have taken back a part that this one found there.
        if not store.exists(f"{prefix}/{file.path}"):
            store.put(f"{prefix}/{file.path}", read(file))
    return written


def _is_whole(store: ObjectStore, key: str, file: ManifestFile) -> bool:
    try:
        return hashlib.sha256(store.get(key)).hexdigest() == file.sha256
    except UnavailableError as error:
        if error.code != "NOT_FOUND":
            raise
        return False


def _require_same(found: Manifest | None, wanted: Manifest, store: ObjectStore, prefix: str) -> None:
    if found is not None and found.sha256 != wanted.sha256:
        raise ConflictError(
            "VERSION_EXISTS",
            f"another content with manifest {found.sha256[:12]} is there",
            f"{store.uri.rstrip('/')}/{prefix}",
            "versions never change: give the new content a new version",
        )


def _take_back(
    store: ObjectStore,
    prefix: str,
    created: list[ManifestFile],
    manifest: Manifest,
    read: Callable[[ManifestFile], bytes],
) -> None:
    """Remove this call's parts unless a complete version needs them; the first error is the one that is told."""
    with contextlib.suppress(HeadraceError):
        complete = stored_manifest(store, prefix)
        if complete is not None and complete.sha256 == manifest.sha256:
            return
        for file in created:
            store.delete(f"{prefix}/{file.path}")
        complete = stored_manifest(store, prefix)
        if complete is not None and complete.sha256 == manifest.sha256:
            for file in created:
                store.put_new(f"{prefix}/{file.path}", read(file))

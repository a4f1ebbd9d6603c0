"""Reading a version at a site: manifest and every part are checked before a byte of them is used."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

from data_contracts.manifest import MANIFEST_NAME, Manifest, ManifestFile, parse_manifest
from infra.core.errors import InputError, RefusedError, UnavailableError
from infra.ports import ObjectStore
from tasks.datasets.shelving import shelve

if TYPE_CHECKING:
    import pandas as pd


def load_manifest(store: ObjectStore, prefix: str, manifest_sha256: str) -> Manifest:
    """The manifest under ``prefix``, when it is the expected one.

    Raises:
        RefusedError: ``DATA_HASH_MISMATCH`` when it is another.
        InputError: ``MANIFEST_MALFORMED``.
        UnavailableError: ``NOT_FOUND``.
    """
    where = f"{store.uri.rstrip('/')}/{prefix}/{MANIFEST_NAME}"
    manifest = parse_manifest(store.get(f"{prefix}/{MANIFEST_NAME}"), where)
    if manifest.sha256 != manifest_sha256:
        raise RefusedError(
            "DATA_HASH_MISMATCH",
            f"manifest {manifest.sha256[:12]} instead of {manifest_sha256[:12]}",
            where,
            "the copy is not the accepted version: remove it and copy it again",
        )
    return manifest


def read_part(store: ObjectStore, prefix: str, file: ManifestFile) -> bytes:
    """One file of a version, verified.

    Raises:
        InputError: ``DATA_TRUNCATED`` when it is missing or has another length.
        RefusedError: ``DATA_HASH_MISMATCH`` when its content is another.
    """
    key = f"{prefix}/{file.path}"
    where = f"{store.uri.rstrip('/')}/{key}"
    remedy = "remove this copy and copy the version again"
    try:
        data = store.get(key)
    except UnavailableError as error:
        if error.code != "NOT_FOUND":
            raise
        raise InputError("DATA_TRUNCATED", "the manifest lists it, but it is not there", where, remedy) from error
    if len(data) != file.bytes:
        raise InputError("DATA_TRUNCATED", f"{len(data)} bytes instead of {file.bytes}", where, remedy)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise RefusedError("DATA_HASH_MISMATCH", "its content is not what the manifest says", where, remedy)
    return data


def read_file(store: ObjectStore, prefix: str, manifest_sha256: str, path: str) -> bytes:
    """One named file of a version, verified through the manifest.

    Raises:
        InputError: ``UNKNOWN_FILE`` when the manifest does not list it.
    """
    manifest = load_manifest(store, prefix, manifest_sha256)
    for file in manifest.files:
        if file.path == path:
            return read_part(store, prefix, file)
    listed = ", ".join(file.path for file in manifest.files)
    raise InputError("UNKNOWN_FILE", f"{path!r} is not in the version", prefix, f"it has {listed}")


def read_frame(store: ObjectStore, prefix: str, manifest_sha256: str) -> pd.DataFrame:
    """All Parquet parts of a version as one frame, in the manifest's order.

    Raises:
        RefusedError: ``DATA_HASH_MISMATCH``.
        InputError: ``DATA_TRUNCATED``, ``DATA_UNREADABLE`` or ``MANIFEST_MALFORMED``.
        UnavailableError: ``NOT_FOUND`` without a manifest.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    manifest = load_manifest(store, prefix, manifest_sha256)
    tables = []
    for file in manifest.files:
        data = read_part(store, prefix, file)
        try:
            tables.append(pq.ParquetFile(io.BytesIO(data)).read())
        except (pa.ArrowException, OSError, ValueError) as error:
            problem = f"no whole Parquet file: {str(error).splitlines()[0]}"
            raise InputError("DATA_UNREADABLE", problem, f"{prefix}/{file.path}", "land a new version") from error
    return pa.concat_tables(tables, promote_options="permissive").to_pandas()


def copy_version(
    store: ObjectStore,
    from_prefix: str,
    to_prefix: str,
    manifest_sha256: str | None = None,
    to: ObjectStore | None = None,
) -> int:
    """Bring a version from one prefix to another (another store with ``to``), verified; returns the bytes moved.

    Repeating it moves nothing. Until it returned, the target may be incomplete but is never taken for complete.

    Args:
        manifest_sha256: The accepted version's manifest; without it the source's own manifest is trusted.

    Raises:
        ConflictError: ``VERSION_EXISTS`` when the target holds another content.
        UnavailableError: ``NOT_FOUND`` without a source, ``STORE_FULL`` and others, with nothing left behind.
    """
    if manifest_sha256 is None:
        key = f"{from_prefix}/{MANIFEST_NAME}"
        manifest = parse_manifest(store.get(key), f"{store.uri.rstrip('/')}/{key}")
    else:
        manifest = load_manifest(store, from_prefix, manifest_sha256)
    target = to if to is not None else store
    if target is store and from_prefix.strip("/") == to_prefix.strip("/"):
        return 0
    return shelve(target, to_prefix, manifest, lambda file: read_part(store, from_prefix, file))

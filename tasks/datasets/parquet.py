"""Writing frames as Parquet with a manifest, and landing them for the watcher to find."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from data_contracts.layout import landing_file, landing_folder, require_version
from data_contracts.manifest import MANIFEST_NAME, Manifest, ManifestFile, describe_part
from data_contracts.model import Contract
from infra.core.errors import ConflictError, HeadraceError, InputError
from infra.ports import ObjectStore
from tasks.datasets.shelving import stored_manifest

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def arrow_schema(contract: Contract) -> pa.Schema:
    """The contract's columns as an Arrow schema; nulls stay possible, so that bad data can be written for tests."""
    import pyarrow as pa

    return pa.schema([(column.name, pa.type_for_alias(column.physical_type)) for column in contract.columns])


def encode(frame: pd.DataFrame, schema: pa.Schema) -> bytes:
    """A frame as one Parquet file; equal frames give equal bytes with the same pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata(None)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def encode_parts(frame: pd.DataFrame, schema: pa.Schema, parts: int) -> tuple[Manifest, dict[str, bytes]]:
    """A frame as ``parts`` files of nearly equal length, and their manifest.

    Raises:
        InputError: ``BAD_NUMBER`` for fewer than one part or more parts than rows.
    """
    if not 1 <= parts <= max(1, len(frame)):
        raise InputError("BAD_NUMBER", f"{parts} parts for {len(frame)} rows", "parts", "give 1 up to the rows")
    edges = [len(frame) * number // parts for number in range(parts + 1)]
    files = {
        f"part-{number:05d}.parquet": encode(frame.iloc[edges[number] : edges[number + 1]], schema)
        for number in range(parts)
    }
    return Manifest(tuple(describe_part(path, data) for path, data in files.items())), files


def land(store: ObjectStore, contract: Contract, version: str, frame: pd.DataFrame, parts: int = 1) -> str:
    """Put a version into landing, as one file or (``parts`` > 1) as a folder with its manifest last.

    Returns:
        The key to look at: the file, or the manifest.

    Raises:
        ConflictError: ``VERSION_LANDED`` when other content already landed under that version.
    """
    require_version(version)
    manifest, files = encode_parts(frame, arrow_schema(contract), parts)
    if parts == 1:
        return land_file(store, contract.name, version, next(iter(files.values())))
    return land_folder(store, contract.name, version, manifest, lambda file: files[file.path])


def land_folder(
    store: ObjectStore, dataset: str, version: str, manifest: Manifest, read: Callable[[ManifestFile], bytes]
) -> str:
    """Put the parts of a manifest into landing, the manifest last; returns its key.

    Raises:
        ConflictError: ``VERSION_LANDED`` when other content already landed under that version.
    """
    folder = landing_folder(dataset, require_version(version))
    if store.exists(landing_file(dataset, version)):
        raise _landed(folder)
    before = stored_manifest(store, folder)
    if before is not None:
        if before.sha256 != manifest.sha256:
            raise _landed(folder)
        return f"{folder}/{MANIFEST_NAME}"
    written: list[str] = []
    try:
        for file in manifest.files:
            store.put(f"{folder}/{file.path}", read(file))
            written.append(file.path)
        store.put(f"{folder}/{MANIFEST_NAME}", manifest.encoded)
    except HeadraceError:
        for path in written:
            store.delete(f"{folder}/{path}")
        raise
    return f"{folder}/{MANIFEST_NAME}"


def land_file(store: ObjectStore, dataset: str, version: str, data: bytes) -> str:
    """Put one Parquet file, whatever is in it, into landing; returns its key.

    Raises:
        ConflictError: ``VERSION_LANDED`` when other content already landed under that version.
    """
    key = landing_file(dataset, require_version(version))
    if store.list(landing_folder(dataset, version)):
        raise _landed(key)
    if not store.put_new(key, data) and store.get(key) != data:
        raise _landed(key)
    return key


def _landed(key: str) -> ConflictError:
    return ConflictError("VERSION_LANDED", "other content landed as this version", key, "choose a new version")

"""The manifest of a dataset version: which files it has and what is in them, byte for byte.

``manifest.json`` is written last, so a folder with a manifest is complete, and its digest stands for all content.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from typing import Any

from infra.core.canonical import canonical
from infra.core.errors import InputError
from infra.core.object_keys import require_key
from infra.documents.files import parse_json

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 1
_SHA256 = re.compile(r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One Parquet part, relative to the version's folder."""

    path: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The parts of a version, in the order in which they are read."""

    files: tuple[ManifestFile, ...]

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def encoded(self) -> bytes:
        """The canonical JSON that is stored as ``manifest.json``."""
        files = [
            {"path": file.path, "sha256": file.sha256, "bytes": file.bytes, "rows": file.rows} for file in self.files
        ]
        return canonical({"files": files, "rows": self.rows, "schema_version": SCHEMA_VERSION})

    @property
    def sha256(self) -> str:
        """Digest of :attr:`encoded`: the version's identity."""
        return hashlib.sha256(self.encoded).hexdigest()

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read a manifest, however it was formatted.

    Raises:
        InputError: ``MANIFEST_MALFORMED`` with what is wrong.
    """

    def refuse(problem: str) -> InputError:
        return InputError(
            "MANIFEST_MALFORMED",
            problem,
            where,
            "write files (path, sha256, bytes, rows), rows and schema_version 1, after all parts",
        )

    try:
        tree = parse_json(data.decode("utf-8"), where)
    except (InputError, UnicodeDecodeError) as error:
        raise refuse(error.problem if isinstance(error, InputError) else "not UTF-8") from error
    if not isinstance(tree, dict) or set(tree) != {"files", "rows", "schema_version"}:
        raise refuse("it has exactly the keys files, rows and schema_version")
    if tree["schema_version"] != SCHEMA_VERSION:
        raise refuse(f"schema_version {tree['schema_version']!r} is not {SCHEMA_VERSION}")
    if not isinstance(tree["files"], list) or not tree["files"]:
        raise refuse("files is a list with at least one part")
    files = tuple(_file(item, refuse) for item in tree["files"])
    if len({file.path for file in files}) != len(files):
        raise refuse("a path stands twice")
    manifest = Manifest(files)
    if tree["rows"] != manifest.rows:
        raise refuse(f"rows is {tree['rows']!r}, the parts have {manifest.rows}")
    return manifest


def _file(item: Any, refuse: Any) -> ManifestFile:
    if not isinstance(item, dict) or set(item) != {"path", "sha256", "bytes", "rows"}:
        raise refuse("a part has exactly the keys path, sha256, bytes and rows")
    for number in ("bytes", "rows"):
        if type(item[number]) is not int or item[number] < 0:
            raise refuse(f"{number} {item[number]!r} is not a whole number of 0 or more")
    if not isinstance(item["sha256"], str) or not _SHA256.match(item["sha256"]):
        raise refuse("sha256 is 64 hexadecimal digits in small letters")
    try:
        path = require_key(item["path"])
    except InputError as error:
        raise refuse(f"path {item['path']!r}: {error.problem}") from error
    if path == MANIFEST_NAME:
        raise refuse("a manifest does not list itself")
    return ManifestFile(path, item["sha256"], item["bytes"], item["rows"])


def describe_part(path: str, data: bytes) -> ManifestFile:
    """The manifest's line for a Parquet part.

    Raises:
        InputError: ``DATA_UNREADABLE`` when it is no whole Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.ParquetFile(io.BytesIO(data)).metadata.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        problem = f"no whole Parquet file: {str(error).splitlines()[0]}"
        raise InputError("DATA_UNREADABLE", problem, path, "write the file again, then land a new version") from error
    return ManifestFile(path, hashlib.sha256(data).hexdigest(), len(data), rows)


def part_name(number: int, data: bytes) -> str:
    """Name of an accepted part. It carries the content's hash, so two writers never overwrite each other's part."""
    return f"part-{number:05d}-{hashlib.sha256(data).hexdigest()[:12]}.parquet"

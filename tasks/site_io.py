"""A site's hands: the permitted inputs, the attempt's fenced outputs and the run's checkpoints, over an object store.

Keys: inputs ``sites/<site>/datasets/<name>/<version>/…``, outputs ``runs/<run>/attempts/<n>/…`` with ``manifest.json``
last, checkpoints ``runs/<run>/checkpoints/…``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_contracts.layout import site_prefix, version_prefix
from data_contracts.manifest import MANIFEST_NAME, Manifest, ManifestFile, describe_part
from infra.core.canonical import canonical
from infra.core.errors import InputError, RefusedError, UnavailableError
from infra.core.run_places import attempt_prefix, checkpoints_prefix
from infra.core.trust import PermittedDataset
from infra.ports import ObjectStore
from tasks.datasets.reading import copy_version, load_manifest, read_part
from tasks.site_job import InputRef, OutputFile, SiteResult, SiteWork

if TYPE_CHECKING:
    import pandas as pd

RESULT = "result.json"
"""The attempt's ``SiteResult``; a file of its manifest like any other."""

PROGRESS = "progress.json"
"""How far the last checkpoint is; only estimates rest on it."""

_KEPT_STATES = 2
_PART_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_STATE_KEY = re.compile(r"(\d{12})-(\d{6})-([0-9a-f]{64})\.state")


@dataclass(frozen=True, slots=True)
class Access:
    """One read of a dataset. ``egress`` says that the bytes came from another site."""

    name: str
    version: str
    path: str
    site: str
    bytes: int
    egress: bool


class StoreInputs:
    """The permitted datasets of one attempt (see :class:`tasks.site_job.SiteInputs`).

    Args:
        site: Where this runs. Data of another site is copied here first, once, and counted as egress of that site.
        permitted: The permit's datasets. A dataset that is not among them, by name, version and content, is refused
            before any of its bytes are read.

    Attributes:
        accesses: Every read, in order.
    """

    def __init__(self, store: ObjectStore, site: str, work: SiteWork, permitted: Iterable[PermittedDataset]) -> None:
        self._store, self._site = store, site
        self._refs = {ref.role: ref for ref in work.inputs}
        self._permitted = {(item.name, item.version, item.manifest_sha256) for item in permitted}
        self._manifests: dict[str, Manifest] = {}
        self.accesses: list[Access] = []

    @property
    def egress_bytes(self) -> int:
        """Bytes that left other sites for this attempt."""
        return sum(access.bytes for access in self.accesses if access.egress)

    @property
    def egress_sources(self) -> tuple[str, ...]:
        """The sites that they left."""
        return tuple(sorted({access.site for access in self.accesses if access.egress}))

    def has(self, role: str) -> bool:
        """Whether the work has an input with this role."""
        return role in self._refs

    def frame(self, role: str) -> pd.DataFrame:
        """All Parquet parts of the dataset in the order of their names.

        Raises:
            RefusedError: ``DATASET_NOT_PERMITTED``.
            RefusedError: ``DATA_HASH_MISMATCH``.
            InputError: ``DATA_TRUNCATED`` or ``DATA_UNREADABLE``.
        """
        import pyarrow as pa

        from tasks.parquet import read_table

        ref, manifest = self._open(role)
        parts = [file for file in manifest.files if file.path.endswith(".parquet")]
        if not parts:
            raise InputError("DATA_UNREADABLE", "no Parquet part", f"{ref.name}@{ref.version}", "deliver it again")
        return pa.concat_tables([read_table(self._read(ref, file), file.path) for file in parts]).to_pandas()

    def read(self, role: str, path: str) -> bytes:
        """One file of the dataset.

        Raises:
            RefusedError: ``DATASET_NOT_PERMITTED``.
            RefusedError: ``DATA_HASH_MISMATCH``.
            InputError: ``DATA_TRUNCATED``; ``UNKNOWN_FILE`` when the dataset has no such file.
        """
        ref, manifest = self._open(role)
        file = next((file for file in manifest.files if file.path == path), None)
        if file is None:
            raise InputError("UNKNOWN_FILE", f"no file {path!r}", f"{ref.name}@{ref.version}", "see its manifest")
        return self._read(ref, file)

    def _open(self, role: str) -> tuple[InputRef, Manifest]:
        ref = self._refs.get(role)
        if ref is None or (ref.name, ref.version, ref.manifest_sha256) not in self._permitted:
            named = role if ref is None else f"{ref.name}@{ref.version}"
            raise self._refused(named, "the permit does not name this dataset version")
        if ref.prefix != version_prefix(ref.name, ref.version):
            raise self._refused(f"{ref.name}@{ref.version}", f"{ref.prefix!r} is not where this version lies")
        if role not in self._manifests:
            if ref.source_site != self._site:
                self._bring_over(ref)
            self._manifests[role] = load_manifest(self._store, self._prefix(ref), ref.manifest_sha256)
        return ref, self._manifests[role]

    def _bring_over(self, ref: InputRef) -> None:
        source = site_prefix(ref.source_site, ref.name, ref.version)
        moved = copy_version(self._store, source, self._prefix(ref), ref.manifest_sha256)
        if moved:
            self.accesses.append(Access(ref.name, ref.version, "*", ref.source_site, moved, egress=True))

    def _read(self, ref: InputRef, file: ManifestFile) -> bytes:
        data = read_part(self._store, self._prefix(ref), file)
        self.accesses.append(Access(ref.name, ref.version, file.path, self._site, len(data), egress=False))
        return data

    def _prefix(self, ref: InputRef) -> str:
        return site_prefix(self._site, ref.name, ref.version)

    def _refused(self, where: str, problem: str) -> RefusedError:
        return RefusedError(
            "DATASET_NOT_PERMITTED", problem, f"{where} at {self._site}", "start the run through its deployment"
        )


class StoreOutputs:
    """Fenced place for one attempt's files (see :class:`tasks.site_job.AttemptOutputs`)."""

    def __init__(self, store: ObjectStore, run_id: str, attempt: int) -> None:
        self._store = store
        self.prefix = attempt_prefix(run_id, attempt)
        self._written: dict[str, ManifestFile] = {}

    def write(self, path: str, data: bytes) -> OutputFile:
        """Write one file.

        Raises:
            InputError: ``BAD_KEY`` for a path that leaves the attempt's place, ``RESERVED_NAME`` for the two files
                that :meth:`finish` writes.
        """
        if path in (MANIFEST_NAME, RESULT):
            raise InputError("RESERVED_NAME", f"{path!r} is written by the site itself", self.prefix, "choose another")
        return self._write(path, data)

    def finish(self, result: SiteResult) -> str:
        """Write the result and then the manifest, which makes the attempt complete; returns the manifest's SHA-256.

        Raises:
            InputError: ``RESULT_INCOMPLETE`` when the result names a file that was not written here.
        """
        for output in result.outputs:
            written = self._written.get(output.path)
            if written is None or (written.sha256, written.bytes) != (output.sha256, output.bytes):
                raise InputError(
                    "RESULT_INCOMPLETE", f"{output.path!r} was not written so", self.prefix, "write each output once"
                )
        self._write(RESULT, canonical(result))
        manifest = Manifest(tuple(self._written[path] for path in sorted(self._written)))
        self._store.put(f"{self.prefix}/{MANIFEST_NAME}", manifest.encoded)
        return manifest.sha256

    def _write(self, path: str, data: bytes) -> OutputFile:
        self._store.put(f"{self.prefix}/{path}", data)
        if path.endswith(".parquet"):
            line = describe_part(path, data)
        else:
            line = ManifestFile(path, hashlib.sha256(data).hexdigest(), len(data), rows=0)
        self._written[path] = line
        return OutputFile(path, line.sha256, line.bytes)


class StoreCheckpoints:
    """Checkpoints of a run over all its attempts at the same work (see :class:`tasks.site_job.Checkpoints`).

    A state's key carries its step, its attempt and the SHA-256 of its content; what does not match is not seen. The
    two best states are kept.
    """

    def __init__(self, store: ObjectStore, run_id: str, attempt: int, lighter: str = "") -> None:
        """Open them.

        Args:
            lighter: Names the work when it is a lighter one than was asked for.
        """
        self._store, self._attempt = store, attempt
        self._prefix = checkpoints_prefix(run_id, lighter)

    def save(self, step: int, data: bytes, done: float = 0.0) -> None:
        """Keep a state, whole or not at all; then say what share of the work it stands for."""
        name = f"{step:012d}-{self._attempt:06d}-{hashlib.sha256(data).hexdigest()}.state"
        self._store.put(f"{self._prefix}/states/{name}", data)
        self._store.put(f"{self._prefix}/{PROGRESS}", canonical({"done": done}))
        for key in self._states()[_KEPT_STATES:]:
            self._store.delete(key)

    def latest(self) -> tuple[int, bytes] | None:
        """The whole state with the highest step; among equal steps that of the newest attempt."""
        for key in self._states():
            found = _STATE_KEY.fullmatch(key.rsplit("/", 1)[1])
            assert found is not None
            data = self._store.get(key)
            if hashlib.sha256(data).hexdigest() == found.group(3):
                return int(found.group(1)), data
        return None

    def save_part(self, name: str, data: bytes) -> None:
        """Keep a finished part; the first one of a name stays.

        Raises:
            InputError: ``BAD_PART_NAME``.
        """
        if not _PART_NAME.fullmatch(name):
            raise InputError("BAD_PART_NAME", f"{name!r}", self._prefix, "use letters, digits, dot, dash, underscore")
        self._store.put_new(f"{self._prefix}/parts/{name}", hashlib.sha256(data).digest() + data)

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Whole parts by name. One that was altered is dropped, so that it can be made again."""
        for key in self._store.list(f"{self._prefix}/parts"):
            content = self._store.get(key)
            if hashlib.sha256(content[32:]).digest() == content[:32]:
                yield key.rsplit("/", 1)[1], content[32:]
            else:
                self._store.delete(key)

    def _states(self) -> list[str]:
        """Keys of states, best first."""
        keys = [
            key for key in self._store.list(f"{self._prefix}/states") if _STATE_KEY.fullmatch(key.rsplit("/", 1)[1])
        ]
        return sorted(keys, key=lambda key: key.rsplit("/", 1)[1][:19], reverse=True)


def share_done(store: ObjectStore, run_id: str, lighter: str = "") -> float:
    """The share of a run's whole work that its last checkpoint stands for, 0 to 1; 0 when nobody said.

    Args:
        lighter: Names the work when it is a lighter one than was asked for.
    """
    try:
        done = json.loads(store.get(f"{checkpoints_prefix(run_id, lighter)}/{PROGRESS}"))["done"]
        return min(1.0, max(0.0, float(done)))
    except UnavailableError as problem:
        if problem.code != "NOT_FOUND":
            raise
        return 0.0
    except (ValueError, KeyError, TypeError):
        return 0.0


def clear_checkpoints(store: ObjectStore, run_id: str) -> None:
    """Remove a run's checkpoints once its result is published."""
    for key in store.list(checkpoints_prefix(run_id)):
        store.delete(key)


def result_from_json(data: bytes, where: str) -> SiteResult:
    """Read a ``result.json``.

    Raises:
        InputError: ``RESULT_MALFORMED``.
    """
    try:
        values = json.loads(data)
        return SiteResult(
            units_done=float(values["units_done"]),
            metrics={str(name): float(value) for name, value in values["metrics"].items()},
            outputs=tuple(
                OutputFile(str(item["path"]), str(item["sha256"]), int(item["bytes"])) for item in values["outputs"]
            ),
            detail=dict(values["detail"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("RESULT_MALFORMED", f"not a result: {error}", where, "run the attempt again") from error

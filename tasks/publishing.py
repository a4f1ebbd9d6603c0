"""Publishing: a finished attempt becomes a version that others can use.

Two halves around the fence. :func:`prepare` verifies that the attempt is complete and says what would be published; it
writes nothing. The control plane then passes the fence (one attempt of a run ever does). :func:`complete` makes the
result visible: it may be repeated, and each of its steps leaves things as they were when it has been taken before. What
others look at — a manifest, a catalogue entry, a table's tag — comes last.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from data_contracts.layout import require_version, site_prefix
from data_contracts.manifest import MANIFEST_NAME, Manifest, parse_manifest
from infra.core.canonical import canonical, run_key
from infra.core.errors import HeadraceError, InputError, RefusedError, UnavailableError
from infra.core.inventory import DatasetVersion, TrustZone
from infra.core.jurisdictions import combine
from infra.core.run_places import attempt_prefix
from infra.core.trust import PermittedDataset
from infra.core.workload import WorkKind
from infra.ports import Catalog, ObjectStore
from tasks.datasets.reading import read_part
from tasks.datasets.shelving import shelve
from tasks.site_io import RESULT, clear_checkpoints, result_from_json
from tasks.site_job import SiteResult
from tasks.vector_tables import TABLES, Tables, apply_refresh, check_refresh

ARTEFACTS = "artefacts"

UNPUBLISHED = (WorkKind.PROBE, WorkKind.WARM)
"""Kinds of work that leave nothing for others."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Under which name a result is published, and the rules that it inherits.

    Attributes:
        name: Of the model, the predictions, the report or the table of vectors.
        version: See :func:`result_version`.
        site: The site that keeps the published copy.
    """

    name: str
    version: str
    site: str
    residency: tuple[str, ...]
    trust_zone: TrustZone


@dataclass(frozen=True, slots=True)
class Prepared:
    """A verified attempt and what publishing it will make.

    Attributes:
        source: Manifest of the attempt's files.
        manifest: Manifest of those that are published, without the attempt's own ``result.json``.
        uri: Where the published version will lie.
    """

    kind: WorkKind
    run_id: str
    attempt: int
    destination: Destination
    result: SiteResult
    source: Manifest
    manifest: Manifest
    uri: str

    @property
    def manifest_sha256(self) -> str:
        return self.manifest.sha256


def prepare(
    store: ObjectStore,
    kind: WorkKind,
    run_id: str,
    attempt: int,
    manifest_sha256: str | None,
    destination: Destination,
    tables: Tables | None = None,
) -> Prepared:
    """Verify an attempt against the manifest digest that its site signed. Writes nothing.

    Args:
        tables: Where vectors go; needed for an embedding refresh.

    Raises:
        RefusedError: ``RESULT_INCOMPLETE`` when a file is missing, truncated or altered, or there is no whole result.
        ConflictError: ``TABLE_MOVED`` when a refresh was made against another state of its table.
    """
    require_version(destination.version, "result: version")
    from tasks.embedding.schema import DOCUMENTS_PREFIX

    manifest, result = _verified(store, run_id, attempt, manifest_sha256)
    files = tuple(file for file in manifest.files if file.path != RESULT)
    if kind in UNPUBLISHED:
        uri = _uri(store, attempt_prefix(run_id, attempt))
        return Prepared(kind, run_id, attempt, destination, result, manifest, manifest, uri)
    if not files:
        raise _incomplete(attempt_prefix(run_id, attempt), "it has no output")
    uri = _uri(store, site_prefix(destination.site, destination.name, destination.version))
    if kind is WorkKind.EMBEDDING_REFRESH:
        files = tuple(file for file in files if file.path.startswith(DOCUMENTS_PREFIX))
        uri = f"{_tables(tables).uri}/{destination.name}.lance#{destination.version}"
    prepared = Prepared(kind, run_id, attempt, destination, result, manifest, Manifest(files), uri)
    if kind is WorkKind.EMBEDDING_REFRESH:
        check_refresh(_tables(tables), destination.name, *_refresh(store, prepared), tag=destination.version)
    return prepared


def complete(
    store: ObjectStore, catalog: Catalog, prepared: Prepared, at: float, tables: Tables | None = None
) -> dict[str, Any]:
    """Make the result visible and remove the run's checkpoints; may be repeated.

    Model, predictions and report become a dataset version at the destination's site; a model also lies under
    ``artefacts/<name>/<version>``. Vectors go into the table ``destination.name``, and the documents' hashes become a
    version of the dataset :func:`hashes_name`, which the next refresh takes as ``vectors``.

    Returns:
        What was made, for people: ``uri`` and, for vectors, the table's numbers.

    Raises:
        ConflictError: ``VERSION_EXISTS`` when other content has the name; ``TABLE_MOVED``.
        RefusedError: ``DATA_HASH_MISMATCH`` when the attempt's files changed since :func:`prepare`.
    """
    destination = prepared.destination
    made: dict[str, Any] = {"uri": prepared.uri}
    if prepared.kind is WorkKind.EMBEDDING_REFRESH:
        applied = apply_refresh(_tables(tables), destination.name, *_refresh(store, prepared), tag=destination.version)
        made |= {"table_version": applied.version, "rows": applied.rows}
        _publish_dataset(store, catalog, prepared, hashes_name(destination.name), at)
    elif prepared.kind not in UNPUBLISHED:
        if prepared.kind is WorkKind.TRAINING:
            _copy(store, prepared, f"{ARTEFACTS}/{_artefact_name(destination.name)}/{destination.version}")
        _publish_dataset(store, catalog, prepared, destination.name, at)
    clear_checkpoints(store, prepared.run_id)
    return made


def promote(store: ObjectStore, name: str, version: str) -> None:
    """Make a published version of a model its champion. Promoting the champion again changes nothing.

    Raises:
        InputError: ``UNKNOWN_MODEL`` when that version is not published.
    """
    folder = f"{ARTEFACTS}/{_artefact_name(name)}"
    if not store.exists(f"{folder}/{require_version(version)}/{MANIFEST_NAME}"):
        raise InputError("UNKNOWN_MODEL", f"no published model {name}@{version}", folder, "promote a published one")
    before = champion(store, name)
    if before != version:
        store.put(f"{folder}/champion.json", canonical({"version": version, "previous": before}))


def champion(store: ObjectStore, name: str) -> str | None:
    """The champion's version, or ``None`` while there is none.

    Raises:
        InputError: ``CHAMPION_MALFORMED`` when the pointer cannot be read.
    """
    key = f"{ARTEFACTS}/{_artefact_name(name)}/champion.json"
    try:
        return require_version(json.loads(store.get(key))["version"])
    except UnavailableError as error:
        if error.code != "NOT_FOUND":
            raise
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("CHAMPION_MALFORMED", "the pointer cannot be read", key, "promote a version again") from error


def hashes_name(table: str) -> str:
    """Name of the dataset that holds the hashes of a vector table's documents."""
    return f"{table}-hashes"


def result_version(run_id: str, data_version: str = "") -> str:
    """The version under which a run's result is published: one per run, after the data's version if there is one."""
    run = run_key(run_id).replace("-", "")[:12]
    return f"{data_version[:48]}-{run}" if data_version else f"run-{run}"


def inherited(datasets: tuple[PermittedDataset, ...]) -> tuple[tuple[str, ...], TrustZone]:
    """Residency and trust zone of what was made from these datasets: only where all of them may be.

    Raises:
        RefusedError: ``RESIDENCY_EXCLUDED`` when there is no such place.
    """
    zone = max((dataset.trust_zone for dataset in datasets), key=lambda zone: zone.rank, default=TrustZone.PUBLIC)
    try:
        return combine(tuple(dataset.residency for dataset in datasets)), zone
    except InputError as error:
        names = ", ".join(f"{dataset.name}@{dataset.version}" for dataset in datasets)
        raise RefusedError("RESIDENCY_EXCLUDED", error.problem, names, "use other datasets") from error


def _verified(
    store: ObjectStore, run_id: str, attempt: int, manifest_sha256: str | None
) -> tuple[Manifest, SiteResult]:
    prefix = attempt_prefix(run_id, attempt)
    if manifest_sha256 is None:
        raise _incomplete(prefix, "its site reported no result")
    try:
        manifest = parse_manifest(store.get(f"{prefix}/{MANIFEST_NAME}"), prefix)
        if manifest.sha256 != manifest_sha256:
            raise _incomplete(prefix, "its manifest is not the one that the site signed")
        contents = {file.path: read_part(store, prefix, file) for file in manifest.files}
        result = result_from_json(contents.get(RESULT, b""), f"{prefix}/{RESULT}")
    except HeadraceError as error:
        if error.code == "RESULT_INCOMPLETE" or (isinstance(error, UnavailableError) and error.code != "NOT_FOUND"):
            raise
        raise _incomplete(prefix, str(error)) from error
    listed = {(file.path, file.sha256, file.bytes) for file in manifest.files}
    absent = [output.path for output in result.outputs if (output.path, output.sha256, output.bytes) not in listed]
    if absent:
        raise _incomplete(prefix, f"{absent[0]} is not in its manifest")
    return manifest, result


def _refresh(store: ObjectStore, prepared: Prepared) -> tuple[Any, dict[str, str]]:
    """The refresh's vectors as one table, and the hashes of all documents."""
    import pyarrow as pa

    from tasks.embedding.schema import DOCUMENTS_PREFIX, VECTOR_SCHEMA, VECTORS_PREFIX
    from tasks.parquet import read_table

    prefix = attempt_prefix(prepared.run_id, prepared.attempt)
    tables = {
        file.path: read_table(read_part(store, prefix, file), file.path)
        for file in prepared.source.files
        if file.path.endswith(".parquet")
    }
    try:
        vectors = [table.cast(VECTOR_SCHEMA) for path, table in tables.items() if path.startswith(VECTORS_PREFIX)]
        documents = pa.concat_tables(table for path, table in tables.items() if path.startswith(DOCUMENTS_PREFIX))
        wanted = dict(zip(documents["doc_id"].to_pylist(), documents["sha256"].to_pylist(), strict=True))
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise _incomplete(prefix, f"its tables are not those of a refresh: {error}") from error
    return pa.concat_tables([VECTOR_SCHEMA.empty_table(), *vectors]), wanted


def _publish_dataset(store: ObjectStore, catalog: Catalog, prepared: Prepared, name: str, at: float) -> None:
    """Place the files as a dataset version at the destination's site, then tell the catalogue."""
    to = prepared.destination
    prefix = site_prefix(to.site, name, to.version)
    _copy(store, prepared, prefix)
    version = DatasetVersion(name, to.version, prepared.manifest.bytes, (to.site,), to.residency, to.trust_zone)
    catalog.accept(version, _uri(store, prefix), prepared.manifest_sha256, at)


def _copy(store: ObjectStore, prepared: Prepared, prefix: str) -> None:
    source = attempt_prefix(prepared.run_id, prepared.attempt)
    shelve(store, prefix, prepared.manifest, lambda file: read_part(store, source, file))


def _artefact_name(name: str) -> str:
    if name == TABLES.rsplit("/", 1)[1]:
        raise InputError("RESERVED_NAME", f"{name!r} is where tables lie", "model name", "choose another name")
    return name


def _tables(tables: Tables | None) -> Tables:
    if tables is None:
        raise InputError("NO_TABLES", "vectors need a place", "publishing", "give the tables of the object store")
    return tables


def _uri(store: ObjectStore, prefix: str) -> str:
    return f"{store.uri.rstrip('/')}/{prefix}"


def _incomplete(where: str, problem: str) -> RefusedError:
    return RefusedError("RESULT_INCOMPLETE", problem, where, "run it again: nothing of this attempt was published")

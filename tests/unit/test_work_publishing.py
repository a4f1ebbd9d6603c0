"""Publishing: complete or not at all, once however often it is called, and tables that equal their documents."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from infra.adapters.memory import MemoryDatabase
from infra.adapters.objects import LocalStore, MemoryStore
from infra.core.errors import ConflictError, HeadraceError, InputError, RefusedError, UnavailableError
from infra.core.inventory import TrustZone
from infra.core.run_places import attempt_prefix
from infra.core.trust import PermittedDataset
from infra.core.workload import WorkKind
from tasks.embedding.schema import DIMENSIONS, VECTOR_SCHEMA
from tasks.parquet import from_columns, read_table, to_parquet
from tasks.publishing import (
    Destination,
    Prepared,
    champion,
    complete,
    hashes_name,
    inherited,
    prepare,
    promote,
    result_version,
)
from tasks.site_io import StoreCheckpoints, StoreInputs, StoreOutputs
from tasks.site_job import InputRef, SiteResult, SiteWork
from tasks.vector_tables import Tables, search, tables_of

AT = 1_700_000_000.0
EU = ("EU",)


def to(name: str, run_id: str = "run") -> Destination:
    return Destination(name, result_version(run_id), "onprem-fra", EU, TrustZone.PRIVATE)


def attempt(store: MemoryStore, files: dict[str, bytes], run_id: str = "run", number: int = 1) -> str:
    """An attempt with these outputs; returns the digest of its manifest."""
    outputs = StoreOutputs(store, run_id, number)
    written = tuple(outputs.write(path, data) for path, data in files.items())
    return outputs.finish(SiteResult(1.0, {"metric": 0.5}, written))


def model(store: MemoryStore, run_id: str = "run", weights: bytes = b"weights") -> Prepared:
    digest = attempt(store, {"model.safetensors": weights, "model.json": b"{}"}, run_id)
    return prepare(store, WorkKind.TRAINING, run_id, 1, digest, to("m", run_id))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def database() -> MemoryDatabase:
    return MemoryDatabase()


# --- completeness -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["model.safetensors", "result.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_an_incomplete_result_is_refused(store: MemoryStore, path: str, damage: str) -> None:
    digest = attempt(store, {"model.safetensors": b"weights", "model.json": b"{}"})
    key = f"{attempt_prefix('run', 1)}/{path}"
    data = store.get(key)
    store.delete(key)
    if damage != "missing":
        store.put(key, data[:-2] if damage == "truncated" else data.replace(b"e", b"f", 1))
    before = store.list("")
    with pytest.raises(RefusedError) as caught:
        prepare(store, WorkKind.TRAINING, "run", 1, digest, to("m"))
    assert caught.value.code == "RESULT_INCOMPLETE"
    assert store.list("") == before


def test_only_the_signed_manifest_counts(store: MemoryStore) -> None:
    attempt(store, {"model.json": b"{}"})
    for digest in (None, "0" * 64):
        with pytest.raises(RefusedError, match="RESULT_INCOMPLETE"):
            prepare(store, WorkKind.TRAINING, "run", 1, digest, to("m"))
    empty = attempt(store, {}, "empty")
    with pytest.raises(RefusedError, match="RESULT_INCOMPLETE"):
        prepare(store, WorkKind.TRAINING, "empty", 1, empty, to("m"))
    assert prepare(store, WorkKind.PROBE, "empty", 1, empty, to("p")).result.metrics == {"metric": 0.5}


def test_a_store_that_does_not_answer_is_no_incomplete_result() -> None:
    class Away(MemoryStore):
        def get(self, key: str) -> bytes:
            raise UnavailableError("STORE_FAILED", "away", key)

    with pytest.raises(UnavailableError, match="STORE_FAILED"):
        prepare(Away(), WorkKind.TRAINING, "run", 1, "0" * 64, to("m"))


# --- models -------------------------------------------------------------------------------------------------------


def test_a_published_model_is_a_dataset_that_a_site_may_read(store: MemoryStore, database: MemoryDatabase) -> None:
    StoreCheckpoints(store, "run", 1).save(1, b"state")
    prepared = model(store)
    complete(store, database.catalog, prepared, AT)
    entry = database.catalog.find("m", "latest")
    assert entry is not None
    version = entry.version
    assert (version.residency, version.trust_zone, version.copies) == (EU, TrustZone.PRIVATE, ("onprem-fra",))
    assert entry.manifest_sha256 == prepared.manifest_sha256
    ref = InputRef(
        "model", "m", version.version, f"datasets/m/{version.version}", "onprem-fra", entry.manifest_sha256, 1
    )
    permitted = PermittedDataset("m", version.version, EU, TrustZone.PRIVATE, entry.manifest_sha256)
    inputs = StoreInputs(store, "onprem-fra", SiteWork("r2", 1, WorkKind.EVALUATION, (ref,)), [permitted])
    assert inputs.read("model", "model.safetensors") == b"weights"
    assert store.exists(f"artefacts/m/{version.version}/manifest.json")
    assert store.list("runs/run/checkpoints") == []


def test_publishing_twice_changes_nothing(store: MemoryStore, database: MemoryDatabase) -> None:
    prepared = model(store)
    first = complete(store, database.catalog, prepared, AT)
    kept = {key: store.fingerprint(key) for key in store.list("")}
    assert complete(store, database.catalog, prepared, AT + 9) == first
    assert {key: store.fingerprint(key) for key in store.list("")} == kept
    assert len(database.catalog.versions("m")) == 1


@pytest.mark.parametrize("dies_at", range(6))
def test_publishing_again_after_a_crash_completes_it(database: MemoryDatabase, dies_at: int) -> None:
    class Dying(MemoryStore):
        writes_left = -1

        def put_new(self, key: str, data: bytes) -> bool:
            if self.writes_left == 0:
                raise KeyboardInterrupt
            self.writes_left -= 1
            return MemoryStore.put_new(self, key, data)

    store = Dying()
    prepared = model(store)
    store.writes_left = dies_at
    with pytest.raises(KeyboardInterrupt):
        complete(store, database.catalog, prepared, AT)
    assert database.catalog.find("m", "latest") is None
    store.writes_left = -1
    complete(store, database.catalog, prepared, AT)
    assert database.catalog.find("m", "latest") is not None


def test_the_champion_is_a_published_version(store: MemoryStore, database: MemoryDatabase) -> None:
    assert champion(store, "m") is None
    for run_id in ("first", "second"):
        complete(store, database.catalog, model(store, run_id, run_id.encode()), AT)
    for run_id in ("first", "second", "second"):
        promote(store, "m", result_version(run_id))
        assert champion(store, "m") == result_version(run_id)
    pointer = json.loads(store.get("artefacts/m/champion.json"))
    assert pointer["previous"] == result_version("first")
    with pytest.raises(InputError, match="UNKNOWN_MODEL"):
        promote(store, "m", "run-none")
    store.put("artefacts/m/champion.json", b"[]")
    with pytest.raises(InputError, match="CHAMPION_MALFORMED"):
        champion(store, "m")
    with pytest.raises(InputError, match="RESERVED_NAME"):
        champion(store, "tables")


def test_versions_are_one_a_run() -> None:
    flow = "0190d1c2-aaaa-7bbb-8ccc-1234567890ab"
    assert result_version(flow) == result_version(f"{flow}:train") == "run-0190d1c2aaaa"
    assert result_version(flow, "v1") == "v1-0190d1c2aaaa"
    assert len(result_version(flow, "v" * 64)) <= 64


def test_what_is_made_of_data_inherits_its_rules() -> None:
    def data(*residency: str, zone: TrustZone = TrustZone.PUBLIC) -> PermittedDataset:
        return PermittedDataset("d", "v1", residency, zone, "0" * 64)

    assert inherited(()) == (("PUBLIC",), TrustZone.PUBLIC)
    assert inherited((data("EU", zone=TrustZone.PRIVATE), data("PUBLIC"))) == (EU, TrustZone.PRIVATE)
    assert inherited((data("EU"), data("EU"))) == (EU, TrustZone.PUBLIC)
    assert inherited((data("EU"), data("DACH")))[0] == ("AT", "DE")
    with pytest.raises(RefusedError, match="RESIDENCY_EXCLUDED"):
        inherited((data("US"), data("EU")))


# --- vectors ------------------------------------------------------------------------------------------------------


def vectors(texts: dict[str, str]) -> bytes:
    rng = np.random.default_rng(len(texts))
    values = pa.array(rng.normal(size=len(texts) * DIMENSIONS).astype(np.float32))
    columns = {
        "doc_id": list(texts),
        "package": ["pkg"] * len(texts),
        "text": list(texts.values()),
        "sha256": [sha(text) for text in texts.values()],
        "vector": pa.FixedSizeListArray.from_arrays(values, DIMENSIONS),
    }
    return to_parquet(pa.table(columns).cast(VECTOR_SCHEMA))


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def refresh(
    store: LocalStore, run_id: str, documents: dict[str, str], embedded: dict[str, str], tables: Tables
) -> Prepared:
    hashes = from_columns({"doc_id": list(documents), "sha256": [sha(text) for text in documents.values()]})
    files = {"documents-00000.parquet": hashes, "removed.json": b"[]"}
    if embedded:
        files["vectors-00000.parquet"] = vectors(embedded)
    digest = attempt(store, files, run_id)
    return prepare(store, WorkKind.EMBEDDING_REFRESH, run_id, 1, digest, to("index", run_id), tables)


def sha256_of(store: LocalStore, run_id: str) -> str:
    return hashlib.sha256(store.get(f"{attempt_prefix(run_id, 1)}/manifest.json")).hexdigest()


def rows(tables: Tables) -> dict[str, str]:
    table = tables.open("index")
    return dict(zip(*(table.to_arrow()[name].to_pylist() for name in ("doc_id", "text")), strict=True))


def test_a_table_becomes_the_documents_and_stays_so(tmp_path: Path, database: MemoryDatabase) -> None:
    store = LocalStore(tmp_path / "a store")
    tables = tables_of(store)
    first = {"a": "alpha", "b": "beta", "it's": "quoted"}
    one = refresh(store, "one", first, first, tables)
    made = complete(store, database.catalog, one, AT, tables)
    assert rows(tables) == first
    assert complete(store, database.catalog, one, AT, tables) == made

    second = {"a": "alpha", "b": "BETA", "c": "gamma"}
    two = refresh(store, "two", second, {"b": "BETA", "c": "gamma"}, tables)
    made = complete(store, database.catalog, two, AT, tables)
    assert rows(tables) == second
    assert complete(store, database.catalog, two, AT, tables) == made
    # One commit a refresh: the version after the first refresh is tagged, and so is the one right behind it.
    tags = {name: tag["version"] for name, tag in tables.open("index").tags.list().items()}
    assert tags == {result_version("one"): made["table_version"] - 1, result_version("two"): made["table_version"]}
    assert complete(store, database.catalog, one, AT, tables)["table_version"] == made["table_version"] - 1
    assert rows(tables) == second, "a late repetition of an earlier run changes nothing"

    hashes = database.catalog.find(hashes_name("index"), result_version("two"))
    assert hashes is not None
    key = f"sites/onprem-fra/datasets/index-hashes/{hashes.version.version}/documents-00000.parquet"
    assert read_table(store.get(key))["doc_id"].to_pylist() == ["a", "b", "c"]

    late = prepare(store, WorkKind.EMBEDDING_REFRESH, "one", 1, sha256_of(store, "one"), to("index", "one"), tables)
    assert late == one, "what is published stays preparable, so that publishing can be repeated at any time"

    three = refresh(store, "three", {"a": "alpha"}, {}, tables)
    complete(store, database.catalog, three, AT, tables)
    assert rows(tables) == {"a": "alpha"}


def test_a_refresh_against_another_state_is_refused(tmp_path: Path, database: MemoryDatabase) -> None:
    store = LocalStore(tmp_path)
    tables = tables_of(store)
    complete(store, database.catalog, refresh(store, "one", {"a": "x"}, {"a": "x"}, tables), AT, tables)
    late = refresh(store, "late", {"a": "x", "b": "y"}, {"b": "y"}, tables)
    complete(store, database.catalog, refresh(store, "two", {"a": "X"}, {"a": "X"}, tables), AT, tables)
    with pytest.raises(ConflictError) as caught:
        refresh(store, "again", {"a": "x", "b": "y"}, {"b": "y"}, tables)
    assert caught.value.code == "TABLE_MOVED"
    with pytest.raises(ConflictError, match="TABLE_MOVED"):
        complete(store, database.catalog, late, AT, tables)
    assert rows(tables) == {"a": "X"}
    with pytest.raises(HeadraceError, match="RESULT_MALFORMED"):
        refresh(store, "strange", {"a": "X"}, {"z": "stranger"}, tables)


def test_tables_lie_with_their_store(tmp_path: Path) -> None:
    assert tables_of(LocalStore(tmp_path)).uri == f"{tmp_path}/artefacts/tables"
    with pytest.raises(InputError, match="BAD_STORE_URL"):
        tables_of(MemoryStore())
    with pytest.raises(InputError, match="UNKNOWN_TABLE"):
        search(tables_of(LocalStore(tmp_path)), "none", "words")
    with pytest.raises(InputError, match="NO_TABLES"):
        complete(
            LocalStore(tmp_path),
            MemoryDatabase().catalog,
            replace(model(LocalStore(tmp_path)), kind=WorkKind.EMBEDDING_REFRESH),
            AT,
        )

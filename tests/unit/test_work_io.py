"""What a site may read, where it writes, and which checkpoints it sees."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from data_contracts.layout import site_prefix
from infra.adapters.objects import MemoryStore
from infra.core.errors import InputError, RefusedError
from infra.core.inventory import TrustZone
from infra.core.trust import PermittedDataset
from infra.core.workload import WorkKind
from tasks.parquet import from_columns
from tasks.site_io import StoreCheckpoints, StoreInputs, StoreOutputs, clear_checkpoints, result_from_json, share_done
from tasks.site_job import InputRef, OutputFile, SiteResult, SiteWork
from tasks.stopping import sigterm_as_event
from tests.work_support import HOME, put_version


def permit(ref: InputRef) -> PermittedDataset:
    return PermittedDataset(ref.name, ref.version, ("EU",), TrustZone.PRIVATE, ref.manifest_sha256)


def reading(store: MemoryStore, ref: InputRef, *permitted: PermittedDataset, site: str = HOME) -> StoreInputs:
    return StoreInputs(store, site, SiteWork("r", 1, WorkKind.TRAINING, (ref,)), permitted)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def ref(store: MemoryStore) -> InputRef:
    parts = {f"part-0000{number}.parquet": from_columns({"x": [number, number + 10]}) for number in (0, 1)}
    return put_version(store, "numbers", "v1", parts)


def test_permitted_data_is_read_whole_and_every_access_is_logged(store: MemoryStore, ref: InputRef) -> None:
    inputs = reading(store, ref, permit(ref))
    assert inputs.has("data")
    assert not inputs.has("model")
    assert inputs.frame("data")["x"].tolist() == [0, 10, 1, 11]
    assert [access.path for access in inputs.accesses] == ["part-00000.parquet", "part-00001.parquet"]
    assert (inputs.egress_bytes, inputs.egress_sources) == (0, ())
    assert inputs.read("data", "part-00001.parquet")
    with pytest.raises(InputError, match="UNKNOWN_FILE"):
        inputs.read("data", "part-00002.parquet")


def test_what_the_permit_does_not_name_is_refused_before_a_byte_is_read(store: MemoryStore, ref: InputRef) -> None:
    class Unreadable(MemoryStore):
        def get(self, key: str) -> bytes:
            raise AssertionError(f"{key} was read")

    closed = Unreadable()
    other_content = PermittedDataset(ref.name, ref.version, ("EU",), TrustZone.PRIVATE, "0" * 64)
    other_version = PermittedDataset(ref.name, "v2", ("EU",), TrustZone.PRIVATE, ref.manifest_sha256)
    for permitted in ((), (other_content,), (other_version,)):
        for call in (lambda inputs: inputs.frame("data"), lambda inputs: inputs.read("data", "x")):
            with pytest.raises(RefusedError) as caught:
                call(StoreInputs(closed, HOME, SiteWork("r", 1, WorkKind.TRAINING, (ref,)), permitted))
            assert caught.value.code == "DATASET_NOT_PERMITTED"
    with pytest.raises(RefusedError, match="DATASET_NOT_PERMITTED"):
        reading(closed, ref, permit(ref)).frame("model")
    elsewhere = InputRef(ref.role, ref.name, ref.version, "datasets/secret/v1", HOME, ref.manifest_sha256, ref.bytes)
    with pytest.raises(RefusedError, match="DATASET_NOT_PERMITTED"):
        reading(closed, elsewhere, permit(ref)).frame("data")


def test_data_of_another_site_is_brought_over_once_and_counted(store: MemoryStore, ref: InputRef) -> None:
    first = reading(store, ref, permit(ref), site="cloud-eu-central")
    assert first.frame("data")["x"].tolist() == [0, 10, 1, 11]
    assert (first.egress_bytes, first.egress_sources) == (ref.bytes, (HOME,))
    assert store.exists(f"{site_prefix('cloud-eu-central', 'numbers', 'v1')}/manifest.json")
    again = reading(store, ref, permit(ref), site="cloud-eu-central")
    again.frame("data")
    assert again.egress_bytes == 0


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"x" + data[1:], lambda data: None])
def test_changed_data_is_not_used(store: MemoryStore, ref: InputRef, damage) -> None:
    key = f"{site_prefix(HOME, 'numbers', 'v1')}/part-00001.parquet"
    damaged = damage(store.get(key))
    store.delete(key)
    if damaged is not None:
        store.put(key, damaged)
    with pytest.raises((InputError, RefusedError)) as caught:
        reading(store, ref, permit(ref)).frame("data")
    assert caught.value.code in ("DATA_TRUNCATED", "DATA_HASH_MISMATCH")


def test_outputs_are_complete_when_the_manifest_is_there(store: MemoryStore) -> None:
    outputs = StoreOutputs(store, "flow:train", 2)
    written = outputs.write("a/table.parquet", from_columns({"x": [1, 2, 3]}))
    assert store.list("runs/flow--train/attempts/2") == ["runs/flow--train/attempts/2/a/table.parquet"]
    result = SiteResult(3.0, {"m": 0.5}, (written,), {"list": [1]})
    digest = outputs.finish(result)
    manifest = json.loads(store.get("runs/flow--train/attempts/2/manifest.json"))
    assert [(file["path"], file["rows"]) for file in manifest["files"]] == [("a/table.parquet", 3), ("result.json", 0)]
    assert len(digest) == 64
    assert result_from_json(store.get("runs/flow--train/attempts/2/result.json"), "r") == result


def test_a_result_names_only_what_was_written(store: MemoryStore) -> None:
    outputs = StoreOutputs(store, "r", 1)
    with pytest.raises(InputError, match="RESULT_INCOMPLETE"):
        outputs.finish(SiteResult(1.0, {}, (OutputFile("x", "0" * 64, 1),)))
    for name in ("manifest.json", "result.json"):
        with pytest.raises(InputError, match="RESERVED_NAME"):
            outputs.write(name, b"")
    with pytest.raises(InputError, match="BAD_KEY"):
        outputs.write("../2/x", b"")
    assert store.list("runs/r") == []
    with pytest.raises(InputError, match="RESULT_MALFORMED"):
        result_from_json(b"{}", "r")


def test_the_best_whole_checkpoint_is_seen_by_every_attempt(store: MemoryStore) -> None:
    first, second = StoreCheckpoints(store, "r", 1), StoreCheckpoints(store, "r", 2)
    assert second.latest() is None
    for step in (10, 200, 30):
        first.save(step, f"one-{step}".encode())
    assert second.latest() == (200, b"one-200")
    second.save(200, b"two-200")
    assert first.latest() == (200, b"two-200")
    assert len(store.list("runs/r/checkpoints/states")) == 2
    newest = next(key for key in store.list("runs/r/checkpoints/states") if "-000002-" in key)
    store.put(newest, b"two-2")
    assert second.latest() == (200, b"one-200")
    assert StoreCheckpoints(store, "other", 1).latest() is None


def test_checkpoints_of_a_lighter_work_lie_apart(store: MemoryStore) -> None:
    as_asked, lighter = StoreCheckpoints(store, "r", 1), StoreCheckpoints(store, "r", 2, "work-1")
    as_asked.save(500, b"as asked", 0.5)
    as_asked.save_part("p-1", b"as asked")
    assert lighter.latest() is None
    assert list(lighter.parts()) == []
    lighter.save(3, b"lighter", 0.25)
    lighter.save_part("p-1", b"lighter")
    assert (as_asked.latest(), lighter.latest()) == ((500, b"as asked"), (3, b"lighter"))
    assert dict(as_asked.parts()) == {"p-1": b"as asked"}
    assert StoreCheckpoints(store, "r", 3, "work-1").latest() == (3, b"lighter")
    assert [share_done(store, "r", each) for each in ("", "work-1", "work-2")] == [0.5, 0.25, 0.0]
    clear_checkpoints(store, "r")
    assert store.list("runs/r") == []


def test_parts_are_kept_once(store: MemoryStore) -> None:
    checkpoints = StoreCheckpoints(store, "r", 1)
    checkpoints.save_part("p-1", b"first")
    checkpoints.save_part("p-1", b"second")
    checkpoints.save_part("p-0", b"zero")
    assert list(StoreCheckpoints(store, "r", 2).parts()) == [("p-0", b"zero"), ("p-1", b"first")]
    store.put("runs/r/checkpoints/parts/p-0", b"damaged" * 9)
    assert list(checkpoints.parts()) == [("p-1", b"first")]
    checkpoints.save_part("p-0", b"again")
    assert dict(checkpoints.parts())["p-0"] == b"again"
    with pytest.raises(InputError, match="BAD_PART_NAME"):
        checkpoints.save_part("a/b", b"")
    clear_checkpoints(store, "r")
    assert store.list("runs/r") == []


def test_sigterm_waits_for_the_end_of_the_work() -> None:
    heard: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with sigterm_as_event() as stop:
            assert not stop.is_set()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.wait(30)
            assert heard == []
        assert heard == [signal.SIGTERM]
        with sigterm_as_event() as stop:
            pass
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, former)
    seen: list[bool] = []

    def elsewhere() -> None:
        with sigterm_as_event() as stop:
            seen.append(stop.is_set())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [False]

"""Manifests, shelving, reading and landing of versions: complete and verified, or not there."""

from __future__ import annotations

import hashlib
import json
import resource
import threading
from pathlib import Path

import pandas as pd
import pytest

from data_contracts.loading import load_contract
from data_contracts.manifest import Manifest, ManifestFile, parse_manifest
from infra.adapters.objects import LocalStore, MemoryStore
from infra.core.errors import ConflictError, InputError, RefusedError, UnavailableError
from tasks.datasets.parquet import arrow_schema, encode, encode_parts, land, land_file
from tasks.datasets.reading import copy_version, read_file, read_frame
from tasks.datasets.shelving import shelve
from tasks.datasets.variants import changed_docs, corrupt
from tests.data_support import FullStore, digits, docs

PREFIX = "datasets/api-docs/v1"


def _manifest(**parts: bytes) -> Manifest:
    return Manifest(
        tuple(ManifestFile(name, hashlib.sha256(data).hexdigest(), len(data), 1) for name, data in parts.items())
    )


def _shelved(store: MemoryStore, prefix: str = PREFIX, **parts: bytes) -> Manifest:
    manifest = _manifest(**parts)
    shelve(store, prefix, manifest, lambda file: parts[file.path])
    return manifest


def test_a_manifest_reads_back_and_its_digest_ignores_formatting() -> None:
    manifest = _manifest(a=b"1", b=b"22")
    pretty = json.dumps(json.loads(manifest.encoded), indent=4).encode()
    assert parse_manifest(pretty, "x") == manifest
    assert manifest.sha256 == hashlib.sha256(manifest.encoded).hexdigest()
    assert (manifest.rows, manifest.bytes) == (2, 3)


def _tree() -> dict:
    return json.loads(_manifest(a=b"1").encoded)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"files": NaN}',
        json.dumps(_tree() | {"extra": 1}).encode(),
        json.dumps(_tree() | {"rows": 2}).encode(),
        json.dumps(_tree() | {"schema_version": 2}).encode(),
        json.dumps(_tree() | {"files": []}).encode(),
        json.dumps(_tree() | {"files": _tree()["files"] * 2, "rows": 2}).encode(),
        *(
            json.dumps(_tree() | {"files": [_tree()["files"][0] | change]}).encode()
            for change in (
                {"path": "../a"},
                {"path": "/a"},
                {"path": "manifest.json"},
                {"path": 1},
                {"sha256": "A" * 64},
                {"sha256": None},
                {"bytes": -1},
                {"bytes": True},
                {"bytes": 1.0},
                {"rows": "1"},
                {"more": 1},
            )
        ),
    ],
)
def test_a_malformed_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        parse_manifest(data, "landing/x/manifest.json")
    assert caught.value.code == "MANIFEST_MALFORMED"
    assert caught.value.where == "landing/x/manifest.json"


def test_shelving_is_complete_and_repeatable() -> None:
    store = MemoryStore()
    manifest = _manifest(a=b"1", b=b"22")
    parts = {"a": b"1", "b": b"22"}
    assert shelve(store, PREFIX, manifest, lambda file: parts[file.path]) == 3
    assert shelve(store, PREFIX, manifest, lambda file: parts[file.path]) == 0
    assert store.list("") == [f"{PREFIX}/a", f"{PREFIX}/b", f"{PREFIX}/manifest.json"]
    with pytest.raises(ConflictError) as caught:
        _shelved(store, a=b"other")
    assert caught.value.code == "VERSION_EXISTS"
    assert store.get(f"{PREFIX}/a") == b"1"
    store.put(f"{PREFIX}/b", b"2!")
    assert shelve(store, PREFIX, manifest, lambda file: parts[file.path]) == 2
    assert store.get(f"{PREFIX}/b") == b"22"


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_full_disk_leaves_nothing_of_a_version(writes: int) -> None:
    store = FullStore(writes)
    with pytest.raises(UnavailableError) as caught:
        _shelved(store, a=b"1", b=b"22")
    assert caught.value.code == "STORE_FULL"
    assert store.list("") == []


def test_a_failed_writer_leaves_another_writers_version_alone() -> None:
    store = FullStore(3)
    manifest = _shelved(store, a=b"1", b=b"22")
    parts = {"a": b"1", "b": b"22"}
    store.put = lambda key, data: pytest.fail("nothing to write")  # type: ignore[method-assign]
    assert shelve(store, PREFIX, manifest, lambda file: parts[file.path]) == 0
    with pytest.raises(ConflictError):
        _shelved(store, c=b"3")
    assert len(store.list("")) == 3


def test_two_writers_of_one_version_both_succeed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    parts = {f"p{number}": bytes([number]) * 1000 for number in range(5)}
    manifest = _manifest(**parts)
    start, errors = threading.Barrier(4), []

    def write() -> None:
        start.wait()
        try:
            shelve(store, PREFIX, manifest, lambda file: parts[file.path])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for name, data in parts.items():
        assert store.get(f"{PREFIX}/{name}") == data


def _stored_docs(store: MemoryStore, parts: int = 2) -> tuple[pd.DataFrame, Manifest]:
    frame = docs(10)
    manifest, files = encode_parts(frame, arrow_schema(load_contract("api-docs")), parts)
    shelve(store, PREFIX, manifest, lambda file: files[file.path])
    return frame, manifest


def test_a_version_reads_back_as_it_was_written() -> None:
    store = MemoryStore()
    frame, manifest = _stored_docs(store, 3)
    assert [file.rows for file in manifest.files] == [3, 3, 4]
    pd.testing.assert_frame_equal(read_frame(store, PREFIX, manifest.sha256), frame, check_dtype=False)
    first = manifest.files[0]
    assert read_file(store, PREFIX, manifest.sha256, first.path) == store.get(f"{PREFIX}/{first.path}")
    with pytest.raises(InputError):
        read_file(store, PREFIX, manifest.sha256, "../other")


def test_a_version_that_is_not_what_was_accepted_is_not_read() -> None:
    store = MemoryStore()
    _, manifest = _stored_docs(store)
    key = f"{PREFIX}/{manifest.files[1].path}"
    good = store.get(key)

    def problem() -> str:
        with pytest.raises((InputError, RefusedError)) as caught:
            read_frame(store, PREFIX, manifest.sha256)
        return caught.value.code

    store.put(key, good[:-1])
    assert problem() == "DATA_TRUNCATED"
    store.put(key, good[:-1] + b"?")
    assert problem() == "DATA_HASH_MISMATCH"
    store.delete(key)
    assert problem() == "DATA_TRUNCATED"
    store.put(key, good)
    with pytest.raises(RefusedError) as caught:
        read_frame(store, PREFIX, "0" * 64)
    assert caught.value.code == "DATA_HASH_MISMATCH"
    store.put(f"{PREFIX}/manifest.json", b"{}")
    assert problem() == "MANIFEST_MALFORMED"


def test_hashed_bytes_that_are_no_parquet_are_an_input_error() -> None:
    store = MemoryStore()
    manifest = _shelved(store, **{"part.parquet": b"PAR1 half a file"})
    with pytest.raises(InputError) as caught:
        read_frame(store, PREFIX, manifest.sha256)
    assert caught.value.code == "DATA_UNREADABLE"


def test_copying_moves_each_byte_once_and_verifies() -> None:
    store, other = MemoryStore(), MemoryStore()
    _, manifest = _stored_docs(store)
    target = "sites/cloud/datasets/api-docs/v1"
    assert copy_version(store, PREFIX, target) == manifest.bytes
    assert copy_version(store, PREFIX, target, manifest.sha256) == 0
    assert copy_version(store, PREFIX, PREFIX) == 0
    assert copy_version(store, PREFIX, PREFIX, manifest.sha256, to=other) == manifest.bytes
    assert len(read_frame(other, PREFIX, manifest.sha256)) == 10
    key = f"{PREFIX}/{manifest.files[0].path}"
    store.put(key, store.get(key)[:-1] + b"?")
    with pytest.raises(RefusedError):
        copy_version(store, PREFIX, "sites/next/v1", manifest.sha256)
    assert store.list("sites/next") == []
    with pytest.raises(RefusedError):
        copy_version(store, PREFIX, "sites/next/v1", "0" * 64)
    with pytest.raises(UnavailableError):
        copy_version(store, "nothing", "sites/next/v1")


def test_a_really_full_disk_while_landing(tmp_path: Path) -> None:
    """The kernel itself refuses to write past the limit, in the middle of a file."""
    store, contract = LocalStore(tmp_path), load_contract("mnist5k")
    frame = digits(300)
    frame["pixels"] = [hashlib.sha512(bytes([number % 256])).digest() * 13 for number in range(300)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        for parts in (1, 2):
            with pytest.raises(UnavailableError) as caught:
                land(store, contract, "v1", frame, parts)
            assert caught.value.code == "STORE_FULL"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_landing_once_per_version() -> None:
    store, contract = MemoryStore(), load_contract("api-docs")
    assert land(store, contract, "v1", docs(10)) == "landing/api-docs/v1.parquet"
    assert land(store, contract, "v1", docs(10)) == "landing/api-docs/v1.parquet"
    assert land(store, contract, "v2", docs(10), parts=2) == "landing/api-docs/v2/manifest.json"
    assert land(store, contract, "v2", docs(10), parts=2) == "landing/api-docs/v2/manifest.json"
    for version, parts in (("v1", 1), ("v1", 2), ("v2", 1), ("v2", 2)):
        with pytest.raises(ConflictError) as caught:
            land(store, contract, version, docs(11), parts)
        assert caught.value.code == "VERSION_LANDED"
    for version in ("latest", "", "a/b", "..", "v1.parquet", "x" * 80):
        with pytest.raises(InputError):
            land_file(store, "api-docs", version, b"x")
    with pytest.raises(InputError):
        land(store, contract, "v3", docs(2), parts=3)


def test_equal_frames_give_equal_bytes() -> None:
    schema = arrow_schema(load_contract("mnist5k"))
    assert encode(digits(50), schema) == encode(digits(50), schema)
    assert encode(digits(50), schema) != encode(digits(51), schema)


def test_a_later_version_changes_what_it_says_it_changes() -> None:
    before = docs(200)
    later = changed_docs(before, seed=7, share=0.05)
    assert (len(later.changed), len(later.added), len(later.removed)) == (10, 5, 5)
    old, new = before.set_index("doc_id")["sha256"], later.frame.set_index("doc_id")["sha256"]
    assert set(new.index) - set(old.index) == set(later.added)
    assert set(old.index) - set(new.index) == set(later.removed)
    common = old.index.intersection(new.index)
    assert set(common[old[common] != new[common]]) == set(later.changed)
    assert later.frame["doc_id"].is_monotonic_increasing
    pd.testing.assert_frame_equal(changed_docs(before, seed=7, share=0.05).frame, later.frame)
    assert changed_docs(before, seed=8).changed != changed_docs(before, seed=7).changed
    for share in (0.0, -1.0, 0.9, float("nan")):
        with pytest.raises(InputError):
            changed_docs(before, share=share)


def test_corruption_names_its_rows_and_can_be_written() -> None:
    for frame, name in ((digits(100), "mnist5k"), (docs(100), "api-docs")):
        broken = corrupt(frame)
        assert encode(broken.frame, arrow_schema(load_contract(name)))
        assert broken.faults == corrupt(frame).faults
        assert all(broken.faults.values())
    with pytest.raises(InputError):
        corrupt(digits(10))
    with pytest.raises(InputError):
        corrupt(pd.DataFrame({"x": range(30)}))

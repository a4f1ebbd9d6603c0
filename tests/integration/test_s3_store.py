"""Ingestion on S3, and what S3 stores promise across processes and failures."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import pytest

from data_contracts.loading import load_contract
from infra.adapters import objects_s3
from infra.adapters.memory.catalog import MemoryCatalog
from infra.adapters.memory.clock import FixedClock
from infra.adapters.memory.state import Shelf
from infra.adapters.objects import open_store, under
from infra.core.errors import UnavailableError
from tasks.contracts import CheckedVersion, Quarantined, check_version
from tasks.datasets.parquet import land, land_file
from tasks.datasets.reading import copy_version, read_frame
from tests.data_support import FRANKFURT, digits
from tests.s3_server import REGION, new_bucket, s3_server, s3_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


def test_a_version_goes_from_landing_to_two_sites(endpoint: str) -> None:
    store = open_store(
        f"s3://{new_bucket(endpoint)}/headrace", key="test", secret="test-secret", endpoint=endpoint, region=REGION
    )
    catalog = MemoryCatalog(Shelf())

    def check(version: str) -> CheckedVersion | Quarantined:
        return check_version(
            "mnist5k", version, store=store, catalog=catalog, clock=FixedClock(), control_site=FRANKFURT
        )

    land(store, load_contract("mnist5k"), "v1", digits(150), parts=2)
    land_file(store, "mnist5k", "v2", b"PAR1 cut short")
    good, bad = check("v1"), check("v2")
    assert isinstance(good, CheckedVersion)
    assert isinstance(bad, Quarantined)
    home, cloud = f"sites/onprem-fra/{good.prefix}", f"sites/cloud-eu-central/{good.prefix}"
    assert copy_version(store, home, cloud, good.manifest_sha256) == good.version.bytes
    assert copy_version(store, home, cloud, good.manifest_sha256) == 0
    assert len(read_frame(under(store, "sites/cloud-eu-central"), good.prefix, good.manifest_sha256)) == 150
    assert store.list("quarantine") == ["quarantine/mnist5k/v2/report.json", "quarantine/mnist5k/v2/v2.parquet"]
    assert good.uri.startswith("s3://")


def _claim(endpoint: str, bucket: str, name: str, results: multiprocessing.Queue[str]) -> None:
    if s3_store(endpoint, bucket).put_new("claim", name.encode()):
        results.put(name)


def test_put_new_has_one_winner_among_processes(endpoint: str) -> None:
    bucket = new_bucket(endpoint)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    claimants = [context.Process(target=_claim, args=(endpoint, bucket, str(number), results)) for number in range(2)]
    for process in claimants:
        process.start()
    for process in claimants:
        process.join(60)
        assert process.exitcode == 0
    winner = results.get(timeout=30)
    assert results.empty()
    assert s3_store(endpoint, bucket).get("claim") == winner.encode()


def _read_after_fork(store: object, results: multiprocessing.Queue[bytes]) -> None:
    results.put(store.get("x"))  # type: ignore[attr-defined]


def test_a_store_that_was_used_before_a_fork_works_in_the_child(endpoint: str) -> None:
    store = s3_store(endpoint, new_bucket(endpoint))
    store.put("x", b"1")
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_read_after_fork, args=(store, results))
    child.start()
    try:
        assert results.get(timeout=30) == b"1"
    finally:
        child.join(30)
        if child.is_alive():
            child.kill()
            child.join()


def test_a_large_object_goes_in_parts_and_stays_conditional(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects_s3, "_SINGLE_PUT_BYTES", 5 * 2**20)
    store = s3_store(endpoint, new_bucket(endpoint))
    data = bytes(range(256)) * (12 * 4096)
    assert store.put_new("large", data)
    assert store.size("large") == len(data)
    assert store.get("large") == data
    assert not store.put_new("large", data)


def test_a_long_listing_comes_in_pages(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = s3_store(endpoint, new_bucket(endpoint), "root")
    keys = [f"many/{number:02d} ü" for number in range(7)]
    for key in keys:
        store.put(key, b"x")
    files = store._files()
    asked, call = [], files.call_s3

    def in_pages(method: str, **options: object) -> object:
        asked.append(method)
        return call(method, MaxKeys=3, **options)

    monkeypatch.setattr(files, "call_s3", in_pages)
    assert store.list("many") == keys
    assert asked == ["list_objects_v2"] * 3


def test_failures_are_told_apart(endpoint: str) -> None:
    missing = s3_store(endpoint, "no-such-bucket-here")
    for call in (lambda: missing.list(""), lambda: missing.put("a", b"1")):
        with pytest.raises(UnavailableError) as caught:
            call()
        assert caught.value.code == "NO_BUCKET"
    nobody = s3_store("http://127.0.0.1:9", "bucket")
    with pytest.raises(UnavailableError) as caught:
        nobody.get("a")
    assert caught.value.code == "STORE_FAILED"
    assert "test-secret" not in str(caught.value)

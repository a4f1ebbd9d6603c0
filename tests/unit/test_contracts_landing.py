"""The landing watcher: complete versions only, each once, whoever restarts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_contracts.loading import load_contract
from infra.adapters.memory.clock import FixedClock
from infra.adapters.objects import LocalStore, WatchableStore
from infra.controller import landing
from infra.controller.landing import Arrival, LandingWatcher
from infra.core.errors import UnavailableError
from tasks.datasets.parquet import land, land_file
from tests.data_support import LooseStore, docs

KNOWN = ("api-docs", "mnist5k")


class Post:
    """Takes events; out of order while ``down``."""

    def __init__(self) -> None:
        self.sent: list[Arrival] = []
        self.down = False

    def __call__(self, arrival: Arrival) -> None:
        if self.down:
            raise UnavailableError("EVENT_NOT_SENT", "no answer", str(arrival), "try again")
        self.sent.append(arrival)


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> WatchableStore:
    return LooseStore() if request.param == "memory" else LocalStore(tmp_path / "store")


def watch(store: WatchableStore, post: Post) -> LandingWatcher:
    return LandingWatcher(store, KNOWN, post, FixedClock())


def test_a_file_counts_when_it_was_the_same_twice(store: WatchableStore) -> None:
    post = Post()
    watcher = watch(store, post)
    store.put("landing/api-docs/v1.parquet", b"half")
    assert watcher.scan() == []
    store.put("landing/api-docs/v1.parquet", b"half and whole")
    assert watcher.scan() == []
    (arrival,) = watcher.scan()
    assert (arrival.dataset, arrival.version, arrival.key) == ("api-docs", "v1", "landing/api-docs/v1.parquet")
    assert post.sent == [arrival]
    assert watcher.scan() == []
    assert json.loads(store.get("arrivals/api-docs/v1.json"))["content_sha256"] == arrival.content_sha256


def test_a_folder_counts_when_its_manifest_is_there(store: WatchableStore) -> None:
    post = Post()
    watcher = watch(store, post)
    store.put("landing/api-docs/v1/part-00000.parquet", b"x")
    assert [watcher.scan() for _ in range(3)] == [[], [], []]
    store.delete("landing/api-docs/v1/part-00000.parquet")
    land(store, load_contract("api-docs"), "v1", docs(12), parts=2)
    (arrival,) = watcher.scan()
    assert arrival.key == "landing/api-docs/v1/manifest.json"
    assert watcher.scan() == []


def test_each_version_is_announced_once_over_restarts(store: WatchableStore) -> None:
    post = Post()
    land_file(store, "api-docs", "v1", b"1")
    watcher = watch(store, post)
    watcher.scan()
    watcher.scan()
    land_file(store, "api-docs", "v2", b"2")
    restarted = watch(store, post)
    for _ in range(3):
        restarted.scan()
    assert [arrival.version for arrival in post.sent] == ["v1", "v2"]
    assert len({arrival.event_id for arrival in post.sent}) == 2


def test_an_event_that_was_not_accepted_is_sent_again_as_itself(store: WatchableStore) -> None:
    post = Post()
    post.down = True
    watcher = watch(store, post)
    land_file(store, "api-docs", "v1", b"1")
    land_file(store, "mnist5k", "v1", b"2")
    for _ in range(3):
        assert watcher.scan() == []
    assert store.list("arrivals") == []
    post.down = False
    assert [str(arrival.dataset) for arrival in watcher.scan()] == ["api-docs", "mnist5k"]
    forgetful = watch(store, post)
    for key in store.list("arrivals"):
        store.delete(key)
    forgetful.scan()
    forgetful.scan()
    ids = [arrival.event_id for arrival in post.sent]
    assert len(ids) == 4
    assert ids[:2] == ids[2:]


def test_what_is_no_arrival_is_reported_and_never_announced(
    store: WatchableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[object] = []
    monkeypatch.setattr(landing.logger, "warning", lambda text, *values: logged.append(text % values))
    post = Post()
    watcher = watch(store, post)
    for key in (
        "landing/secrets/v1.parquet",
        "landing/stray.parquet",
        "landing/api-docs/readme.txt",
        "landing/api-docs/latest.parquet",
        "landing/api-docs/bad name.parquet",
        "landing/api-docs/.v9.parquet",
        "landing/api-docs/v5.parquet",
        "landing/api-docs/v5/part.parquet",
        "elsewhere/api-docs/v1.parquet",
    ):
        store.put(key, b"x")
    for _ in range(3):
        assert watcher.scan() == []
    assert post.sent == []
    assert {key: error.code for key, error in watcher.problems.items()} == {
        "landing/secrets": "UNKNOWN_DATASET",
        "landing/stray.parquet": "UNEXPECTED_FILE",
        "landing/api-docs/readme.txt": "UNEXPECTED_FILE",
        "landing/api-docs/latest.parquet": "BAD_VERSION_NAME",
        "landing/api-docs/bad name.parquet": "BAD_VERSION_NAME",
        "landing/api-docs/v5": "LANDED_TWICE",
    }
    assert len(logged) == len(watcher.problems)
    store.delete("landing/secrets/v1.parquet")
    watcher.scan()
    assert "landing/secrets" not in watcher.problems


def test_data_that_may_not_be_read_here_is_not_read() -> None:
    store, post = LooseStore(), Post()
    store.put("landing/mnist5k/v1.parquet", b"x")
    store.get = lambda key: pytest.fail(f"read {key}")  # type: ignore[method-assign]
    watcher = LandingWatcher(store, KNOWN, post, FixedClock(), may_read=lambda dataset: dataset != "mnist5k")
    assert [watcher.scan(), watcher.scan()] == [[], []]
    assert watcher.problems["landing/mnist5k/v1"].code == "RESIDENCY_EXCLUDED"


def test_a_version_that_vanishes_while_it_is_looked_at_is_left_out() -> None:
    store, post = LooseStore(), Post()
    store.put("landing/api-docs/v1.parquet", b"x")
    watcher = watch(store, post)
    watcher.scan()

    def gone(key: str) -> bytes:
        raise UnavailableError("NOT_FOUND", "no such object", key, "check the key")

    store.get = gone  # type: ignore[method-assign]
    assert watcher.scan() == []


def test_a_new_contract_is_noticed_without_a_restart() -> None:
    store, post, names = LooseStore(), Post(), ["api-docs"]
    store.put("landing/mnist5k/v1.parquet", b"x")
    watcher = LandingWatcher(store, lambda: names, post, FixedClock())
    assert [watcher.scan(), watcher.scan()] == [[], []]
    names.append("mnist5k")
    watcher.scan()
    assert [arrival.dataset for arrival in watcher.scan()] == ["mnist5k"]

"""Arrivals as real events on a real Prefect server, from a local directory and from S3."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from data_contracts.loading import load_contract
from infra.adapters.clock import SystemClock
from infra.adapters.objects import LocalStore, WatchableStore
from infra.controller.landing import EVENT_NAME, Arrival, LandingWatcher, emit_arrival
from infra.core.errors import UnavailableError
from tasks.datasets.parquet import land, land_file
from tests.data_support import docs
from tests.integration.prefect_server import PrefectServer, running_server, wait_until
from tests.s3_server import new_bucket, s3_server, s3_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    home = tmp_path_factory.mktemp("prefect")
    with running_server(home) as running, temporary_settings({PREFECT_API_URL: running.api_url}):
        yield running


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WatchableStore]:
    if request.param == "local":
        yield LocalStore(tmp_path)
        return
    with s3_server() as endpoint:
        yield s3_store(endpoint, new_bucket(endpoint), "home/store")


def arrived(server: PrefectServer, dataset: str, since: datetime) -> list[dict[str, Any]]:
    found = server.post(
        "/events/filter",
        filter={
            "event": {"name": [EVENT_NAME]},
            "resource": {"id": [f"headrace.dataset.{dataset}"]},
            "occurred": {"since": since.isoformat()},
        },
        limit=50,
    )
    return found["events"]


def test_each_arrival_is_one_event_also_over_restarts(server: PrefectServer, store: WatchableStore) -> None:
    since = datetime.now(UTC) - timedelta(seconds=1)
    # Equal content is the same event, whatever store it lies in: each store gets content of its own.
    count = 20 if isinstance(store, LocalStore) else 30

    def watch() -> LandingWatcher:
        return LandingWatcher(store, ("api-docs", "mnist5k"), emit_arrival, SystemClock())

    land(store, load_contract("api-docs"), "v1", docs(count), parts=2)
    watcher = watch()
    (first,) = watcher.scan()
    assert watcher.scan() == []
    land(store, load_contract("api-docs"), "v2", docs(count + 1))
    land_file(store, "unheard-of", "v1", b"x")
    restarted = watch()
    assert restarted.scan() == []
    (second,) = restarted.scan()
    assert restarted.scan() == []
    # A crash after sending and before remembering: the same event again, which the server knows by its id.
    emit_arrival(second)
    third = Arrival("mnist5k", "v1", "landing/mnist5k/v1.parquet", f"{count:064d}", SystemClock().now())
    emit_arrival(third)
    wait_until(lambda: arrived(server, "mnist5k", since), what="the last event")
    wait_until(lambda: len(arrived(server, "api-docs", since)) == 2, what="both events")
    events = {event["payload"]["version"]: event for event in arrived(server, "api-docs", since)}
    assert {version: event["id"] for version, event in events.items()} == {
        "v1": str(first.event_id),
        "v2": str(second.event_id),
    }
    assert events["v2"]["payload"] == {
        "dataset": "api-docs",
        "version": "v2",
        "key": "landing/api-docs/v2.parquet",
        "content_sha256": second.content_sha256,
    }
    assert events["v2"]["resource"]["prefect.resource.id"] == "headrace.dataset.api-docs"
    assert arrived(server, "unheard-of", since) == []


def test_a_server_that_is_down_is_told_and_nothing_is_remembered(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    land(store, load_contract("api-docs"), "v1", docs(20), parts=2)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        watcher = LandingWatcher(store, ("api-docs",), emit_arrival, SystemClock())
        (arrival,) = watcher.find()
        with pytest.raises(UnavailableError) as caught:
            emit_arrival(arrival)
        assert caught.value.code == "EVENT_NOT_SENT"
        assert watcher.scan() == []
    assert store.list("arrivals") == []

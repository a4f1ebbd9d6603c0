"""What work makes of the announcement that its machines are taken back."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from distributed import Client

from infra.adapters.cloud import reclaim_notice
from infra.adapters.cloud.reclaim_notice import TOPIC, announce, announced_end
from infra.adapters.objects import MemoryStore
from infra.core.errors import UnavailableError
from infra.core.workload import WorkKind
from tasks.departures import LEAVE_BEFORE_S, Departure, announced_in, last_is_leaving
from tasks.local_run import local_job
from tasks.site_io import StoreCheckpoints
from tasks.site_job import SiteWork
from tasks.training.run import run
from tests.integration.clusters_support import until
from tests.work_support import dask_client, digits, do, put_version

NOW = time.time()
SOON, LATER = Departure(NOW - 60, NOW + 1), Departure(NOW, NOW + 86_400)  # later than any suite of tests takes
TRAINING = {"epochs": 3, "batch_size": 32, "hidden": 8, "checkpoint_every_s": 1e6}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with dask_client(2) as connected:
        yield connected


@pytest.mark.parametrize(
    ("departures", "leaves"),
    [
        ({}, False),
        ({"a": SOON}, False),
        ({"a": SOON, "b": LATER}, False),
        ({"a": SOON, "b": SOON}, True),
        ({"a": SOON, "b": SOON, "c": LATER}, True),
        ({"c": SOON}, False),
    ],
)
def test_work_stops_when_none_of_its_workers_stays(departures: Mapping[str, Departure], leaves: bool) -> None:
    assert last_is_leaving(("a", "b"), departures) is leaves
    assert not last_is_leaving((), departures)


def test_a_short_notice_is_halved() -> None:
    assert Departure(100.0, 220.0).stop_at == 220.0 - LEAVE_BEFORE_S
    assert Departure(100.0, 102.0).stop_at == 101.0


def test_training_saves_when_it_hears_of_a_departure_and_stops_before_the_last(client: Client) -> None:
    store = MemoryStore()
    data = put_version(store, "digits", "v1", {"part-00000.parquet": digits(400)})
    steps: list[int] = []
    job, _ = local_job(SiteWork("run", 1, WorkKind.TRAINING, (data,), TRAINING), store, client)
    kept = StoreCheckpoints(store, "run", 2)

    def departures() -> Mapping[str, Departure]:
        steps.append(kept.latest()[0] if kept.latest() else 0)
        first, second = job.workers
        if len(steps) < 5:
            return {}
        return {first: LATER} if len(steps) < 9 else {first: SOON, second: SOON}

    with pytest.raises(UnavailableError, match=r"WORKERS_LOST.*takes back"):
        run(replace(job, departures=departures))
    # Asked after each step: nothing is saved until the fifth says so, and again only when another leaves.
    assert steps == [0, 0, 0, 0, 0, 5, 5, 5, 5]
    assert kept.latest()[0] == 9
    resumed, _ = do(store, client, WorkKind.TRAINING, (data,), TRAINING, "run", attempt=2)
    assert resumed.detail["resumed_at_step"] == 9


def test_announcements_are_heard_before_and_after_one_listens(client: Client) -> None:
    first, second = sorted(client.nthreads())

    def tell(dask_worker: object) -> None:
        announce(dask_worker, NOW + 60)

    client.run(tell, workers=[first])
    until(lambda: client.get_events(TOPIC))
    heard = announced_in(client)
    assert set(heard()) == {first}
    assert heard()[first].ends_at == NOW + 60
    client.run(tell, workers=[second])
    until(lambda: set(heard()) == {first, second})


class Metadata(http.server.BaseHTTPRequestHandler):
    """A metadata service of version 2, with a notice once there is one."""

    notice = ""

    def do_PUT(self) -> None:
        self._say("token" if self.headers["X-aws-ec2-metadata-token-ttl-seconds"] else "")

    def do_GET(self) -> None:
        self._say(self.notice if self.headers["X-aws-ec2-metadata-token"] == "token" else "")

    def _say(self, text: str) -> None:
        self.send_response(200 if text else 404)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        return


@pytest.mark.parametrize(
    ("notice", "ends_at"),
    [
        ("", None),
        ('{"action": "terminate", "time": "2026-11-24T12:00:00Z"}', 1_795_521_600.0),
        ('{"action": "terminate"}', None),
        ('{"action": "terminate", "time": "soon"}', None),
        ("[]", None),
        ("not json", None),
    ],
)
def test_what_the_metadata_service_says(monkeypatch: pytest.MonkeyPatch, notice: str, ends_at: float | None) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(Metadata, "notice", notice)
    monkeypatch.setattr(reclaim_notice, "METADATA_HOST", f"127.0.0.1:{server.server_port}")
    try:
        assert announced_end() == ends_at
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert announced_end() is None, "it is gone"

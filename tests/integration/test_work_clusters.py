"""Site work on Dask workers that are processes: lost workers, stops, the real model's vectors, tables in S3."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest

from infra.adapters.memory import MemoryDatabase
from infra.adapters.objects import LocalStore, MemoryStore
from infra.core.errors import UnavailableError
from infra.core.inventory import TrustZone
from infra.core.workload import WorkKind
from tasks.embedding import minilm
from tasks.parquet import read_table
from tasks.publishing import Destination, complete, prepare, result_version
from tasks.site_io import StoreCheckpoints
from tasks.vector_tables import search, tables_of
from tests.s3_server import new_bucket, s3_server, s3_store
from tests.work_support import dask_client, digits, do, documents, in_role, output, put_version

pytestmark = pytest.mark.slow

TRAINING = {"epochs": 3, "batch_size": 32, "hidden": 16, "learning_rate": 0.01}
TEXTS = {
    "json.loads": "Deserialize a str, bytes or bytearray instance containing a JSON document to a Python object.",
    "socket.create_connection": "Connect to a TCP service listening on the internet address and return the socket.",
    "math.sqrt": "Return the square root of x.",
    "zipfile.ZipFile": "Class with methods to open, read, write, close, list zip files.",
    "email.message_from_string": "Parse a string into a Message object model.",
}


def worker_pid() -> int:
    return os.getpid()


def test_training_survives_the_loss_of_a_worker() -> None:
    store = MemoryStore()
    data = put_version(store, "digits", "v1", {"part-00000.parquet": digits(400)})
    with dask_client(2, processes=True) as client:
        whole, _ = do(store, client, WorkKind.TRAINING, (data,), TRAINING, "whole")
        pids = client.run(worker_pid)
        killed: list[int] = []

        def kill_one(done: float, total: float, message: str) -> None:
            if not killed and done >= total / 3:
                killed.append(pids[min(pids)])
                os.kill(killed[0], signal.SIGKILL)

        result, _ = do(store, client, WorkKind.TRAINING, (data,), TRAINING, "wounded", progress=kill_one)
    assert killed
    assert result.detail["workers_lost"] == 1
    assert result.detail["workers"] == 1
    assert result.units_done == whole.units_done
    assert result.metrics["holdout_accuracy"] == pytest.approx(whole.metrics["holdout_accuracy"], abs=0.05)
    assert result.metrics["train_loss"] == pytest.approx(whole.metrics["train_loss"], rel=1e-2)


def test_an_attempt_whose_workers_all_die_is_resumed_to_the_same_model() -> None:
    store = MemoryStore()
    data = put_version(store, "digits", "v1", {"part-00000.parquet": digits(400)})
    parameters = TRAINING | {"checkpoint_every_s": 0.0}
    with dask_client(2, processes=True) as client:
        do(store, client, WorkKind.TRAINING, (data,), parameters, "whole")
        pids = client.run(worker_pid)

        def kill_all(done: float, total: float, message: str) -> None:
            if done >= total / 3:
                for pid in pids.values():
                    os.kill(pid, signal.SIGKILL)

        with pytest.raises(UnavailableError) as caught:
            do(store, client, WorkKind.TRAINING, (data,), parameters, "killed", progress=kill_all)
        assert caught.value.code == "WORKERS_LOST"
    with dask_client(2, processes=True) as client:
        result, _ = do(store, client, WorkKind.TRAINING, (data,), parameters, "killed", attempt=2)
    assert result.detail["resumed_at_step"] > 0
    assert output(store, "model.safetensors", "killed", 2) == output(store, "model.safetensors", "whole")


def train_until_told(folder: str, begun: Event) -> None:
    """Body of a process: a long training that says when it has begun."""
    store = LocalStore(Path(folder))
    data = put_version(store, "digits", "v1", {"part-00000.parquet": digits(400)})
    parameters = TRAINING | {"epochs": 10_000, "checkpoint_every_s": 1e9}
    with dask_client(1) as client:
        do(store, client, WorkKind.TRAINING, (data,), parameters, progress=lambda *values: begun.set())


def test_sigterm_leaves_a_checkpoint_and_ends_the_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=train_until_told, args=(str(tmp_path), begun))
    process.start()
    try:
        assert begun.wait(120)
        assert StoreCheckpoints(LocalStore(tmp_path), "run", 1).latest() is None
        process.terminate()
        process.join(60)
        assert process.exitcode == -signal.SIGTERM
    finally:
        process.kill()
        process.join()
    kept = StoreCheckpoints(LocalStore(tmp_path), "run", 2).latest()
    assert kept is not None
    assert kept[0] > 0


def test_pieces_of_a_lost_worker_are_done_by_the_others() -> None:
    store = MemoryStore()
    texts = {f"{name}.{copy}": f"{text} Variant {copy}." for name, text in TEXTS.items() for copy in range(12)}
    data = put_version(store, "docs", "v1", {"part-00000.parquet": documents(texts)})
    with dask_client(2, processes=True) as client:
        pids = client.run(worker_pid)
        killed = threading.Event()

        def kill_one(done: float, total: float, message: str) -> None:
            if done > 0 and not killed.is_set():
                killed.set()
                os.kill(pids[min(pids)], signal.SIGKILL)

        result, _ = do(store, client, WorkKind.EMBEDDING_REFRESH, (data,), {"batch_rows": 5}, "r", progress=kill_one)
        assert killed.is_set()
        assert result.metrics["embedded"] == len(texts)
        again, _ = do(store, client, WorkKind.EMBEDDING_REFRESH, (data,), {"batch_rows": 5}, "r", attempt=2)
    assert again.units_done == 0
    assert again.outputs == result.outputs
    assert read_table(output(store, "vectors-00000.parquet", "r"))["doc_id"].to_pylist() == sorted(texts)


def test_vectors_are_those_of_sentence_transformers() -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm.model_folder()), device="cpu")
    model.max_seq_length = minilm.MAX_TOKENS
    texts = [*TEXTS.values(), "", "word " * 600, "Größe naïve 数学"]
    expected = model.encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(minilm.encode(texts), expected, atol=2e-6)


def test_a_table_in_s3_is_refreshed_and_searched() -> None:
    database = MemoryDatabase()
    with s3_server() as endpoint, dask_client(1) as client:
        store = s3_store(endpoint, new_bucket(endpoint), "root")
        tables = tables_of(store)
        data = put_version(store, "docs", "v1", {"part-00000.parquet": documents(TEXTS)})

        def publish(run_id: str, digest: str) -> None:
            to = Destination("index", result_version(run_id, "v1"), "onprem-fra", ("PUBLIC",), TrustZone.PUBLIC)
            prepared = prepare(store, WorkKind.EMBEDDING_REFRESH, run_id, 1, digest, to, tables)
            for _ in range(2):
                complete(store, database.catalog, prepared, 1.0, tables)

        _, digest = do(store, client, WorkKind.EMBEDDING_REFRESH, (data,), {}, "first")
        publish("first", digest)
        assert search(tables, "index", "deserialize a JSON document", 1)[0]["doc_id"] == "json.loads"

        changed = TEXTS | {"math.sqrt": "Return the cube root of x."}
        del changed["json.loads"]
        second = put_version(store, "docs", "v2", {"part-00000.parquet": documents(changed)})
        known = database.catalog.find("index-hashes", "latest")
        assert known is not None
        files = {"documents-00000.parquet": output(store, "documents-00000.parquet", "first")}
        vectors = in_role(put_version(store, "index-hashes", known.version.version, files), "vectors")
        assert vectors.manifest_sha256 == known.manifest_sha256
        result, digest = do(store, client, WorkKind.EMBEDDING_REFRESH, (second, vectors), {}, "second")
        assert result.metrics["embedded"] == 1
        publish("second", digest)
        assert tables.open("index").count_rows() == len(changed)
        assert search(tables, "index", "cube root", 1)[0]["doc_id"] == "math.sqrt"

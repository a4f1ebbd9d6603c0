"""Each kind of work on small data, on Dask workers that are threads of this process."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from distributed import Client
from safetensors.numpy import load

from infra.adapters.objects import MemoryStore
from infra.core.errors import HeadraceError, InputError, UnavailableError
from infra.core.workload import WorkKind
from tasks.evaluation.measures import Measures, gate, measure
from tasks.local_run import local_job
from tasks.parquet import from_columns, read_table
from tasks.site_job import InputRef, SiteWork
from tasks.training import checkpoint
from tasks.training.checkpoint import TrainingState
from tasks.training.digits import Digits, decode, is_held_out
from tasks.training.model import architecture, as_inputs, build, flat, initial_weights, load_model, unflatten
from tasks.training.replicas import Replicas
from tests.work_support import dask_client, digits, do, documents, in_role, output, put_version

SMALL = {"epochs": 2, "batch_size": 32, "hidden": 16, "learning_rate": 0.01, "seed": 3}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with dask_client(2) as client:
        yield client


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(scope="module")
def data(store: MemoryStore) -> InputRef:
    return put_version(store, "digits", "v1", {"part-00000.parquet": digits(200), "part-00001.parquet": more_digits()})


def more_digits() -> bytes:
    table = read_table(digits(100, seed=2))
    return from_columns({"id": np.arange(200, 300), "label": table["label"], "pixels": table["pixels"]})


@pytest.fixture(scope="module")
def model(store: MemoryStore, client: Client, data: InputRef) -> InputRef:
    do(store, client, WorkKind.TRAINING, (data,), SMALL | {"epochs": 6}, "model")
    files = {path: output(store, path, "model") for path in ("model.safetensors", "model.json")}
    return in_role(put_version(store, "model", "v1", files), "model")


# --- training -----------------------------------------------------------------------------------------------------


def test_training_writes_a_model_that_learnt(store: MemoryStore, client: Client, data: InputRef) -> None:
    told: list[tuple[float, float, str]] = []
    result, _ = do(store, client, WorkKind.TRAINING, (data,), SMALL, "t1", progress=lambda *values: told.append(values))
    assert result.units_done == 600
    assert result.metrics["holdout_accuracy"] > 0.8
    curve = result.detail["loss_curve"]
    assert [entry["epoch"] for entry in curve] == [1, 2]
    assert curve[1]["train_loss"] < curve[0]["train_loss"]
    assert {item.path for item in result.outputs} == {"model.safetensors", "model.json"}
    assert told[-1][:2] == (600, 600)
    description = json.loads(output(store, "model.json", "t1"))
    assert description["training"]["data"]["manifest_sha256"] == data.manifest_sha256
    assert load_model(output(store, "model.json", "t1"), output(store, "model.safetensors", "t1"))


def test_equal_seeds_give_equal_bytes(store: MemoryStore, client: Client, data: InputRef) -> None:
    for run_id in ("s1", "s2"):
        do(store, client, WorkKind.TRAINING, (data,), SMALL, run_id)
    do(store, client, WorkKind.TRAINING, (data,), SMALL | {"seed": 4}, "s3")
    first, second, other = (output(store, "model.safetensors", run_id) for run_id in ("s1", "s2", "s3"))
    assert first == second != other


def test_two_workers_take_the_steps_of_one(store: MemoryStore, client: Client, data: InputRef) -> None:
    job, _ = local_job(SiteWork("eq", 1, WorkKind.TRAINING, (data,)), store, client)
    lone = type(job)(**{name: getattr(job, name) for name in job.__slots__} | {"workers": job.workers[:1]})
    rows = decode(job.inputs.frame("data"), "digits")
    description = architecture((8,))
    weights = initial_weights(description, 0).numpy()
    batch = np.arange(0, 100, 3)
    together, alone = Replicas(job, description, rows), Replicas(lone, description, rows)
    assert len(together.workers) == 2
    assert len(alone.workers) == 1
    for picked in (batch, np.arange(0, 100, 2)):  # the second batch lies in one worker's shard alone
        gradient, loss = together.gradient(weights, picked)
        gradient_alone, loss_alone = alone.gradient(weights, picked)
        np.testing.assert_allclose(gradient, gradient_alone, rtol=1e-4, atol=1e-7)
        assert loss == pytest.approx(loss_alone, rel=1e-6)
    model = build(description)
    unflatten(model, torch.from_numpy(weights))
    assert rows.labels is not None
    expected = torch.nn.functional.cross_entropy(
        model(as_inputs(rows.pixels[batch])), torch.from_numpy(rows.labels[batch])
    )
    expected.backward()
    by_hand = torch.cat([parameter.grad.reshape(-1) for parameter in model.parameters()]).numpy()
    np.testing.assert_allclose(together.gradient(weights, batch)[0], by_hand, rtol=1e-4, atol=1e-7)


def test_one_worker_and_two_end_at_the_same_model(store: MemoryStore, client: Client, data: InputRef) -> None:
    models = []
    for run_id, workers in (("one", 1), ("two", 2)):
        job, outputs = local_job(SiteWork(run_id, 1, WorkKind.TRAINING, (data,), SMALL), store, client)
        job = type(job)(**{name: getattr(job, name) for name in job.__slots__} | {"workers": job.workers[:workers]})
        from tasks.training.run import run

        outputs.finish(run(job))
        models.append(load(output(store, "model.safetensors", run_id)))
    for name in models[0]:
        np.testing.assert_allclose(models[0][name], models[1][name], atol=2e-4)


def test_training_goes_on_from_its_checkpoint(store: MemoryStore, client: Client, data: InputRef) -> None:
    whole, _ = do(store, client, WorkKind.TRAINING, (data,), SMALL, "whole")

    def die(done: float, total: float, message: str) -> None:
        if done >= total / 2:
            raise RuntimeError("killed")

    parameters = SMALL | {"checkpoint_every_s": 0.0}
    with pytest.raises(RuntimeError, match="killed"):
        do(store, client, WorkKind.TRAINING, (data,), parameters, "cut", progress=die)
    resumed, _ = do(store, client, WorkKind.TRAINING, (data,), parameters, "cut", attempt=2)
    assert 0 < resumed.detail["resumed_at_step"] < resumed.detail["steps"]
    assert resumed.units_done < whole.units_done
    assert resumed.metrics == whole.metrics
    assert resumed.detail["loss_curve"] == whole.detail["loss_curve"]
    assert output(store, "model.safetensors", "cut", 2) == output(store, "model.safetensors", "whole")


def test_a_checkpoint_of_other_work_is_not_used() -> None:
    state = TrainingState(*(np.full(4, value, np.float32) for value in (1, 2, 3)), steps=7, rows_seen=2, loss_sum=1.5)
    data = checkpoint.to_bytes(state, "mine")
    read = checkpoint.from_bytes(data, "mine", 4)
    assert read is not None
    assert (read.steps, read.rows_seen, read.loss_sum) == (7, 2, 1.5)
    np.testing.assert_array_equal(read.square, state.square)
    assert checkpoint.from_bytes(data, "other", 4) is None
    assert checkpoint.from_bytes(data, "mine", 5) is None
    assert checkpoint.from_bytes(data[:-3], "mine", 4) is None
    assert checkpoint.from_bytes(b"no safetensors", "mine", 4) is None


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"epoch": 1}, "UNKNOWN_PARAMETER"),
        ({"epochs": 0}, "BAD_NUMBER"),
        ({"epochs": 1.5}, "BAD_NUMBER"),
        ({"learning_rate": float("nan")}, "BAD_NUMBER"),
        ({"seed": True}, "BAD_NUMBER"),
    ],
)
def test_bad_training_parameters(
    store: MemoryStore, client: Client, data: InputRef, parameters: dict, code: str
) -> None:
    with pytest.raises(InputError) as caught:
        do(store, client, WorkKind.TRAINING, (data,), parameters, "bad")
    assert caught.value.code == code


@pytest.mark.parametrize(
    "columns",
    [
        {"id": [1, 2], "label": [1, 2]},
        {"id": [1, 1], "label": [1, 2], "pixels": [bytes(784)] * 2},
        {"id": [1, 2], "label": [1, 12], "pixels": [bytes(784)] * 2},
        {"id": [1, 2], "label": [1, 2], "pixels": [bytes(784), bytes(783)]},
        {"id": [], "label": [], "pixels": []},
    ],
)
def test_malformed_digits_are_refused(columns: dict) -> None:
    with pytest.raises(InputError) as caught:
        decode(read_table(from_columns(columns)).to_pandas(), "digits@v1")
    assert caught.value.code == "DATA_MALFORMED"


def test_the_held_out_fifth_is_stable() -> None:
    held_out = [row for row in range(5000) if is_held_out(row)]
    assert 900 < len(held_out) < 1100
    assert held_out[:3] == [row for row in range(100) if is_held_out(str(row))][:3]


def test_models_come_from_known_parts_only() -> None:
    weights = flat(build(architecture((4,))))
    assert weights.equal(flat(build(architecture((4,))))) is False
    assert initial_weights(architecture((4,)), 5).equal(initial_weights(architecture((4,)), 5))
    for document in (b"{", b"{}", b'{"format":1,"architecture":{"family":"cnn"}}', b'{"format":2,"architecture":{}}'):
        with pytest.raises(InputError) as caught:
            load_model(document, b"")
        assert caught.value.code == "MODEL_MALFORMED"
    described = json.dumps({"format": 1, "architecture": architecture((4,)), "training": {}}).encode()
    with pytest.raises(InputError) as caught:
        load_model(described, b"not weights")
    assert caught.value.code == "MODEL_MALFORMED"


# --- evaluation ---------------------------------------------------------------------------------------------------


def test_evaluation_passes_its_gate_or_says_why(
    store: MemoryStore, client: Client, data: InputRef, model: InputRef
) -> None:
    result, _ = do(
        store, client, WorkKind.EVALUATION, (data, model), {"thresholds": {"accuracy": 0.5, "macro_f1": 0.5}}, "e1"
    )
    assert result.metrics["gate_passed"] == 1.0
    assert result.detail["reasons"] == []
    inputs = (data, model, in_role(model, "champion"))
    thresholds = {"accuracy": 2.0, "calibration_error": 0.0}
    failed, _ = do(store, client, WorkKind.EVALUATION, inputs, {"thresholds": thresholds}, "e2")
    assert failed.metrics["gate_passed"] == 0.0
    assert [(reason["code"], reason["metric"]) for reason in failed.detail["reasons"]] == [
        ("BELOW_THRESHOLD", "accuracy"),
        ("ABOVE_THRESHOLD", "calibration_error"),
    ]
    report = json.loads(output(store, "report.json", "e2"))
    assert report["champion"]["accuracy"] == report["model"]["accuracy"] == failed.metrics["champion_accuracy"]
    assert sum(map(sum, report["model"]["confusion"])) == failed.metrics["rows_held_out"]
    with pytest.raises(InputError, match="UNKNOWN_THRESHOLD"):
        do(store, client, WorkKind.EVALUATION, inputs, {"thresholds": {"f2": 1}}, "e3")


def test_measures_by_hand() -> None:
    scores = np.array([[0.95, 0.05, 0.0], [0.65, 0.35, 0.0], [0.15, 0.85, 0.0], [0.25, 0.75, 0.0]], np.float32)
    measures = measure(scores, np.array([0, 1, 1, 1]))
    assert measures.accuracy == 0.75
    assert measures.recall == (1.0, pytest.approx(2 / 3), None)
    assert measures.worst_recall == pytest.approx(2 / 3)
    assert measures.macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert measures.confusion == ((1, 0, 0), (1, 2, 0), (0, 0, 0))
    # Each in a bin of its own: 0.95 right, 0.65 wrong, 0.85 right, 0.75 right.
    assert measures.calibration_error == pytest.approx((0.05 + 0.65 + 0.15 + 0.25) / 4, abs=1e-6)


def test_a_model_below_the_champion_does_not_pass() -> None:
    model = Measures(10, 0.8, 0.8, 0.0, (0.8,), ((8,),))
    champion = Measures(10, 0.9, 0.9, 0.0, (0.9,), ((9,),))
    assert [reason["code"] for reason in gate(model, {}, champion, 0.05)] == ["WORSE_THAN_CHAMPION"]
    assert gate(model, {}, champion, 0.11) == []
    assert gate(champion, {}, model, 0.0) == []


# --- inference ----------------------------------------------------------------------------------------------------


def test_inference_predicts_every_row_once_and_resumes(
    store: MemoryStore, client: Client, data: InputRef, model: InputRef
) -> None:
    parameters = {"partition_rows": 70}
    whole, _ = do(store, client, WorkKind.BATCH_INFERENCE, (data, model), parameters, "i1")
    assert whole.units_done == 300
    assert len(whole.outputs) == 5
    table = read_table(output(store, "predictions-00000.parquet", "i1"))
    assert table.column_names == ["id", "label_predicted", "probability"]
    assert table["id"].to_pylist() == list(range(70))

    def die(done: float, total: float, message: str) -> None:
        if done >= 140:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        do(store, client, WorkKind.BATCH_INFERENCE, (data, model), parameters, "i2", progress=die)
    resumed, _ = do(store, client, WorkKind.BATCH_INFERENCE, (data, model), parameters, "i2", attempt=2)
    assert resumed.metrics["partitions_resumed"] == 2
    assert resumed.units_done == 300 - 140
    assert resumed.outputs == whole.outputs


def test_kept_partitions_of_another_cut_are_not_used(
    store: MemoryStore, client: Client, data: InputRef, model: InputRef
) -> None:
    do(store, client, WorkKind.BATCH_INFERENCE, (data, model), {"partition_rows": 100}, "i3")
    again, _ = do(store, client, WorkKind.BATCH_INFERENCE, (data, model), {"partition_rows": 150}, "i3", attempt=2)
    assert again.metrics["partitions_resumed"] == 0
    same, _ = do(store, client, WorkKind.BATCH_INFERENCE, (data, model), {"partition_rows": 150}, "i3", attempt=3)
    assert same.metrics["partitions_resumed"] == 2
    assert same.units_done == 0


# --- embedding ----------------------------------------------------------------------------------------------------


def test_only_what_changed_is_embedded(store: MemoryStore, client: Client) -> None:
    before = {"a": "A parser of dates.", "b": "Sorts a list in place.", "c": "Opens a socket."}
    after = {"a": "A parser of dates.", "b": "Sorts a list, stably.", "d": "Computes a checksum."}
    first_ref = put_version(store, "docs", "v1", {"part-00000.parquet": documents(before)})
    first, _ = do(store, client, WorkKind.EMBEDDING_REFRESH, (first_ref,), {}, "d1")
    assert (first.metrics["embedded"], first.metrics["unchanged"], first.metrics["removed"]) == (3, 0, 0)
    hashes = put_version(store, "h", "v1", {"documents-00000.parquet": output(store, "documents-00000.parquet", "d1")})
    second_ref = put_version(store, "docs", "v2", {"part-00000.parquet": documents(after)})
    inputs = (second_ref, in_role(hashes, "vectors"))
    second, _ = do(store, client, WorkKind.EMBEDDING_REFRESH, inputs, {"batch_rows": 1}, "d2")
    assert (second.metrics["embedded"], second.metrics["unchanged"], second.metrics["removed"]) == (2, 1, 1)
    assert second.units_done == 2
    table = read_table(output(store, "vectors-00000.parquet", "d2"))
    assert table["doc_id"].to_pylist() == ["b", "d"]
    vectors = np.array(table["vector"].to_pylist())
    assert vectors.shape == (2, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert json.loads(output(store, "removed.json", "d2")) == ["c"]
    again, _ = do(store, client, WorkKind.EMBEDDING_REFRESH, inputs, {"batch_rows": 1}, "d2", attempt=2)
    assert again.units_done == 0
    assert again.outputs == second.outputs


def test_nothing_changed_embeds_nothing(store: MemoryStore, client: Client) -> None:
    data = documents({"a": "A parser of dates."})
    ref = put_version(store, "same", "v1", {"part-00000.parquet": data})
    result, _ = do(store, client, WorkKind.EMBEDDING_REFRESH, (ref, in_role(ref, "vectors")), {}, "d3")
    assert result.metrics == {"embedded": 0, "unchanged": 1, "removed": 0, "docs_per_s": 0}
    assert [item.path for item in result.outputs] == ["documents-00000.parquet", "removed.json"]


# --- probe --------------------------------------------------------------------------------------------------------


def test_the_probe_returns_sleeps_or_fails(store: MemoryStore, client: Client) -> None:
    result, digest = do(store, client, WorkKind.PROBE, run_id="p1")
    assert (result.units_done, result.outputs, result.detail) == (1.0, (), {})
    assert len(digest) == 64
    slept, _ = do(store, client, WorkKind.PROBE, parameters={"sleep_s": 0.01}, run_id="p2")
    assert len(slept.detail["worker_pids"]) == 2
    with pytest.raises(UnavailableError, match="PROBE_FAILED"):
        do(store, client, WorkKind.PROBE, parameters={"fail": True}, run_id="p3")


def test_a_lease_without_workers_is_said_so(store: MemoryStore, client: Client) -> None:
    job, _ = local_job(SiteWork("gone", 1, WorkKind.PROBE, (), {"sleep_s": 0.1}), store, client)
    gone = type(job)(**{name: getattr(job, name) for name in job.__slots__} | {"workers": ("inproc://nowhere",)})
    from tasks.probe import run

    with pytest.raises(HeadraceError) as caught:
        run(gone)
    assert caught.value.code == "WORKERS_LOST"


def test_rows_are_taken_together() -> None:
    taken = Digits(np.array([1, 2]), np.zeros((2, 784), np.uint8), None).take(np.array([1]))
    assert (taken.ids.tolist(), taken.labels) == ([2], None)

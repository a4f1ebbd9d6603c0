"""Batch inference: partitions of the data, each predicted once, whatever dies in between.

A finished partition is kept at once under a name that is bound to the data, the model and the cut, so that a later
attempt takes it over instead of predicting it again, and never one of other data. A unit of work is one row.
"""

from __future__ import annotations

import numpy as np

from infra.core.canonical import digest
from tasks.inference.scoring import read_model, score_partitions
from tasks.parameters import Parameters
from tasks.parquet import from_columns, read_table
from tasks.site_job import SiteJob, SiteResult
from tasks.training.digits import Digits, decode


def run(job: SiteJob) -> SiteResult:
    """Predict every row of ``data`` with ``model`` and write ``predictions-*.parquet``.

    The columns are ``id``, ``label_predicted`` (0 to 9) and ``probability`` (that of the predicted label).

    Raises:
        InputError: For parameters, data or a model that cannot be used.
        UnavailableError: ``WORKERS_LOST``; finished partitions are kept.
    """
    rows_each = Parameters(job.work, ("partition_rows",)).whole("partition_rows", 1000, 1, 1_000_000)
    refs = {ref.role: ref for ref in job.work.inputs}
    data = refs["data"]
    digits = decode(job.inputs.frame("data"), f"{data.name}@{data.version}", labelled=False)
    model = read_model(job.inputs, "model")
    cut = digest([data.manifest_sha256, refs["model"].manifest_sha256, rows_each])[:16]
    partitions = {
        f"{cut}-{index:05d}": digits.take(np.arange(start, min(start + rows_each, len(digits))))
        for index, start in enumerate(range(0, len(digits), rows_each))
    }
    finished = {name: part for name, part in job.checkpoints.parts() if name in partitions}
    resumed = len(finished)
    rows_done = rows_resumed = sum(len(partitions[name]) for name in finished)
    missing = ((name, part.pixels) for name, part in partitions.items() if name not in finished)
    for name, scores in score_partitions(job, model, missing):
        finished[name] = _as_parquet(partitions[name], scores)
        job.checkpoints.save_part(name, finished[name])
        rows_done += len(partitions[name])
        job.progress(rows_done, len(digits), f"{len(finished)} of {len(partitions)} partitions")
    outputs = tuple(
        job.outputs.write(f"predictions-{index:05d}.parquet", finished[name]) for index, name in enumerate(partitions)
    )
    tables = [read_table(finished[name]) for name in partitions]
    predicted = np.concatenate([table["label_predicted"].to_numpy() for table in tables])
    probability = np.concatenate([table["probability"].to_numpy() for table in tables])
    return SiteResult(
        units_done=float(len(digits) - rows_resumed),
        metrics={
            "rows": float(len(digits)),
            "mean_probability": float(probability.mean()),
            "partitions": float(len(partitions)),
            "partitions_resumed": float(resumed),
        },
        outputs=outputs,
        detail={"predicted_by_label": np.bincount(predicted, minlength=10).tolist()},
    )


def _as_parquet(part: Digits, scores: np.ndarray) -> bytes:
    best = scores.argmax(axis=1)
    return from_columns(
        {
            "id": part.ids.tolist(),
            "label_predicted": best.astype(np.int64),
            "probability": scores[np.arange(len(best)), best].astype(np.float32),
        }
    )

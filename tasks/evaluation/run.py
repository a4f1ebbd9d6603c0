"""Evaluation: a model, and the champion if there is one, on the rows that no training has seen.

A unit of work is one row of the data version, so that units can be told from the size of the data alone; the held-out
fifth of them is scored.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from infra.core.canonical import canonical, plain
from tasks.evaluation.measures import Measures, check_thresholds, gate, measure
from tasks.inference.scoring import read_model, score_partitions
from tasks.parameters import Parameters
from tasks.site_job import InputRef, SiteJob, SiteResult
from tasks.training.digits import Digits, decode, split

_BLOCK_ROWS = 2000


def run(job: SiteJob) -> SiteResult:
    """Measure ``model`` (and ``champion``) on the held-out rows of ``data`` and write ``report.json``.

    Raises:
        InputError: For parameters, data or a model that cannot be used.
        UnavailableError: ``WORKERS_LOST``.
    """
    parameters = Parameters(job.work, ("thresholds", "champion_tolerance"))
    thresholds = check_thresholds(parameters.mapping("thresholds"))
    tolerance = parameters.number("champion_tolerance", 0.0)
    refs = {ref.role: ref for ref in job.work.inputs}
    where = f"{refs['data'].name}@{refs['data'].version}"
    digits = decode(job.inputs.frame("data"), where)
    _, holdout = split(digits, where)
    assert holdout.labels is not None, "evaluation data is labelled"
    roles = ["model", *(["champion"] if job.inputs.has("champion") else [])]
    measured: dict[str, Measures] = {}
    for done, role in enumerate(roles, start=1):
        measured[role] = measure(_scores(job, role, holdout), holdout.labels)
        job.progress(len(digits) * done / len(roles), len(digits), f"{role}: {measured[role].accuracy:.3f} accurate")
    model, champion = measured["model"], measured.get("champion")
    reasons = gate(model, thresholds, champion, tolerance)
    report = {
        "data": _named(refs["data"]),
        "model": {**_named(refs["model"]), **_as_json(model)},
        "champion": {**_named(refs["champion"]), **_as_json(champion)} if champion is not None else None,
        "thresholds": thresholds,
        "champion_tolerance": tolerance,
        "gate_passed": not reasons,
        "reasons": reasons,
    }
    metrics = {
        "accuracy": model.accuracy,
        "macro_f1": model.macro_f1,
        "worst_recall": model.worst_recall,
        "calibration_error": model.calibration_error,
        "rows_held_out": float(model.rows),
        "gate_passed": float(not reasons),
    }
    if champion is not None:
        metrics["champion_accuracy"] = champion.accuracy
    return SiteResult(
        units_done=float(len(digits)),
        metrics=metrics,
        outputs=(job.outputs.write("report.json", canonical(report)),),
        detail={"confusion": plain(model.confusion), "recall": plain(model.recall), "reasons": reasons},
    )


def _scores(job: SiteJob, role: str, holdout: Digits) -> np.ndarray:
    starts = range(0, len(holdout), _BLOCK_ROWS)
    blocks = {f"{role}-{start:08d}": holdout.pixels[start : start + _BLOCK_ROWS] for start in starts}
    scored = dict(score_partitions(job, read_model(job.inputs, role), blocks.items()))
    return np.concatenate([scored[name] for name in blocks])


def _named(ref: InputRef) -> dict[str, Any]:
    return {"name": ref.name, "version": ref.version, "manifest_sha256": ref.manifest_sha256}


def _as_json(measures: Measures) -> dict[str, Any]:
    return {**asdict(measures), "worst_recall": measures.worst_recall}

"""Evaluate a model against thresholds and the champion."""

from __future__ import annotations

from typing import Any

from infra.core.workload import WorkKind
from tasks.entry import entry_flow
from tasks.models import find_model
from tasks.options import DatasetChoice, EvaluationChoices, PlacementOptions
from tasks.running import check_contract, run_placed, started_at


@entry_flow("evaluation", flow_run_name="evaluation of {model.name}@{model.version} for {options.tenant}")
def evaluation(
    dataset: DatasetChoice,
    model: DatasetChoice,
    options: PlacementOptions,
    evaluation: EvaluationChoices = EvaluationChoices(),
) -> dict[str, Any]:
    """Score the model on the held-out part of the data; its gates compare with thresholds and the champion.

    Args:
        dataset: What to score on.
        model: The candidate.
        options: Who pays, by when, for how much, and where it may run.
        evaluation: Thresholds of the gates.
    """
    data = check_contract(dataset)
    roles = (("data", data.ref), *find_model(model, with_champion=True))
    refs = tuple(ref for _, ref in roles)
    request = options.request(WorkKind.EVALUATION, refs, data.rows, started_at(), evaluation, data.rows)
    return run_placed(request, roles, evaluation.parameters(), evaluation.report).as_dict()

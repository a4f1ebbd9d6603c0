"""Score a dataset with a published model, partition by partition."""

from __future__ import annotations

from typing import Any

from infra.core.workload import WorkKind
from tasks.entry import entry_flow
from tasks.models import find_model
from tasks.options import DatasetChoice, InferenceChoices, PlacementOptions
from tasks.running import check_contract, run_placed, started_at


@entry_flow("batch-inference", flow_run_name="inference on {dataset.name}@{dataset.version} for {options.tenant}")
def batch_inference(
    dataset: DatasetChoice,
    model: DatasetChoice,
    options: PlacementOptions,
    inference: InferenceChoices = InferenceChoices(),
) -> dict[str, Any]:
    """Predict for every row; finished partitions are kept, so that an interrupted run goes on where it was.

    Args:
        dataset: What to predict for.
        model: What to predict with.
        options: Who pays, by when, for how much, and where it may run.
        inference: Size of a partition and name of the result.
    """
    data = check_contract(dataset)
    roles = (("data", data.ref), *find_model(model))
    refs = tuple(ref for _, ref in roles)
    request = options.request(WorkKind.BATCH_INFERENCE, refs, data.rows, started_at(), inference, data.rows)
    return run_placed(request, roles, inference.parameters(), inference.predictions).as_dict()

"""Train a model on a dataset, at the place that residency, budget and deadline choose."""

from __future__ import annotations

from typing import Any

from infra.core.workload import WorkKind
from tasks.entry import entry_flow
from tasks.options import DatasetChoice, PlacementOptions, TrainingChoices
from tasks.running import check_contract, run_placed, started_at


@entry_flow("training", flow_run_name="training {dataset.name}@{dataset.version} for {options.tenant}")
def training(
    dataset: DatasetChoice,
    options: PlacementOptions,
    training: TrainingChoices = TrainingChoices(),
) -> dict[str, Any]:
    """Train, checkpointed and data-parallel over the site's devices, and publish the model.

    Args:
        dataset: What to learn from.
        options: Who pays, by when, for how much, and where it may run.
        training: The training's own choices.
    """
    data = check_contract(dataset)
    units = training.units(data.rows)
    request = options.request(WorkKind.TRAINING, (data.ref,), units, started_at(), training, data.rows)
    return run_placed(request, (("data", data.ref),), training.parameters(), training.model).as_dict()

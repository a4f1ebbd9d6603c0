"""The whole chain: contract → train → evaluate → promote → embed → infer, planned as a whole, placed stage by stage."""

from __future__ import annotations

from typing import Any

from infra.core.workload import WorkKind
from tasks.entry import entry_flow
from tasks.models import find_model, has_champion, promote_if_better, published_model
from tasks.options import (
    DatasetChoice,
    EmbeddingChoices,
    EvaluationChoices,
    InferenceChoices,
    PlacementOptions,
    TrainingChoices,
)
from tasks.pipelines import lifecycle_plan
from tasks.refreshing import refresh_table
from tasks.running import check_contract, run_placed, started_at


@entry_flow("model-lifecycle", flow_run_name="lifecycle of {training.model} for {options.tenant}")
def model_lifecycle(
    dataset: DatasetChoice,
    documents: DatasetChoice,
    options: PlacementOptions,
    training: TrainingChoices = TrainingChoices(),
    evaluation: EvaluationChoices = EvaluationChoices(),
    embedding: EmbeddingChoices = EmbeddingChoices(),
    inference: InferenceChoices = InferenceChoices(),
) -> dict[str, Any]:
    """Train and promote a model when it passes its gates, refresh the document vectors, score the data.

    Args:
        dataset: What to learn from and to predict for.
        documents: What to embed.
        options: Who pays, by when, for how much, and where it may run; deadline and budget hold for the whole chain.
        training, evaluation, embedding, inference: Each stage's own choices.
    """
    begun_at = started_at("train")
    data = check_contract(dataset)
    texts = check_contract(documents)
    plan = lifecycle_plan(data, texts, options, training, embedding, begun_at)

    request = options.request(WorkKind.TRAINING, (data.ref,), training.units(data.rows), begun_at)
    roles = (("data", data.ref),)
    trained = run_placed(request, roles, training.parameters(), training.model, "train", plan.share("train"))
    plan.end("train", trained)

    scored = (("data", data.ref), *find_model(published_model(trained), with_champion=True))
    request = options.request(WorkKind.EVALUATION, tuple(ref for _, ref in scored), data.rows, begun_at)
    share = plan.share("evaluate")
    evaluated = run_placed(request, scored, evaluation.parameters(), evaluation.report, "evaluate", share)
    plan.end("evaluate", evaluated)
    promoted = promote_if_better(trained, evaluated)

    embedded = refresh_table(texts, options, embedding, begun_at, "embed", plan.share("embed"))
    plan.end("embed", embedded)
    stages = {"train": trained, "evaluate": evaluated, "embed": embedded}
    if promoted or has_champion(training.model):
        served = (("data", data.ref), *find_model(DatasetChoice(name=training.model, version="champion")))
        request = options.request(WorkKind.BATCH_INFERENCE, tuple(ref for _, ref in served), data.rows, begun_at)
        share = plan.share("infer")
        stages["infer"] = run_placed(request, served, inference.parameters(), inference.predictions, "infer", share)

    return {"promoted": promoted, **{stage: result.as_dict() for stage, result in stages.items()}}

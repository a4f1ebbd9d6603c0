"""What a plan leaves to one stage, and what remains of a pipeline once some stages have ended.

A stage of a planned pipeline is placed by the decision of a single run, within its share: it may use all the time and money
that the pipeline has beyond what the plan needs for the stages after and beside it, and no more. So whatever it does, the
others can still be placed as planned, and they are planned again with what is left then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from infra.core.placement.pipelines.plan import PipelineDecision, PipelineRequest, PipelineStage
from infra.core.workload import DatasetRef, WorkloadRequest


@dataclass(frozen=True, slots=True)
class Share:
    """Limits of one stage; ``None`` where the pipeline has none."""

    deadline_at: float | None = None
    budget_micro: int | None = None

    def narrow(self, request: WorkloadRequest) -> WorkloadRequest:
        """The request within this share and within its own limits."""
        deadlines = [at for at in (self.deadline_at, request.deadline_at) if at is not None]
        budgets = [micro for micro in (self.budget_micro, request.budget_micro) if micro is not None]
        return replace(request, deadline_at=min(deadlines, default=None), budget_micro=min(budgets, default=None))


def share_of(request: PipelineRequest, decision: PipelineDecision, stage: str, available_micro: int) -> Share:
    """The stage's share of a possible plan.

    Its deadline is the pipeline's, less the longest time that the plan has between its end and the end of a stage that
    comes after it. Its budget is what the pipeline and the tenant have, less what the plan needs for all other stages.

    Args:
        available_micro: What the tenant has left.
    """
    placed = {each.stage: each for each in decision.stages}
    own = placed[stage]
    after = _after(request, stage)
    tail_s = max((placed[name].finish_high_at - own.finish_high_at for name in after), default=0.0)
    others_micro = decision.needed_micro - own.needed_micro
    room_micro = available_micro if request.budget_micro is None else min(request.budget_micro, available_micro)
    limited = request.budget_micro is not None or others_micro > 0
    return Share(
        deadline_at=None if request.deadline_at is None else request.deadline_at - tail_s,
        budget_micro=room_micro - others_micro if limited else None,
    )


def _after(request: PipelineRequest, stage: str) -> frozenset[str]:
    """Stages that come after this one, directly or not."""
    found: set[str] = set()
    newest = {stage}
    while newest:
        newest = {each.name for each in request.stages if any(item.stage in newest for item in each.inputs)} - found
        found |= newest
    return frozenset(found)


def remaining(
    request: PipelineRequest, ended: Mapping[str, DatasetRef | None], spent_micro: int
) -> PipelineRequest | None:
    """The pipeline without the stages that have ended; ``None`` when nothing is left.

    Args:
        ended: What each of them published; stages that read it now read that version.
        spent_micro: What all stages were charged so far.
    """
    stages = tuple(_without(stage, ended) for stage in request.stages if stage.name not in ended)
    if not stages:
        return None
    budget_micro = None if request.budget_micro is None else max(0, request.budget_micro - spent_micro)
    return replace(request, stages=stages, budget_micro=budget_micro)


def _without(stage: PipelineStage, ended: Mapping[str, DatasetRef | None]) -> PipelineStage:
    read = (ended[item.stage] for item in stage.inputs if item.reads and item.stage in ended)
    new = tuple(ref for ref in read if ref is not None and ref not in stage.request.datasets)
    return replace(
        stage,
        request=replace(stage.request, datasets=(*stage.request.datasets, *new)),
        inputs=tuple(item for item in stage.inputs if item.stage not in ended),
    )

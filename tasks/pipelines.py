"""A flow of several runs, planned as a whole before its first one and again before each that follows.

The plan decides nothing by itself: each run is placed by its own decision, within the share that the plan leaves it, on
the world as it then is. A pipeline that cannot be finished is refused before anything is spent.
"""

from __future__ import annotations

from dataclasses import replace

from prefect import task

from infra.core.placement.decision import Outcome
from infra.core.placement.pipelines.decide import (
    PipelineDecision,
    PipelineRequest,
    PipelineStage,
    StageInput,
    decide_pipeline,
)
from infra.core.placement.pipelines.share import Share, remaining, share_of
from infra.core.placement.snapshot import Snapshot
from infra.core.units import period_of
from infra.core.workload import DatasetRef, WorkKind, WorkloadRequest
from infra.render.prose import changes_text
from infra.wiring import ControlPlane, control_plane
from tasks import artifacts
from tasks.documents import changed_documents
from tasks.entry import EndedError, flow_run_id
from tasks.options import EmbeddingChoices, PlacementOptions, TrainingChoices
from tasks.running import CheckedData, RunResult

EXPECTED_MODEL_BYTES = 10_000_000
"""Size of a model of which no version was published yet."""


class PipelinePlan:
    """The plan of one flow run, kept up as its stages end.

    Args:
        request: All stages, with the deadline and the budget of the whole.
        parent: Id of the flow run: its stages are the runs ``parent:stage``.
    """

    def __init__(self, request: PipelineRequest, parent: str) -> None:
        self._request, self._parent = request, parent
        self._ended: dict[str, DatasetRef | None] = {}

    def share(self, stage: str) -> Share:
        """Plan what is left of the pipeline and give the stage its share.

        A stage that is under way or done is not planned again.

        Raises:
            EndedError: ``INFEASIBLE`` when nothing has run yet and the whole pipeline cannot be placed.
        """
        control = control_plane()
        run_id = f"{self._parent}:{stage}"
        attempts = control.database.runs.attempts(run_id)
        if control.database.runs.publication(run_id) or any(not attempt.state.closed for attempt in attempts):
            return Share()
        spent = self.spent_micro(control)
        rest = remaining(self._request, self._ended, sum(spent.values()))
        assert rest is not None, "the stage is left"
        decision, snapshot = plan_pipeline(rest)
        if decision.outcome is Outcome.INFEASIBLE:
            if not self._ended and control.database.runs.run(run_id) is None:
                binding = ", ".join(decision.binding)
                ways = [changes_text(each.changes, snapshot.now_at) for each in decision.counterfactuals]
                remedy = "; ".join(ways) or "no change of its deadline or budget would help"
                raise EndedError("Infeasible", "INFEASIBLE", f"stands in the way: {binding}", rest.name, remedy)
            # The world has changed under a pipeline that has begun: the stage does what it can with what is left.
            return Share(rest.deadline_at, _plus(rest.budget_micro, spent[stage]))
        available = next(
            balance.available_micro
            for balance in snapshot.balances
            if balance.tenant == rest.tenant and balance.period == period_of(snapshot.now_at)
        )
        share = share_of(rest, decision, stage, available)
        # The stage's own earlier attempts are taken off its budget when it is placed.
        return replace(share, budget_micro=_plus(share.budget_micro, spent[stage]))

    def end(self, stage: str, result: RunResult | None) -> None:
        """The stage has ended, with a result or without having been needed."""
        self._ended[stage] = None if result is None else result.published

    def spent_micro(self, control: ControlPlane) -> dict[str, int]:
        """What each stage was charged so far."""
        charged = {
            stage.name: [attempt.charged for attempt in control.database.runs.attempts(f"{self._parent}:{stage.name}")]
            for stage in self._request.stages
        }
        return {name: sum(parts.total_micro for parts in each if parts is not None) for name, each in charged.items()}


def _plus(budget_micro: int | None, spent_micro: int) -> int | None:
    return None if budget_micro is None else budget_micro + spent_micro


@task(name="plan pipeline", persist_result=False)
def plan_pipeline(request: PipelineRequest) -> tuple[PipelineDecision, Snapshot]:
    """Decide where all stages that are left go, and show the plan in the UI."""
    refs = sorted({(ref.name, ref.version) for stage in request.stages for ref in stage.request.datasets})
    snapshot = control_plane().snapshot(tuple(refs))
    decision = decide_pipeline(request, snapshot)
    artifacts.pipeline(decision, request, snapshot)
    return decision, snapshot


def lifecycle_plan(
    data: CheckedData,
    texts: CheckedData,
    options: PlacementOptions,
    training: TrainingChoices,
    embedding: EmbeddingChoices,
    begun_at: float,
) -> PipelinePlan:
    """The plan of a model's life: train → evaluate → embed → infer, in the order in which the flow takes them."""
    control = control_plane()
    newest = control.database.catalog.find(training.model, "latest")
    size = EXPECTED_MODEL_BYTES if newest is None else newest.version.bytes
    changes = changed_documents(texts.ref, embedding.table)

    def stage(
        name: str, kind: WorkKind, refs: tuple[DatasetRef, ...], units: float, *inputs: StageInput
    ) -> PipelineStage:
        return PipelineStage(name, _unlimited(options.request(kind, refs, units, begun_at)), inputs)

    model = StageInput("train", size)
    limits = options.request(WorkKind.TRAINING, (), 0, begun_at)
    request = PipelineRequest(
        name=f"lifecycle of {training.model}",
        tenant=options.tenant,
        stages=(
            stage("train", WorkKind.TRAINING, (data.ref,), training.units(data.rows)),
            stage("evaluate", WorkKind.EVALUATION, (data.ref,), data.rows, model),
            stage(
                "embed",
                WorkKind.EMBEDDING_REFRESH,
                tuple(ref for _, ref in changes.roles),
                changes.count,
                StageInput("evaluate", reads=False),
            ),
            stage("infer", WorkKind.BATCH_INFERENCE, (data.ref,), data.rows, model, StageInput("embed", reads=False)),
        ),
        deadline_at=limits.deadline_at,
        budget_micro=limits.budget_micro,
        kept_at=control.settings.control_site,
    )
    return PipelinePlan(request, str(flow_run_id()))


def _unlimited(request: WorkloadRequest) -> WorkloadRequest:
    """The deadline and the budget are the pipeline's."""
    return replace(request, deadline_at=None, budget_micro=None)

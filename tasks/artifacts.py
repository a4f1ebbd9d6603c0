"""What a person sees of a run in the Prefect UI. Artifacts inform; nothing is ever decided from them."""

from __future__ import annotations

import base64
from typing import Any

from prefect import runtime
from prefect.artifacts import create_image_artifact, create_link_artifact, create_markdown_artifact

from infra.core.lifecycle import AttemptState
from infra.core.placement.decision import CostParts
from infra.core.placement.pipelines.decide import PipelineDecision, PipelineRequest
from infra.core.placement.snapshot import Snapshot
from infra.core.units import usd
from infra.documents import decision_from_json
from infra.ports import AttemptRecord, Publication
from infra.render.markdown import decision_markdown
from infra.render.picture import decision_svg
from infra.render.pipeline import pipeline_markdown
from infra.render.pipeline_picture import pipeline_svg
from infra.render.prose import SIMULATED, changes_text, rung_name, span
from infra.wiring import ControlPlane
from tasks.contracts import Quarantined
from tasks.informing import informs
from tasks.placement import Placement
from tasks.plots import plot

_PARTS = ("compute_micro", "boot_micro", "egress_micro", "rework_micro")


def in_the_way(placement: Placement) -> str:
    """The codes of what stands in the way of an infeasible placement, of each rung that was tried."""
    if len(placement.steps) == 1:
        return ", ".join(placement.decision.binding)
    told = (f"{rung_name(step.request.rung)}: {', '.join(step.decision.binding)}" for step in placement.steps)
    return "; ".join(told)


def remedies(placement: Placement) -> list[str]:
    """What would make an infeasible placement feasible, one sentence each; of a ladder its last rung."""
    now_at = placement.snapshot.now_at
    return [changes_text(each.changes, now_at) for each in placement.decision.counterfactuals]


@informs
def decision(run_id: str, placement: Placement) -> None:
    """Table of the candidates with reasons, costs and times, and its picture."""
    text = decision_markdown(placement.decision, placement.request, placement.snapshot, placement.steps)
    key = _key("decision")
    create_markdown_artifact(text, key=key, description=f"Where run {run_id} goes, and why")
    picture = decision_svg(placement.decision, placement.request, placement.snapshot).encode()
    create_image_artifact(
        "data:image/svg+xml;base64," + base64.b64encode(picture).decode(),
        key=f"{key}-picture",
        description="Cost by part and time line of each candidate",
    )


@informs
def pipeline(plan: PipelineDecision, request: PipelineRequest, snapshot: Snapshot) -> None:
    """Table of the stages with costs, times and what moves, and its time line."""
    key = _key("pipeline")
    create_markdown_artifact(
        pipeline_markdown(plan, request, snapshot), key=key, description=f"Where the stages of {request.name} go"
    )
    create_image_artifact(
        "data:image/svg+xml;base64," + base64.b64encode(pipeline_svg(plan, request, snapshot).encode()).decode(),
        key=f"{key}-picture",
        description="Time line of all stages",
    )


@informs
def site_link(attempt: AttemptRecord) -> None:
    """A link from the entry run to the site's run."""
    base = (runtime.flow_run.ui_url or "").rsplit("/", 1)[0]
    if base and attempt.child_run_id:
        create_link_artifact(
            f"{base}/{attempt.child_run_id}",
            link_text=f"attempt {attempt.attempt} at {attempt.site}",
            key=_key("site-run"),
            description=f"The run of attempt {attempt.attempt} in the pool of {attempt.site}, with its progress",
        )


@informs
def quarantine(breach: Quarantined) -> None:
    """The breach: each rule that was broken, with the rows that broke it."""
    rows = [f"### {breach.name}@{breach.version} breaks its contract", "", *(f"- {line}" for line in breach.lines)]
    rows += ["", f"Quarantined at `{breach.uri}`."]
    create_markdown_artifact("\n".join(rows), key=_key("quarantine"), description="Why the version was quarantined")


@informs
def result(publication: Publication, detail: dict[str, Any]) -> None:
    """The published result's numbers and its plot."""
    rows = [f"### {publication.name or 'result'} {publication.version}", "", "| metric | value |", "| --- | ---: |"]
    rows += [f"| {name} | {value:.6g} |" for name, value in sorted(publication.metrics.items())]
    create_markdown_artifact("\n".join(rows), key=_key("result"), description=f"Published as {publication.uri}")
    picture = plot(detail)
    if picture is not None:
        url = "data:image/png;base64," + base64.b64encode(picture).decode()
        create_image_artifact(url, key=_key("result-plot"), description="Plot of the result")


@informs
def settlement(control: ControlPlane, run_id: str, attempt: AttemptRecord) -> None:
    """Estimate beside actual, by part."""
    record = control.database.runs.decisions(run_id)[-1]
    chosen = decision_from_json(record.decision_json).chosen
    estimated = chosen.cost if chosen is not None else CostParts()
    charged = attempt.charged or CostParts()
    how = "expired without a report" if attempt.state is AttemptState.EXPIRED else "settled"
    rows = [f"### Attempt {attempt.attempt} at {attempt.site}: {how}", ""]
    if control.site(attempt.site).simulated:
        rows += [f"> {SIMULATED}", ""]
    rows += ["| part | estimated | charged |", "| --- | ---: | ---: |"]
    for part in _PARTS:
        label = part.removesuffix("_micro")
        rows.append(f"| {label} | {usd(getattr(estimated, part))} | {usd(getattr(charged, part))} |")
    rows.append(f"| **all** | **{usd(estimated.total_micro)}** | **{usd(charged.total_micro)}** |")
    if chosen is not None and attempt.metered:
        actual_s = attempt.metered.get("machine_s", 0.0)
        rows += ["", f"Time: estimated {span(chosen.time.total_s)}, measured {span(actual_s)}."]
    create_markdown_artifact("\n".join(rows), key=_key("settlement"), description="What the attempt cost, by part")


def _key(what: str) -> str:
    return f"{what}-{str(runtime.flow_run.get_flow_name() or 'run').lower().replace('_', '-')}"

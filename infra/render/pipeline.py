"""The plan of a pipeline in words: for programs, for the terminal, and as Markdown for the artifact in Prefect's UI."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from infra.core.placement.decision import Outcome
from infra.core.placement.pipelines.decide import PipelineDecision, PipelineRequest
from infra.core.placement.pipelines.plan import StageByStage, StageMove, StagePlacement
from infra.core.placement.snapshot import Snapshot
from infra.core.units import BYTES_PER_GB, iso, usd_float
from infra.documents import answer, pipeline_answer
from infra.render.answer import change_answer, cost_answer, reason_answer, time_answer
from infra.render.markdown import escaped
from infra.render.prose import SIMULATED, changes_text, clock, code_text, money, reason_text, span

_STYLES = {Outcome.RUN: "green", Outcome.WAIT: "yellow", Outcome.INFEASIBLE: "red"}
_COLUMNS = ("Stage", "Site / offer", "Start", "Finish", "At the latest", "Cost", "Next best")


def pipeline_answer_of(decision: PipelineDecision, snapshot: Snapshot) -> dict[str, Any]:
    """Plain JSON values: dollars, ISO 8601 times, codes with parameters and their texts."""
    now_at, possible = snapshot.now_at, decision.outcome is not Outcome.INFEASIBLE
    compared = decision.stage_by_stage
    model = pipeline_answer.PipelineAnswer(
        outcome=decision.outcome,
        cost_usd=usd_float(decision.cost_micro) if possible else None,
        need_usd=usd_float(decision.needed_micro) if possible else None,
        wait_until=_iso(decision.wait_until_at),
        finish=_iso(decision.finish_at),
        finish_high=_iso(decision.finish_high_at),
        stages=tuple(_stage(stage) for stage in decision.stages),
        stage_by_stage=pipeline_answer.StageByStageAnswer(
            places=tuple(
                pipeline_answer.StagePlaceAnswer(stage=stage, site=site, offer=offer)
                for stage, site, offer in compared.offers
            ),
            stuck_at=compared.stuck_at or None,
            cost_usd=usd_float(compared.cost_micro),
            finish_high=iso(compared.finish_high_at),
        ),
        binding=decision.binding,
        blocked=tuple(
            pipeline_answer.BlockedStageAnswer(
                stage=blocked.stage,
                offers=tuple(
                    pipeline_answer.BlockedOfferAnswer(
                        site=site, offer=offer, reasons=tuple(reason_answer(item, now_at) for item in reasons)
                    )
                    for site, offer, reasons in blocked.offers
                ),
            )
            for blocked in decision.blocked
        ),
        counterfactuals=tuple(
            pipeline_answer.PipelineChangesAnswer(
                changes=tuple(change_answer(change, now_at) for change in each.changes),
                cost_usd=usd_float(each.cost_micro),
                finish_high=iso(each.finish_high_at),
            )
            for each in decision.counterfactuals
        ),
        proven=decision.proven,
        simulated=_is_simulated(decision, snapshot),
        decided_at=iso(now_at),
        engine=decision.engine,
    )
    return model.model_dump(mode="json")


def _iso(at: float | None) -> str | None:
    return None if at is None else iso(at)


def _stage(stage: StagePlacement) -> pipeline_answer.StageAnswer:
    other = stage.alternative
    return pipeline_answer.StageAnswer(
        stage=stage.stage,
        offer=answer.OfferAnswer(
            site=stage.site,
            pool=stage.pool,
            offer=stage.offer,
            purchase=stage.purchase,
            device=stage.device,
            devices=stage.devices,
        ),
        start=iso(stage.start_at),
        finish=iso(stage.finish_at),
        start_high=iso(stage.start_high_at),
        finish_high=iso(stage.finish_high_at),
        cost_usd=usd_float(stage.cost.total_micro),
        cost=cost_answer(stage.cost),
        need_usd=usd_float(stage.needed_micro),
        time=time_answer(stage.time),
        moves=tuple(_move(move) for move in stage.moves),
        residency=stage.residency,
        alternative=None
        if other is None
        else pipeline_answer.AlternativeAnswer(
            site=other.site, offer=other.offer, extra_usd=usd_float(other.extra_micro), later_s=other.later_s
        ),
    )


def _move(move: StageMove) -> pipeline_answer.MoveAnswer:
    return pipeline_answer.MoveAnswer(
        what=move.what,
        version=move.version,
        source=move.source,
        bytes=move.bytes,
        egress_usd=usd_float(move.egress_micro),
        transfer_s=move.transfer_s,
    )


def _is_simulated(decision: PipelineDecision, snapshot: Snapshot) -> bool:
    simulated = {site.name for site in snapshot.sites if site.simulated}
    return any(stage.site in simulated for stage in decision.stages)


def pipeline_outcome_text(decision: PipelineDecision, now_at: float) -> str:
    """The plan in one sentence."""
    if decision.outcome is Outcome.INFEASIBLE or decision.finish_at is None or decision.finish_high_at is None:
        binding = ", ".join(code_text(code) for code in decision.binding)
        at = f" ({', '.join(each.stage for each in decision.blocked)})" if decision.blocked else ""
        return f"Infeasible: {binding or 'there is no offer at all'}{at}."
    begin = "Start now"
    if decision.wait_until_at is not None:
        begin = f"Wait until {clock(decision.wait_until_at, now_at)} (in {span(decision.wait_until_at - now_at)})"
    ends = f"done by {clock(decision.finish_at, now_at)}, at the latest {clock(decision.finish_high_at, now_at)}"
    return f"{begin}: {len(decision.stages)} stages for {money(decision.cost_micro)} expected, {ends}."


def comparison_text(decision: PipelineDecision) -> str:
    """How the plan compares with placing one stage after the other."""
    compared: StageByStage = decision.stage_by_stage
    if compared.stuck_at:
        return f"Stage by stage: {compared.stuck_at} would find no place any more."
    saved_micro = compared.cost_micro - decision.cost_micro
    if decision.stages and saved_micro > 0:
        return f"Stage by stage: {money(compared.cost_micro)}, {money(saved_micro)} more."
    return f"Stage by stage: {money(compared.cost_micro)} as well."


def _cells(stage: StagePlacement, now_at: float) -> tuple[str, ...]:
    other = stage.alternative
    wait_s = stage.start_at - now_at
    return (
        stage.stage,
        f"{stage.site} / {stage.offer}",
        "now" if wait_s <= 0 else f"in {span(wait_s)}",
        clock(stage.finish_at, now_at),
        clock(stage.finish_high_at, now_at),
        money(stage.cost.total_micro),
        "none" if other is None else f"{other.site} / {other.offer} +{money(other.extra_micro)}",
    )


def _move_text(stage: StagePlacement, move: StageMove) -> str:
    what = f"{move.what}@{move.version}" if move.version else f"the result of {move.what}"
    size = f"{move.bytes / BYTES_PER_GB:,.3g} GB"
    return f"{stage.stage} reads {what} from {move.source}: {size}, {money(move.egress_micro)}, {span(move.transfer_s)}"


def _why_text(stage: StagePlacement) -> str:
    other = stage.alternative
    if other is None:
        return f"{stage.stage}: no other place, with the other stages where they are"
    when = f"{span(abs(other.later_s))} {'later' if other.later_s > 0 else 'earlier'}" if other.later_s else "as early"
    return f"{stage.stage}: next best {other.site}/{other.offer}, {money(other.extra_micro)} more, {when}"


def _blocked_lines(decision: PipelineDecision, now_at: float) -> list[str]:
    return [
        f"{blocked.stage}: {site}/{offer}: " + "; ".join(reason_text(item, now_at) for item in reasons)
        for blocked in decision.blocked
        for site, offer, reasons in blocked.offers
    ]


def _request_text(request: PipelineRequest, now_at: float) -> str:
    deadline = f"by {clock(request.deadline_at, now_at)}" if request.deadline_at is not None else "no deadline"
    budget = f"at most {money(request.budget_micro)}" if request.budget_micro is not None else "within its budget"
    return f"{request.name} for {request.tenant}: {len(request.stages)} stages, {deadline}, {budget}"


def pipeline_view(decision: PipelineDecision, request: PipelineRequest, snapshot: Snapshot) -> RenderableType:
    """Outcome, table of the stages, what moves, and when infeasible what stands in the way and what would help."""
    now_at, style = snapshot.now_at, _STYLES[decision.outcome]
    parts: list[RenderableType] = [
        Panel(Text(pipeline_outcome_text(decision, now_at), style=f"bold {style}"), border_style=style)
    ]
    if _is_simulated(decision, snapshot):
        parts.append(Text(SIMULATED, style="magenta"))
    parts += [Text(_request_text(request, now_at), style="dim"), Text(comparison_text(decision))]
    if decision.stages:
        table = Table(box=box.SIMPLE, pad_edge=False)
        for index, heading in enumerate(_COLUMNS[:-1]):
            table.add_column(heading, justify="left" if index < 2 else "right", overflow="fold", no_wrap=index != 1)
        for stage in decision.stages:
            table.add_row(*(Text(cell) for cell in _cells(stage, now_at)[:-1]))
        parts += [table, *(Text(_why_text(stage)) for stage in decision.stages)]
    parts += [Text(_move_text(stage, move)) for stage in decision.stages for move in stage.moves]
    if decision.counterfactuals:
        changes = Table(title="What would make it feasible", title_justify="left", box=box.SIMPLE)
        for heading in ("change", "cost", "done by at the latest"):
            changes.add_column(heading)
        for item in decision.counterfactuals:
            changes.add_row(
                Text(changes_text(item.changes, now_at)), money(item.cost_micro), clock(item.finish_high_at, now_at)
            )
        parts.append(changes)
    parts += [Text(line) for line in _blocked_lines(decision, now_at)]
    return Group(*parts)


def pipeline_markdown(decision: PipelineDecision, request: PipelineRequest, snapshot: Snapshot) -> str:
    """The same for the artifact in Prefect's UI."""
    now_at = snapshot.now_at
    lines = [f"## {escaped(pipeline_outcome_text(decision, now_at))}", ""]
    if _is_simulated(decision, snapshot):
        lines += [f"> {SIMULATED}", ""]
    lines += [escaped(_request_text(request, now_at)), "", escaped(comparison_text(decision)), ""]
    if decision.stages:
        lines += [f"| {' | '.join(_COLUMNS)} |", f"| {' | '.join('---' for _ in _COLUMNS)} |"]
        lines += [f"| {' | '.join(escaped(cell) for cell in _cells(stage, now_at))} |" for stage in decision.stages]
        lines.append("")
    lines += [f"- {escaped(_move_text(stage, move))}" for stage in decision.stages for move in stage.moves]
    for item in decision.counterfactuals:
        then = f"{money(item.cost_micro)}, done by {clock(item.finish_high_at, now_at)} at the latest"
        lines.append(f"- **{escaped(changes_text(item.changes, now_at))}** → {escaped(then)}")
    lines += [f"- {escaped(line)}" for line in _blocked_lines(decision, now_at)]
    lines += ["", f"Decided {iso(now_at)} by `{decision.engine}`. The deadline is held against the latest finish."]
    return "\n".join(lines) + "\n"

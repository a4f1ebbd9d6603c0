"""A decision in the terminal, as a Rich renderable."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from infra.core.placement.decision import Candidate, Decision, Outcome, Step
from infra.core.placement.snapshot import Snapshot
from infra.core.workload import WorkloadRequest
from infra.render.prose import (
    SIMULATED,
    chance,
    changes_text,
    clock,
    is_simulated,
    money,
    outcome_text,
    queue_text,
    reason_text,
    rung_text,
    span,
    step_text,
)

_STYLES = {Outcome.RUN: "green", Outcome.WAIT: "yellow", Outcome.INFEASIBLE: "red"}


def decision_view(
    decision: Decision, request: WorkloadRequest, snapshot: Snapshot, steps: Sequence[Step] = ()
) -> RenderableType:
    """Outcome, cost by part, table of candidates and, when infeasible, what would have to change.

    Args:
        steps: All rungs of the request's ladder that were tried, this decision's as the last.
    """
    now_at = snapshot.now_at
    style = _STYLES[decision.outcome]
    parts: list[RenderableType] = [
        Panel(Text(outcome_text(decision, now_at), style=f"bold {style}"), border_style=style)
    ]
    if is_simulated(decision, {site.name: site.simulated for site in snapshot.sites}):
        parts.append(Text(SIMULATED, style="magenta"))
    parts.append(Text(_request_text(request, now_at), style="dim"))
    if told := rung_text(request):
        parts.append(Text(told, style="bold"))
    if len(steps) > 1:
        parts += [Text(f"  {number}. {step_text(each, now_at)}") for number, each in enumerate(steps, 1)]
    if told := queue_text(decision, request, snapshot):
        parts.append(Text(told))
    if decision.chosen is not None:
        parts.append(Text(_cost_text(decision.chosen)))
        parts.append(Text(_time_text(decision.chosen, request)))
    if decision.counterfactuals:
        changes = Table(title="What would make it feasible", title_justify="left", box=box.SIMPLE)
        for heading in ("change", "then at", "cost", "done by"):
            changes.add_column(heading)
        for item in decision.counterfactuals:
            changes.add_row(
                Text(changes_text(item.changes, now_at)),
                Text(f"{item.site}/{item.offer}"),
                money(item.cost_micro),
                clock(item.finish_at, now_at),
            )
        parts.append(changes)
    parts += [_candidates(decision, now_at), _why_not(decision, now_at)]
    return Group(*parts)


def _request_text(request: WorkloadRequest, now_at: float) -> str:
    deadline = f"by {clock(request.deadline_at, now_at)}" if request.deadline_at is not None else "no deadline"
    budget = f"at most {money(request.budget_micro)}" if request.budget_micro is not None else "within its budget"
    datasets = ", ".join(str(ref) for ref in request.datasets) or "no dataset"
    return f"{request.kind.value} for {request.tenant}: {datasets}, {request.units:,.0f} units, {deadline}, {budget}"


def _cost_text(chosen: Candidate) -> str:
    cost = chosen.cost
    named = (
        ("compute", cost.compute_micro),
        ("boot", cost.boot_micro),
        ("egress", cost.egress_micro),
        ("rework", cost.rework_micro),
    )
    told = " + ".join(f"{name} {money(micro)}" for name, micro in named if micro)
    wait = f"; its wait is worth {money(chosen.wait_micro)}" if chosen.wait_micro else ""
    if not told:
        return f"cost: nothing{wait}"
    return f"cost: {told}; nine of ten at most {money(chosen.cost_p90_micro)}{wait}"


def _time_text(chosen: Candidate, request: WorkloadRequest) -> str:
    likely, high = chosen.time, chosen.time_high
    named = (
        ("wait", likely.wait_s, high.wait_s),
        ("hand-over", likely.handover_s, high.handover_s),
        ("boot", likely.boot_s, high.boot_s),
        ("transfer", likely.transfer_s, high.transfer_s),
        ("compute", likely.compute_s, high.compute_s),
        ("rework", likely.rework_s, high.rework_s),
    )
    told = " + ".join(
        f"{name} {span(part_s)}" + (f" (≤ {span(high_s)})" if high_s > part_s else "")
        for name, part_s, high_s in named
        if part_s > 0
    )
    return f"time: {told or 'none'}; in brackets what {chance(request.deadline_probability)} keep"


def _candidates(decision: Decision, now_at: float) -> Table:
    table = Table(title="Candidates", title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column("")
    table.add_column("site / offer", overflow="fold")
    for heading in ("start", "finish", "in time", "cost", "at most"):
        table.add_column(heading, justify="right", no_wrap=True)
    for candidate in decision.candidates:
        style = "bold" if candidate == decision.chosen else "" if candidate.feasible else "dim"
        mark = _mark(candidate, decision)
        table.add_row(mark, Text(f"{candidate.site}/{candidate.offer}"), *_figures(candidate, now_at), style=style)
    return table


def _why_not(decision: Decision, now_at: float) -> RenderableType:
    """Reasons below the table, on lines of their own: they are too long for a column."""
    lines = []
    for candidate in decision.candidates:
        for reason in candidate.reasons:
            told = (f"{candidate.site}/{candidate.offer}", "bold"), " ", (reason.code.value, "cyan"), " "
            lines.append(Text.assemble(f"{_mark(candidate, decision)} ", *told, reason_text(reason, now_at)))
    return Group(*lines)


def _mark(candidate: Candidate, decision: Decision) -> str:
    return "▶" if candidate == decision.chosen else "✓" if candidate.feasible else "✗"


def _figures(candidate: Candidate, now_at: float) -> tuple[str, ...]:
    if candidate.start_at is None or candidate.finish_at is None:
        return ("–",) * 5
    sure = candidate.deadline_probability
    wait_s = candidate.start_at - now_at
    return (
        "now" if wait_s <= 0 else f"in {span(wait_s)}",
        clock(candidate.finish_at, now_at),
        "–" if sure is None else chance(sure),
        money(candidate.cost.total_micro),
        money(candidate.cap_micro),
    )

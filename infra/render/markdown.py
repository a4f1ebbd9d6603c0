"""A decision as Markdown, for the artifact in Prefect's UI and for files."""

from __future__ import annotations

import re
from collections.abc import Sequence

from infra.core.placement.decision import Candidate, Decision, Step
from infra.core.placement.snapshot import Snapshot
from infra.core.units import iso
from infra.core.workload import WorkloadRequest
from infra.render.bars import price_bars, time_bars
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

_COLUMNS = ("Site / offer", "Verdict", "Why not", "Cost", "At most", "Start", "Finish", "Surely by", "In time")
"""Codes only under "Why not": Prefect's UI never wraps a cell, and a sentence would push the costs out of sight."""
_PARTS = ("Site / offer", "Compute", "Boot", "Egress", "Rework", "All", "Nine of ten")
_TIMES = ("Site / offer", "Wait", "Hand-over", "Boot", "Transfer", "Compute", "Rework", "All")

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def decision_markdown(
    decision: Decision, request: WorkloadRequest, snapshot: Snapshot, steps: Sequence[Step] = ()
) -> str:
    """Outcome, request, remedies when infeasible, the candidates with their reasons, and their cost by part.

    Args:
        steps: All rungs of the request's ladder that were tried, this decision's as the last.
    """
    now_at = snapshot.now_at
    lines = [f"## {escaped(outcome_text(decision, now_at))}", ""]
    if is_simulated(decision, {site.name: site.simulated for site in snapshot.sites}):
        lines += [f"> {SIMULATED}", ""]
    lines += [_request_line(request, now_at), ""]
    if told := rung_text(request):
        lines += [escaped(told), ""]
    if len(steps) > 1:
        lines += [
            "### Ladder",
            "",
            *(f"{number}. {escaped(step_text(each, now_at))}" for number, each in enumerate(steps, 1)),
        ]
        lines.append("")
    if told := queue_text(decision, request, snapshot):
        lines += [f"{escaped(told)}", ""]
    if decision.counterfactuals:
        lines += ["### What would make it feasible", ""]
        for item in decision.counterfactuals:
            then = f"{item.site}/{item.offer}, {money(item.cost_micro)}, done by {clock(item.finish_at, now_at)}"
            lines.append(f"- **{escaped(changes_text(item.changes, now_at))}** → {escaped(then)}")
        lines.append("")
    lines += ["### Candidates", "", *_table(_COLUMNS, [_cells(each, decision, now_at) for each in decision.candidates])]
    if any(candidate.reasons for candidate in decision.candidates):
        lines += ["", "### Why not", "", *_reasons(decision, now_at)]
    planned = [candidate for candidate in decision.candidates if candidate.start_at is not None]
    for heading, bars in (
        ("Time line", time_bars(decision, request, now_at)),
        ("Price and its spread", price_bars(decision)),
    ):
        if bars:
            lines += ["", f"### {heading}", "", "```text", *bars, "```"]
    if planned:
        lines += ["", "### Expected cost by part", "", *_table(_PARTS, [_costs(candidate) for candidate in planned])]
        lines += ["", "### Expected time by part", "", *_table(_TIMES, [_times(candidate) for candidate in planned])]
    lines += [
        "",
        f"Decided {iso(now_at)} by `{decision.engine}` under policy `{escaped(snapshot.policy.version[:19])}`.",
        f"Finish is the expected one. “Surely by” is kept with {chance(request.deadline_probability)}, as the request "
        "requires, and held against the deadline; “at most” is reserved. Behind ≤ stands each part at that probability.",
    ]
    return "\n".join(lines) + "\n"


def _request_line(request: WorkloadRequest, now_at: float) -> str:
    facts = [
        f"**{request.kind.value}** for {request.tenant}",
        ", ".join(str(ref) for ref in request.datasets) or "no dataset",
        f"{request.units:,.0f} units on {request.resources.devices} device(s)",
        f"deadline {clock(request.deadline_at, now_at)}" if request.deadline_at is not None else "no deadline",
        f"budget {money(request.budget_micro)}" if request.budget_micro is not None else "the tenant's budget",
    ]
    return " · ".join(fact if fact.startswith("**") else escaped(fact) for fact in facts)


def _table(header: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    return [_row(list(header)), _row(["---"] * len(header)), *map(_row, rows)]


def _name(candidate: Candidate) -> str:
    return escaped(f"{candidate.site} / {candidate.offer}")


def _cells(candidate: Candidate, decision: Decision, now_at: float) -> list[str]:
    name, verdict = _name(candidate), "✗"
    if candidate == decision.chosen:
        name, verdict = f"**{name}**", f"**{decision.outcome.value}**"
    elif candidate.feasible:
        verdict = "feasible"
    why = "<br>".join(f"`{reason.code.value}`" for reason in candidate.reasons)
    if candidate.start_at is None or candidate.finish_at is None or candidate.finish_high_at is None:
        return [name, verdict, why, *["–"] * 6]
    wait_s = candidate.start_at - now_at
    start = "now" if wait_s <= 0 else f"in {span(wait_s)}"
    cost, most = money(candidate.cost.total_micro), money(candidate.cap_micro)
    sure = candidate.deadline_probability
    finishes = [clock(candidate.finish_at, now_at), clock(candidate.finish_high_at, now_at)]
    return [name, verdict, why, cost, most, start, *finishes, "–" if sure is None else chance(sure)]


def _reasons(decision: Decision, now_at: float) -> list[str]:
    return [
        f"- **{_name(candidate)}**: " + "; ".join(escaped(reason_text(reason, now_at)) for reason in candidate.reasons)
        for candidate in decision.candidates
        if candidate.reasons
    ]


def _costs(candidate: Candidate) -> list[str]:
    cost = candidate.cost
    parts = (cost.compute_micro, cost.boot_micro, cost.egress_micro, cost.rework_micro, cost.total_micro)
    return [_name(candidate), *(money(part) for part in parts), money(candidate.cost_p90_micro)]


def _times(candidate: Candidate) -> list[str]:
    likely, high = candidate.time, candidate.time_high
    told = [
        span(part_s) + (f" ≤ {span(high_s)}" if high_s > part_s else "")
        for part_s, high_s in (
            (likely.wait_s, high.wait_s),
            (likely.handover_s, high.handover_s),
            (likely.boot_s, high.boot_s),
            (likely.transfer_s, high.transfer_s),
            (likely.compute_s, high.compute_s),
            (likely.rework_s, high.rework_s),
        )
    ]
    return [_name(candidate), *told, span(likely.total_s)]

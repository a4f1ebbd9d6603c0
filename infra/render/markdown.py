"""A decision as Markdown, for the artifact in Prefect's UI and for files."""

from __future__ import annotations

import re

from infra.core.placement.decision import Candidate, Decision
from infra.core.placement.snapshot import Snapshot
from infra.core.units import iso
from infra.core.workload import WorkloadRequest
from infra.render.prose import SIMULATED, changes_text, clock, is_simulated, money, outcome_text, reason_text, span

_COLUMNS = ("Site / offer", "Verdict", "Why not", "Cost", "At most", "Start", "Finish")
"""Codes only under "Why not": Prefect's UI never wraps a cell, and a sentence would push the costs out of sight."""
_PARTS = ("Site / offer", "Compute", "Boot", "Egress", "Rework", "All")

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def decision_markdown(decision: Decision, request: WorkloadRequest, snapshot: Snapshot) -> str:
    """Outcome, request, remedies when infeasible, the candidates with their reasons, and their cost by part."""
    now_at = snapshot.now_at
    lines = [f"## {escaped(outcome_text(decision, now_at))}", ""]
    if is_simulated(decision, {site.name: site.simulated for site in snapshot.sites}):
        lines += [f"> {SIMULATED}", ""]
    lines += [_request_line(request, now_at), ""]
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
    if planned:
        lines += ["", "### Expected cost by part", "", *_table(_PARTS, [_costs(candidate) for candidate in planned])]
    lines += [
        "",
        f"Decided {iso(now_at)} by `{decision.engine}` under policy `{escaped(snapshot.policy.version[:19])}`.",
        "Finish is the expected one; the deadline is held against the high estimate, and “at most” is reserved.",
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
    if candidate.start_at is None or candidate.finish_at is None:
        return [name, verdict, why, "–", "–", "–", "–"]
    wait_s = candidate.start_at - now_at
    start = "now" if wait_s <= 0 else f"in {span(wait_s)}"
    cost, most = money(candidate.cost.total_micro), money(candidate.cap_micro)
    return [name, verdict, why, cost, most, start, clock(candidate.finish_at, now_at)]


def _reasons(decision: Decision, now_at: float) -> list[str]:
    return [
        f"- **{_name(candidate)}**: " + "; ".join(escaped(reason_text(reason, now_at)) for reason in candidate.reasons)
        for candidate in decision.candidates
        if candidate.reasons
    ]


def _costs(candidate: Candidate) -> list[str]:
    cost = candidate.cost
    parts = (cost.compute_micro, cost.boot_micro, cost.egress_micro, cost.rework_micro, cost.total_micro)
    return [_name(candidate), *(money(part) for part in parts)]

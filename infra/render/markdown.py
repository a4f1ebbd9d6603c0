"""A decision as Markdown, for the artifact in Prefect's UI and for files."""

from __future__ import annotations

import re

from infra.core.placement.decision import Candidate, Decision
from infra.core.placement.snapshot import Snapshot
from infra.core.units import iso
from infra.core.workload import WorkloadRequest
from infra.render.prose import SIMULATED, changes_text, clock, is_simulated, money, outcome_text, reason_text, span

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def decision_markdown(decision: Decision, request: WorkloadRequest, snapshot: Snapshot) -> str:
    """Outcome, request, table of candidates and, when infeasible, what would have to change."""
    now_at = snapshot.now_at
    lines = [f"## {_escaped(outcome_text(decision, now_at))}", ""]
    if is_simulated(decision, {site.name: site.simulated for site in snapshot.sites}):
        lines += [f"> {SIMULATED}", ""]
    lines += [_request_line(request, now_at), ""]
    if decision.counterfactuals:
        lines += ["### What would make it feasible", ""]
        for item in decision.counterfactuals:
            then = f"{item.site}/{item.offer}, {money(item.cost_micro)}, done by {clock(item.finish_at, now_at)}"
            lines.append(f"- **{_escaped(changes_text(item.changes, now_at))}** → {_escaped(then)}")
        lines.append("")
    lines += ["### Candidates", ""]
    header = ["Site / offer", "Verdict", "Start", "Finish", "Cost", "Compute", "Boot", "Egress", "Rework", "At most"]
    lines += [_row([*header, "Why not"]), _row(["---"] * (len(header) + 1))]
    lines += [_row(_cells(candidate, decision, now_at)) for candidate in decision.candidates]
    lines += [
        "",
        f"Decided {iso(now_at)} by `{decision.engine}` under policy `{_escaped(snapshot.policy.version[:19])}`.",
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
    return " · ".join(fact if fact.startswith("**") else _escaped(fact) for fact in facts)


def _cells(candidate: Candidate, decision: Decision, now_at: float) -> list[str]:
    name = _escaped(f"{candidate.site} / {candidate.offer}")
    verdict = "✗"
    if candidate == decision.chosen:
        name, verdict = f"**{name}**", f"**{decision.outcome.value}**"
    elif candidate.feasible:
        verdict = "feasible"
    why = "<br>".join(f"`{reason.code.value}` {_escaped(reason_text(reason, now_at))}" for reason in candidate.reasons)
    if candidate.start_at is None or candidate.finish_at is None:
        return [name, verdict, *["–"] * 8, why]
    wait_s = candidate.start_at - now_at
    cost = candidate.cost
    parts = (cost.total_micro, cost.compute_micro, cost.boot_micro, cost.egress_micro, cost.rework_micro)
    return [
        name,
        verdict,
        "now" if wait_s <= 0 else f"in {span(wait_s)}",
        clock(candidate.finish_at, now_at),
        *(money(part) for part in parts),
        money(candidate.cap_micro),
        why,
    ]

"""A rehearsal of recorded runs for a terminal and as JSON: before and after in figures, and run by run with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infra.core.rehearsal.compare import Difference, Summary
from infra.core.rehearsal.model import Ending, Fate
from infra.core.units import iso, usd_float
from infra.render.prose import code_text, money, reason_text, span

Columns = Sequence[tuple[str, Summary]]


def summary_table(columns: Columns) -> RenderableType:
    """One column per rehearsal, the record first."""
    table = Table(title="Before and after", title_justify="left", box=box.SIMPLE)
    table.add_column("")
    for heading, _ in columns:
        table.add_column(heading, justify="right")
    told = [summary for _, summary in columns]
    for ending in Ending:
        if any(ending in each.endings for each in told):
            table.add_row(ending.value, *(str(each.endings.get(ending, 0)) for each in told))
    table.add_row("cost", *(money(each.cost_micro) for each in told))
    for heading, name in (("mean", "mean_wait_s"), ("99 of 100", "p99_wait_s"), ("longest", "max_wait_s")):
        table.add_row(f"wait, {heading}", *(span(getattr(each, name)) for each in told))
    table.add_row("deadlines met", *(f"{each.deadlines_met} of {each.deadlines}" for each in told))
    table.add_section()
    for site, offer in sorted({(use.site, use.offer) for each in told for use in each.uses}):
        table.add_row(f"{site}/{offer}", *(_use_text(each, site, offer) for each in told))
    return table


def _use_text(summary: Summary, site: str, offer: str) -> str:
    uses = [use for use in summary.uses if (use.site, use.offer) == (site, offer)]
    if not uses:
        return "–"
    runs, cost = sum(use.runs for use in uses), sum(use.cost_micro for use in uses)
    return f"{runs} run{'' if runs == 1 else 's'}, {money(cost)}"


def differences_view(found: Sequence[Difference], most: int = 40) -> RenderableType:
    """A line or two per run that fares otherwise."""
    if not found:
        return Text("Every run fares as before.")
    lines: list[RenderableType] = [Text(f"{len(found)} run(s) fare otherwise", style="bold")]
    for each in found[:most]:
        lines.append(Text(f"{each.run_id}: {fate_text(each.before)} → {fate_text(each.after)}"))
        why = why_text(each)
        if why:
            lines.append(Text(f"    {why}", style="dim"))
    if len(found) > most:
        lines.append(Text(f"… and {len(found) - most} more; --json lists all"))
    return Group(*lines)


def fate_text(fate: Fate) -> str:
    """What becomes of a run, in a few words."""
    if fate.ending is not Ending.RAN:
        return fate.ending.value + (f" ({fate.code})" if fate.code else "")
    wait = f", after {span(fate.wait_s)}" if fate.wait_s is not None and fate.wait_s >= 1.0 else ""
    late = ", late" if fate.in_time is False else ""
    return f"{fate.site}/{fate.offer}, {money(fate.cost_micro)}{wait}{late}"


def why_text(found: Difference) -> str:
    """Why a run fares otherwise: what the later decision says about the earlier place."""
    if found.binding:
        return f"infeasible: {', '.join(code_text(code) for code in found.binding)}"
    if found.gone:
        return f"{found.before.site}/{found.before.offer} is not there any more"
    told = "; ".join(reason_text(reason, found.after.decided_at) for reason in found.why)
    return f"{found.before.site}/{found.before.offer}: {told}" if told else ""


def summary_json(summary: Summary) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "runs": summary.runs,
        "endings": {ending.value: number for ending, number in summary.endings.items()},
        "cost_usd": usd_float(summary.cost_micro),
        "mean_wait_s": summary.mean_wait_s,
        "p99_wait_s": summary.p99_wait_s,
        "max_wait_s": summary.max_wait_s,
        "deadlines": summary.deadlines,
        "deadlines_met": summary.deadlines_met,
        "offers": [{**asdict(use), "cost_usd": usd_float(use.cost_micro)} for use in summary.uses],
    }


def difference_json(found: Difference) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "run_id": found.run_id,
        "before": fate_json(found.before),
        "after": fate_json(found.after),
        "reasons": [reason.code.value for reason in found.why],
        "binding": [code.value for code in found.binding],
        "text": why_text(found),
    }


def fate_json(fate: Fate) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "ending": fate.ending.value,
        "site": fate.site or None,
        "offer": fate.offer or None,
        "start": None if fate.start_at is None else iso(fate.start_at),
        "finish": None if fate.finish_at is None else iso(fate.finish_at),
        "wait_s": fate.wait_s,
        "cost_usd": usd_float(fate.cost_micro),
        "in_time": fate.in_time,
        "code": fate.code or None,
    }

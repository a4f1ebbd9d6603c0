"""Drills for the terminal: what was done, what was seen, how long it took, and whether the invariants held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from infra.core.units import usd


def show(reports: Sequence[Any], killed: Sequence[Any]) -> None:
    """Print reports of drills and rows of the kill matrix (``infra.drills.report`` and ``infra.drills.kill_matrix``)."""
    console = Console(width=max(120, Console().width), highlight=False)
    for report in reports:
        console.print(f"\n[bold]{report.name}[/bold] — {report.about}")
        for heading, lines in (("injected", report.injected), ("seen", report.seen)):
            for line in lines:
                console.print(f"  {heading:9} {line}", markup=False)
        for run in report.runs:
            tried = ", ".join(run.attempts) or "never placed"
            console.print(f"  run       {run.name}: {run.state}, {usd(run.charged_micro)}; {tried}", markup=False)
        for finding in report.findings:
            console.print(
                f"  {'held' if finding.held else 'BROKEN':9} {finding.invariant}: {finding.evidence}", markup=False
            )
        if report.problem:
            console.print(f"  PROBLEM   {report.problem}", markup=False)
    if reports:
        console.print(_drills(reports))
    if killed:
        console.print(_matrix(killed))


def _drills(reports: Sequence[Any]) -> Table:
    table = Table(title="Drills", box=box.SIMPLE, title_justify="left")
    for heading in ("drill", "result"):
        table.add_column(heading)
    for heading in ("detected", "recovered", "took", "charged"):
        table.add_column(heading, justify="right")
    table.add_column("invariants")
    for report in reports:
        broken = [finding.invariant.split()[0] for finding in report.findings if not finding.held]
        table.add_row(
            report.name,
            "passed" if report.passed else "FAILED",
            _seconds(report.detect_s),
            _seconds(report.recover_s),
            _seconds(report.took_s),
            usd(sum(run.charged_micro for run in report.runs)),
            f"broken: {', '.join(broken)}" if broken else f"{len(report.findings)} held",
        )
    return table


def _matrix(killed: Sequence[Any]) -> Table:
    table = Table(title="kill -9 at each point of a run's life", box=box.SIMPLE, title_justify="left")
    for heading in ("point", "result", "attempts", "recovered", "machines left", "results", "over budget", "residency"):
        table.add_column(heading, justify="left" if heading in ("point", "result") else "right")
    for row in killed:
        held = {finding.invariant.split()[0]: finding.held for finding in row.findings}
        table.add_row(
            row.point,
            "passed" if row.passed else f"FAILED {row.problem or ('' if row.killed else 'nobody came by')}".strip(),
            str(len(row.run.attempts)),
            _seconds(row.recover_s),
            "0" if held.get("I4") else "some",
            f"{row.run.results}{'' if held.get('I3') else ' torn'}",
            "0 µ$" if held.get("I2") else "BROKEN",
            "held" if held.get("I1") else "BROKEN",
        )
    return table


def _seconds(amount: float | None) -> str:
    return "–" if amount is None else f"{amount:.1f} s"

"""``headrace costs``: what was spent, by whom, on what, where and how, and what a unit of work cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from infra.commands.money import month
from infra.commands.shared import control_here, handle_errors, print_json
from infra.core.spending import Grouping, Spent, Total, UnitCost, totals, unit_costs
from infra.core.units import BYTES_PER_GB, SECONDS_PER_HOUR, period_of, usd, usd_float

if TYPE_CHECKING:
    from infra.ports import ControlStore

_MADE = {"epochs": "epochs", "embedded": "embeddings", "rows": "predictions"}
"""Which of a published result's numbers say how much of what a run made."""

_MOST_RUNS = 10_000

_PAID = ("compute", "boot", "egress", "lost", "total")

_WIDE = 132
"""Characters from which on a table also tells what was used."""


def costs(
    by: Annotated[
        list[Grouping] | None, typer.Option("--by", help="By what; may be repeated. All when none is named.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only this tenant.")] = None,
    period: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="Only this calendar month (UTC).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show settled costs by part, and the cost per epoch, per 1,000 embeddings or predictions and per published run."""
    with handle_errors(as_json):
        wanted = None if period is None else month(period)
        spent = [
            one
            for one in spent_of(control_here().database)
            if (tenant is None or one.tenant == tenant) and (wanted is None or period_of(one.at) == wanted)
        ]
    groups = {grouping.value: totals(spent, grouping) for grouping in by or list(Grouping)}
    units = unit_costs(spent)
    if as_json:
        rows = {name: [_total_json(total) for total in found] for name, found in groups.items()}
        print_json({"total_usd": usd_float(_sum(spent)), "by": rows, "per_unit": [_unit_json(unit) for unit in units]})
        return
    console = Console(highlight=False)
    if not spent:
        console.print("Nothing is settled yet.")
        return
    for name, found in groups.items():
        console.print(_table(name, found, console.width))
    console.print(_units(units))
    console.print(f"settled in all: {usd(_sum(spent))}")
    if console.width < _WIDE:
        console.print(f"Hours of devices and bytes moved: in a terminal of {_WIDE} columns, or with --json.")


def spent_of(database: ControlStore) -> list[Spent]:
    """Every settled attempt of the newest runs, with what the published ones made."""
    found = []
    with database.reading():
        for run in database.runs.runs((), _MOST_RUNS):
            publication = database.runs.publication(run.run_id)
            for attempt in database.runs.attempts(run.run_id):
                if attempt.charged is None:
                    continue
                published = publication is not None and publication.attempt == attempt.attempt
                metered, metrics = attempt.metered or {}, publication.metrics if publication and published else {}
                found.append(
                    Spent(
                        run_id=run.run_id,
                        attempt=attempt.attempt,
                        tenant=run.tenant,
                        kind=run.kind.value,
                        site=attempt.site,
                        purchase=attempt.purchase,
                        at=attempt.finished_at or attempt.started_at,
                        parts=attempt.charged,
                        machine_s=metered.get("machine_s", 0.0) * attempt.devices,
                        boot_s=metered.get("boot_s", 0.0) * attempt.devices,
                        egress_bytes=metered.get("egress_bytes", 0.0),
                        published=published,
                        units={unit: metrics[name] for name, unit in _MADE.items() if name in metrics},
                    )
                )
    return found


def _sum(spent: list[Spent]) -> int:
    return sum(one.parts.total_micro for one in spent)


def _total_json(total: Total) -> dict[str, Any]:
    return {**asdict(total), "total_micro": total.total_micro, "total_usd": usd_float(total.total_micro)}


def _unit_json(unit: UnitCost) -> dict[str, Any]:
    return {**asdict(unit), "usd": unit.micro / 1e6}


def _table(name: str, found: tuple[Total, ...], width: int) -> Table:
    table = Table(title=f"By {name}", box=box.SIMPLE, title_justify="left", pad_edge=False)
    table.add_column(name, overflow="fold")
    used = width >= _WIDE
    for heading in ("runs", *(("attempts", "device hours", "of it boot", "egress GB") if used else ()), *_PAID):
        table.add_column(heading, justify="right")
    for total in found:
        usage = (
            str(total.attempts),
            f"{total.machine_s / SECONDS_PER_HOUR:.3f}",
            f"{total.boot_s / SECONDS_PER_HOUR:.3f}",
            f"{total.egress_bytes / BYTES_PER_GB:.3f}",
        )
        paid = (total.compute_micro, total.boot_micro, total.egress_micro, total.lost_micro, total.total_micro)
        table.add_row(total.name, str(total.runs), *(usage if used else ()), *(usd(part) for part in paid))
    return table


def _units(units: tuple[UnitCost, ...]) -> Table:
    table = Table(title="Cost of a unit", box=box.SIMPLE, title_justify="left")
    for heading in ("unit", "made", "cost"):
        table.add_column(heading, justify="left" if heading == "unit" else "right")
    for unit in units:
        name = f"{unit.per:,} {unit.unit}" if unit.per > 1 else unit.unit.removesuffix("s")
        table.add_row(f"per {name}", f"{unit.made:,.0f}", usd(round(unit.micro)))
    return table


def register(app: typer.Typer) -> None:
    """Add ``costs``."""
    app.command("costs")(costs)

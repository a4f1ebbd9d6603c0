"""``headrace warm``: which clusters are kept warm, what recent demand asks for, and what their idling cost."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from infra.commands.shared import control_here, handle_errors, prefect_here, print_json
from infra.core.units import period_of, usd, usd_float
from infra.core.workload import WorkKind
from infra.settings import Settings

if TYPE_CHECKING:
    from infra.ports import ControlStore
    from tasks.warm_stock import Stock

_MOST_RUNS = 10_000


def warm(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show each warm setting: clusters wanted now, booting, ready and taken, and what was settled this month (UTC)."""
    with handle_errors(as_json):
        os.environ.update(prefect_here(Settings.from_env()))
        from tasks.warm_stock import stocks  # opens Prefect, which has to know by then where the platform is

        control = control_here()
        found = stocks(control)
        settled = settled_of(control.database, period_of(control.clock.now()))
    rows = [_row(stock, settled) for stock in found]
    if as_json:
        print_json({"warm": rows})
        return
    table = Table(box=box.SIMPLE)
    for heading in ("offer", "tenant"):
        table.add_column(heading)
    for heading in ("devices", "wanted", "booting", "ready", "taken", "this month"):
        table.add_column(heading, justify="right")
    for stock, row in zip(found, rows, strict=True):
        counts = (
            f"{stock.wanted} of {stock.setting.most}",
            *(str(row[name]) for name in ("booting", "ready", "taken")),
        )
        money = usd(settled.get((stock.site, stock.setting.offer, stock.setting.devices), 0))
        table.add_row(f"{stock.site}/{stock.setting.offer}", stock.setting.tenant, str(row["devices"]), *counts, money)
    Console().print(table if rows else "No site file keeps clusters warm.")


def settled_of(database: ControlStore, period: str) -> dict[tuple[str, str, int], int]:
    """Micro-dollars of warm runs that ended in a period, by site, offer and number of devices."""
    total: dict[tuple[str, str, int], int] = {}
    with database.reading():
        for run in database.runs.runs((), _MOST_RUNS):
            if run.kind is not WorkKind.WARM:
                continue
            for attempt in database.runs.attempts(run.run_id):
                if attempt.charged is None or period_of(attempt.finished_at or attempt.started_at) != period:
                    continue
                key = (attempt.site, attempt.offer, attempt.devices)
                total[key] = total.get(key, 0) + attempt.charged.total_micro
    return total


def _row(stock: Stock, settled: dict[tuple[str, str, int], int]) -> dict[str, Any]:
    setting = stock.setting
    return {
        "site": stock.site,
        "offer": setting.offer,
        "devices": setting.devices,
        "tenant": setting.tenant,
        "most": setting.most,
        "keep_s": setting.keep_s,
        "serve_s": setting.serve_s,
        "wanted": stock.wanted,
        "booting": stock.booting,
        "ready": stock.ready,
        "taken": stock.taken,
        "settled_usd": usd_float(settled.get((stock.site, setting.offer, setting.devices), 0)),
    }


def register(app: typer.Typer) -> None:
    """Add ``warm``."""
    app.command("warm")(warm)

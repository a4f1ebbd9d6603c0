"""``python -m infra.demo``: starts the platform if it is not up, plays the story, prints one table."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from infra.core.errors import HeadraceError
from infra.core.units import period_of, usd, usd_float
from infra.platform.control import living_report
from infra.settings import Settings

if TYPE_CHECKING:
    from infra.demo.driver import Row

BANNER = (
    "simulated: the GPUs and the clouds of this demo are processes on this machine; money and residency are real rules"
)


def main() -> int:
    """Run the demo; 0 when the whole story was told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep-up", action="store_true", help="leave the platform running afterwards")
    arguments = parser.parse_args()
    settings = Settings.from_env()
    os.environ.update(settings.environment())
    console = Console(width=max(150, Console().width), highlight=False)
    console.print(f"[bold]Headrace demo[/bold] — {BANNER}")
    began = time.monotonic()

    def say(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/dim]  {line}")

    try:
        say("starting the platform")
        subprocess.run([sys.executable, "-m", "infra.cli", "up"], check=True)
        return _play(settings, console, say, began)
    except HeadraceError as error:
        console.print(f"[red]{error}[/red]")
        return error.exit_status
    except subprocess.CalledProcessError as error:
        return error.returncode
    finally:
        if not arguments.keep_up:
            subprocess.run([sys.executable, "-m", "infra.cli", "down"], check=False)


def _play(settings: Settings, console: Console, say: Any, began: float) -> int:
    # Prefect reads its settings when it is imported, so the address has to be there before.
    os.environ["PREFECT_API_URL"] = living_report(settings).api_url
    from prefect.client.orchestration import get_client

    from infra.demo.driver import Driver
    from infra.demo.story import tell
    from infra.wiring import ControlPlane

    control = ControlPlane(settings)
    with get_client(sync_client=True) as client:
        rows = tell(Driver(control, client, say))
    balances = [
        {
            "tenant": balance.tenant,
            "period": balance.period,
            "limit_usd": usd_float(balance.limit_micro),
            "reserved_usd": usd_float(balance.reserved_micro),
            "settled_usd": usd_float(balance.settled_micro),
        }
        for balance in control.database.ledger.balances(period_of(control.clock.now()))
    ]
    took_s = round(time.monotonic() - began, 1)
    report = {"simulated": True, "took_s": took_s, "runs": [asdict(row) for row in rows], "balances": balances}
    settings.demo_dir.mkdir(parents=True, exist_ok=True)
    path = settings.demo_dir / "report.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    console.print(_table(rows))
    console.print(_balances(balances))
    console.print(f"{BANNER}\nreport: {path} · {took_s:.0f} s")
    return 0


def _table(rows: list[Row]) -> Table:
    table = Table(title="What ran where, and why", show_lines=False)
    for column in ("run", "outcome", "site", "purchase", "residency"):
        table.add_column(column)
    for column in ("est. cost", "actual", "est. time", "actual "):
        table.add_column(column, justify="right")
    table.add_column("result", overflow="fold")
    for row in rows:
        table.add_row(
            row.name,
            row.outcome,
            row.site or "–",
            row.purchase or "–",
            "+".join(row.residency) or "–",
            _money(row.estimated_cost_usd),
            _money(row.actual_cost_usd),
            _seconds(row.estimated_s),
            _seconds(row.actual_s),
            row.result,
        )
    return table


def _balances(balances: list[dict[str, Any]]) -> Table:
    table = Table(title="Balances of the month")
    for column in ("tenant", "limit", "reserved", "settled"):
        table.add_column(column, justify="left" if column == "tenant" else "right")
    for line in balances:
        table.add_row(line["tenant"], *(_money(line[f"{name}_usd"]) for name in ("limit", "reserved", "settled")))
    return table


def _money(amount: float | None) -> str:
    return "–" if amount is None else usd(round(amount * 1_000_000))


def _seconds(amount: float | None) -> str:
    return "–" if amount is None else f"{amount:.1f} s"


if __name__ == "__main__":
    sys.exit(main())

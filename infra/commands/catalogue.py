"""``headrace catalogue`` shows the machine types of clouds, checks them, and takes new prices from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.commands.shared import handle_errors, print_json
from infra.core.catalogue import Catalogue
from infra.core.units import iso, usd


def catalogue(
    refresh: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Replace the catalogue by this one (.yaml, .json or .csv), or by none of it."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the machine types that offers may name: devices, prices, boot times; prices that are over are marked.

    A new catalogue replaces the old one at once when all of it is right and every site's file goes with it.
    """
    from infra.adapters.clock import SystemClock
    from infra.documents.catalogue import catalogue_path, load_catalogue, machine_row, write_catalogue
    from infra.documents.files import display
    from infra.documents.sites import load_sites

    with handle_errors(as_json):
        path = catalogue_path()
        if refresh is not None:
            found = load_catalogue(refresh)
            load_sites(path.parent / "sites", found)
            write_catalogue(found, path)
        found = load_catalogue()
        now_at = SystemClock().now()
    if as_json:
        rows = [{**machine_row(machine), "stale": machine.stale(now_at)} for machine in found.ordered]
        print_json({"file": str(path), "refreshed": refresh is not None, "machines": rows})
        return
    console = Console()
    console.print(_table(found, now_at))
    stale = sum(machine.stale(now_at) for machine in found.machines)
    told = f"{len(found.machines)} machine types in {display(path)}, USD for an hour"
    console.print(Text(f"{told}, {stale} with prices that are over: nothing is placed on these" if stale else told))


def _table(found: Catalogue, now_at: float) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1))
    table.add_column("where", min_width=7)
    table.add_column("machine type", no_wrap=True)
    table.add_column("device", min_width=12)
    for heading in ("on demand", "spot"):
        table.add_column(heading, justify="right", min_width=6)
    table.add_column("until", min_width=5)
    table.add_column("boot", justify="right", min_width=4)
    for machine in found.ordered:
        devices = machine.device if machine.devices == 1 else f"{machine.devices} × {machine.device}"
        prices = ["?" if price is None else usd(price.micro_per_hour) for price in (machine.on_demand, machine.spot)]
        until_at = machine.valid_until_at
        until = Text("" if until_at is None else iso(until_at)[:10])
        if machine.stale(now_at):
            until = Text(f"stale: {until}", style="red")
        table.add_row(
            f"{machine.provider} {machine.region or ''}".strip(),
            machine.instance_type,
            f"{devices}, {machine.memory_gb:g} GB",
            *prices,
            until,
            "?" if machine.boot_s is None else f"{machine.boot_s:g} s",
        )
    return table


def register(app: typer.Typer) -> None:
    """Add ``catalogue``."""
    app.command("catalogue")(catalogue)

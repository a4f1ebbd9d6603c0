"""``headrace simulate``: the group of trace-driven simulations, each in a module of its own."""

from __future__ import annotations

import typer

from infra.commands import simulate_batch, simulate_spot, simulate_what_if


def register(app: typer.Typer) -> None:
    """Add the group ``simulate``."""
    group = typer.Typer(help="Replay traces through the code that production decides with.", no_args_is_help=True)
    for simulation in (simulate_batch, simulate_spot, simulate_what_if):
        simulation.register(group)
    app.add_typer(group, name="simulate")

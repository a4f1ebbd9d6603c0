"""``headrace simulate``: the group of trace-driven simulations, each in a module of its own."""

from __future__ import annotations

import importlib
import importlib.util

import typer

SIMULATIONS = ("batch", "spot")


def register(app: typer.Typer) -> None:
    """Add the group with every simulation that is there."""
    group = typer.Typer(help="Replay traces through the code that production decides with.", no_args_is_help=True)
    group.callback()(_nothing)
    for name in SIMULATIONS:
        module = f"infra.commands.simulate_{name}"
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module).register(group)
    app.add_typer(group, name="simulate")


def _nothing() -> None:
    """Keep the group a group while it has one command."""

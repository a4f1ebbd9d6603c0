"""``headrace simulate``: replay recorded history under policies, the production one and others."""

from __future__ import annotations

import typer

from infra.commands import simulate_spot


def register(app: typer.Typer) -> None:
    """Add the group ``simulate``."""
    group = typer.Typer(help="Replay recorded history under a policy.", no_args_is_help=True)
    simulate_spot.register(group)
    app.add_typer(group, name="simulate")

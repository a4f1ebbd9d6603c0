"""``headrace calibration`` says whether estimates came true."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from infra.commands.shared import handle_errors, print_json
from infra.core.placement.calibration import calibrate

MOST_PER_KIND = 2000


def calibration(
    history: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Past runs in a CSV file instead of the platform's own."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Decisions of at most so many runs.")] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell whether estimates came true, per kind of work and device.

    Each past run is predicted from those that had ended before it began, by the code that placements use. Of the runs
    that were to take no longer than a 90 % quantile, 90 % should have. With the platform's own history, what decisions
    promised is held against what came of it as well.
    """
    from infra.documents.rates import load_rates
    from infra.render.calibration import calibration_json, calibration_view, kept_promises

    with handle_errors(as_json):
        if history is not None:
            from infra.documents.history import load_history

            found, kept = calibrate(load_history(history), load_rates()), ()
        else:
            from infra.wiring import control_plane

            control = control_plane()
            found = calibrate(control.database.history.observations(MOST_PER_KIND), control.priors)
            kept = kept_promises(control.database, limit)
    if as_json:
        print_json(calibration_json(found, kept))
    else:
        Console().print(calibration_view(found, kept))


def register(app: typer.Typer) -> None:
    """Add ``calibration``."""
    app.command("calibration")(calibration)

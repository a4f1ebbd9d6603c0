"""``headrace place`` decides without running; ``headrace schema`` prints the formats' JSON schemas."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from infra.adapters.clock import SystemClock
from infra.commands.shared import handle_errors, prefect_here, print_json
from infra.core.errors import InputError
from infra.core.placement.decide import decide
from infra.core.placement.decision import Outcome
from infra.core.placement.snapshot import Snapshot
from infra.core.workload import WorkloadRequest
from infra.documents.files import display
from infra.documents.problems import located
from infra.documents.request import load_request, only_version, with_versions
from infra.documents.schemas import SCHEMA_NAMES, schema
from infra.documents.snapshot import load_snapshot
from infra.render.answer import decision_answer
from infra.render.picture import decision_svg
from infra.render.terminal import decision_view
from infra.settings import Settings

INFEASIBLE_STATUS = 3

_FILE_KEYS = {"deadline_at": "deadline", "device_kinds": "resources.device_kinds"}

_PLACE_HELP = f"""Decide where a request would run, without running it.

Nothing is reserved, started or recorded. With --snapshot nothing else is needed; without it the running platform is asked.

Exit status: 0 for run and wait, {INFEASIBLE_STATUS} for infeasible, 2 for bad input, 1 when the platform does not answer.
"""


def place(
    request: Annotated[Path, typer.Argument(metavar="REQUEST", help="Request file, YAML or JSON.")],
    snapshot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Decide on this snapshot (JSON) instead of the platform.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the decision as JSON.")] = False,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw the decision into this file.")] = None,
) -> None:
    with handle_errors(as_json):
        with _told_in(request):
            world, wanted = _on_snapshot(request, snapshot) if snapshot else _on_platform(request)
            decision = decide(wanted, world)
        if svg is not None:
            _write(svg, decision_svg(decision, wanted, world))
    if as_json:
        print_json(decision_answer(decision, wanted, world))
    else:
        Console().print(decision_view(decision, wanted, world))
    if decision.outcome is Outcome.INFEASIBLE:
        raise typer.Exit(INFEASIBLE_STATUS)


@contextmanager
def _told_in(path: Path) -> Iterator[None]:
    """Let errors about the request name its file and the keys that it has there."""
    try:
        yield
    except InputError as error:
        if not error.where.startswith("request:"):
            raise
        with located(display(path), renamed=_FILE_KEYS):
            raise


def _on_snapshot(request: Path, snapshot: Path) -> tuple[Snapshot, WorkloadRequest]:
    world = load_snapshot(snapshot)
    return world, with_versions(load_request(request, world.now_at), only_version(world.datasets))


def _on_platform(request: Path) -> tuple[Snapshot, WorkloadRequest]:
    # Read before the platform is asked, so that a malformed request is told even while it is down.
    load_request(request, SystemClock().now())
    # Without this, Prefect would ask a server of its own, to which every site is down.
    os.environ.update(prefect_here(Settings.from_env()))
    from infra.wiring import control_plane  # opens the platform's parts, Prefect among them

    control = control_plane()
    world = control.snapshot()

    def newest(name: str) -> str | None:
        entry = control.database.catalog.find(name, "latest")
        return entry.version.version if entry else None

    return world, with_versions(load_request(request, world.now_at), newest)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError("FILE_NOT_WRITABLE", str(error), display(path), "name a file that can be written") from error


def print_schema(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of: {', '.join(SCHEMA_NAMES)}.")],
) -> None:
    """Print the JSON schema of a format."""
    with handle_errors():
        print_json(schema(name))


def register(app: typer.Typer) -> None:
    """Add ``place`` and ``schema``."""
    app.command("place", help=_PLACE_HELP)(place)
    app.command("schema")(print_schema)

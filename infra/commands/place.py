"""``headrace place`` decides without running; ``headrace schema`` prints the formats' JSON schemas."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from infra.adapters.clock import SystemClock
from infra.commands.shared import handle_errors, prefect_here, print_json
from infra.core.errors import InputError
from infra.core.placement.decision import Outcome
from infra.core.placement.ladder import descend
from infra.core.placement.pipelines.decide import decide_pipeline
from infra.core.placement.snapshot import Snapshot
from infra.documents.files import display, read_tree
from infra.documents.pipeline import is_pipeline, load_pipeline, with_stage_versions
from infra.documents.problems import located
from infra.documents.request import load_request, only_version, with_versions
from infra.documents.schemas import SCHEMA_NAMES, schema
from infra.documents.snapshot import load_snapshot
from infra.render.answer import decision_answer
from infra.render.picture import decision_svg
from infra.render.pipeline import pipeline_answer_of, pipeline_view
from infra.render.pipeline_picture import pipeline_svg
from infra.render.terminal import decision_view
from infra.settings import Settings

INFEASIBLE_STATUS = 3

_FILE_KEYS = {"deadline_at": "deadline", "device_kinds": "resources.device_kinds"}

_PLACE_HELP = f"""Decide where a request, or a whole pipeline, would run, without running it.

A file with `stages:` is a pipeline: all of its stages are placed together, as asked; its stages' ladders are not used.

Nothing is reserved, started or recorded. With --snapshot nothing else is needed; without it the running platform is asked.

Exit status: 0 for run and wait, {INFEASIBLE_STATUS} for infeasible, 2 for bad input, 1 when the platform does not answer.
"""


def place(
    request: Annotated[
        Path | None, typer.Argument(metavar="REQUEST", help="Request or pipeline file, YAML or JSON.")
    ] = None,
    pipeline: Annotated[Path | None, typer.Option(metavar="FILE", help="A pipeline file, instead of REQUEST.")] = None,
    snapshot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Decide on this snapshot (JSON) instead of the platform.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the decision as JSON.")] = False,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw the decision into this file.")] = None,
) -> None:
    with handle_errors(as_json):
        path = _one_of(request, pipeline)
        if pipeline is not None or is_pipeline(read_tree(path)):
            outcome = _place_pipeline(path, snapshot, as_json, svg)
        else:
            outcome = _place_request(path, snapshot, as_json, svg)
    if outcome is Outcome.INFEASIBLE:
        raise typer.Exit(INFEASIBLE_STATUS)


def _one_of(request: Path | None, pipeline: Path | None) -> Path:
    if (request is None) == (pipeline is None):
        problem = "neither a request nor a pipeline" if request is None else "a request and a pipeline"
        raise InputError("ONE_FILE", problem, "headrace place", "name one file")
    return request or pipeline or Path()


def _place_request(path: Path, snapshot: Path | None, as_json: bool, svg: Path | None) -> Outcome:
    with _told_in(path):
        world, newest = _world(path, load_request, snapshot)
        wanted = with_versions(load_request(path, world.now_at), newest)
        steps = descend(wanted.rungs(), world)
    wanted, decision = steps[-1].request, steps[-1].decision
    if svg is not None:
        _write(svg, decision_svg(decision, wanted, world))
    if as_json:
        print_json(decision_answer(decision, wanted, world, steps))
    else:
        Console().print(decision_view(decision, wanted, world, steps))
    return decision.outcome


def _place_pipeline(path: Path, snapshot: Path | None, as_json: bool, svg: Path | None) -> Outcome:
    with _told_in(path):
        world, newest = _world(path, load_pipeline, snapshot)
        wanted = with_stage_versions(load_pipeline(path, world.now_at), newest)
        plan = decide_pipeline(wanted, world)
    if svg is not None:
        _write(svg, pipeline_svg(plan, wanted, world))
    if as_json:
        print_json(pipeline_answer_of(plan, world))
    else:
        Console().print(pipeline_view(plan, wanted, world))
    return plan.outcome


@contextmanager
def _told_in(path: Path) -> Iterator[None]:
    """Let errors about the request name its file and the keys that it has there."""
    try:
        yield
    except InputError as error:
        if not error.where.startswith(("request:", "pipeline:")):
            raise
        with located(display(path), renamed=_FILE_KEYS):
            raise


def _world(
    path: Path, load: Callable[[Path, float], object], snapshot: Path | None
) -> tuple[Snapshot, Callable[[str], str | None]]:
    """The snapshot to decide on, and how it finds the newest version of a dataset."""
    if snapshot is not None:
        world = load_snapshot(snapshot)
        return world, only_version(world.datasets)
    # Read before the platform is asked, so that a malformed request is told even while it is down.
    load(path, SystemClock().now())
    # Without this, Prefect would ask a server of its own, to which every site is down.
    os.environ.update(prefect_here(Settings.from_env()))
    from infra.wiring import control_plane  # opens the platform's parts, Prefect among them

    control = control_plane()

    def newest(name: str) -> str | None:
        entry = control.database.catalog.find(name, "latest")
        return entry.version.version if entry else None

    return control.snapshot(), newest


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

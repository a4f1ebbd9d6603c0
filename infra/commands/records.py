"""``headrace runs`` lists placed runs, ``queue`` those that wait, ``explain`` tells one's story, ``replay`` recomputes its decisions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from infra.commands.shared import control_here, handle_errors, print_json
from infra.core.errors import InputError
from infra.core.lifecycle import RunState
from infra.core.units import iso

if TYPE_CHECKING:
    from infra.ports import ControlStore
    from infra.render.replay import Replay

_RUN = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Run id; its first 8 characters do. A flow run's id stands for all its stages."),
]
_JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _database() -> ControlStore:
    return control_here().database


def runs(
    state: Annotated[list[RunState] | None, typer.Option(help="Only runs in this state; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    as_json: _JSON = False,
) -> None:
    """List runs, newest first."""
    from infra.render.story import run_json

    with handle_errors(as_json):
        found = _database().runs.runs(state or (), limit)
    if as_json:
        print_json({"runs": [run_json(run) for run in found]})
        return
    # Two lines each: ids are long, and are what the other commands are given.
    for run in found:
        typer.echo(f"{run.run_id}  {run.state.value}")
        detail = f"; {run.detail}" if run.detail else ""
        opened = iso(round(run.created_at))
        typer.echo(f"    {run.kind.value} for {run.tenant}, attempt {run.attempt}, opened {opened}{detail}")
    if not found:
        typer.echo("No run yet.")


def queue(as_json: _JSON = False) -> None:
    """Show the runs that wait for devices, and the starts that are kept for them."""
    from infra.core.canonical import plain
    from infra.render.queue import queue_table

    with handle_errors(as_json):
        database = _database()
        entries = database.runs.queue()
    if as_json:
        print_json({"queue": [plain(entry) for entry in entries]})
    elif entries:
        Console().print(queue_table(entries, time.time()))
    else:
        typer.echo("Nobody waits for devices.")


def explain(run: _RUN, as_json: _JSON = False) -> None:
    """Tell a run's story: what was decided and why, tried, paid and published."""
    from infra.render.story import read_story, runs_named, story_json, story_view

    with handle_errors(as_json):
        database = _database()
        stories = [read_story(database, record) for record in runs_named(database, run)]
    if as_json:
        told = [story_json(story) for story in stories]
        flow_run_id = stories[0].run.flow_run_id
        print_json(told[0] if len(told) == 1 else {"flow_run_id": flow_run_id, "stages": told})
        return
    console = Console()
    for number, story in enumerate(stories):
        if number:
            console.rule()
        console.print(story_view(story))


def replay(run: _RUN, as_json: _JSON = False) -> None:
    """Decide again from the stored inputs and compare with the stored decisions, byte for byte.

    Exit status: 0 when all are identical, 1 when one differs, 2 for an unknown run.
    """
    from infra.render.replay import replayed
    from infra.render.story import runs_named

    with handle_errors(as_json):
        database = _database()
        records = [record for one in runs_named(database, run) for record in database.runs.decisions(one.run_id)]
        if not records:
            raise InputError("NO_DECISION", "nothing was decided for it", f"run {run}", "see `headrace explain`")
        replays = [replayed(record) for record in records]
    identical = all(one.identical for one in replays)
    if as_json:
        print_json({"identical": identical, "decisions": [_replay_json(one) for one in replays]})
    else:
        for one in replays:
            typer.echo(_replay_text(one))
    if not identical:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add ``runs``, ``queue``, ``explain`` and ``replay``."""
    app.command("runs")(runs)
    app.command("queue")(queue)
    app.command("explain")(explain)
    app.command("replay")(replay)


def _replay_json(one: Replay) -> dict[str, Any]:
    found = one.difference
    return {
        "run_id": one.run_id,
        "sequence": one.sequence,
        "identical": one.identical,
        "stored_sha256": one.stored_sha256,
        "recomputed_sha256": one.recomputed_sha256,
        "stored_engine": one.stored_engine,
        "engine": one.engine,
        "difference": found and {"path": found.path, "stored": found.stored, "recomputed": found.recomputed},
    }


def _replay_text(one: Replay) -> str:
    name = f"{one.run_id} decision {one.sequence}"
    if one.difference is None:
        return f"{name}: identical, sha256 {one.stored_sha256}"
    found = one.difference
    engines = "" if one.stored_engine == one.engine else f" (engine {one.stored_engine} then, {one.engine} now)"
    return (
        f"{name}: DIFFERENT{engines}\n"
        f"  first at {found.path}\n"
        f"    stored      {_short(found.stored)}\n"
        f"    recomputed  {_short(found.recomputed)}\n"
        f"  sha256 stored {one.stored_sha256}\n"
        f"  sha256 now    {one.recomputed_sha256}"
    )


def _short(value: Any, most: int = 160) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"

"""``headrace drill``: hurts a platform of its own on purpose and reports what it did about it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.commands.shared import handle_errors, print_json
from infra.core.errors import InputError
from infra.settings import PACKAGE_DIR, Settings

if TYPE_CHECKING:
    from infra.drills.clouds import CloudsOf
    from infra.drills.kill_matrix import Killed
    from infra.drills.report import DrillReport

KILL_MATRIX = "kill-matrix"


def drill(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Drills, or kill-matrix.")] = None,
    all_drills: Annotated[bool, typer.Option("--all", help="All drills and the kill matrix.")] = False,
    list_drills: Annotated[bool, typer.Option("--list", help="Only tell which drills there are.")] = False,
    point: Annotated[
        list[str] | None, typer.Option("--point", help="Kill matrix: only these points of a run's life.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Kill matrix: draws the order of the points.")] = 1,
    home: Annotated[
        Path | None, typer.Option(help="Where the drill's own platform lives; emptied first, kept afterwards.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Directory with the sites, policies, tenants.yaml and rates.yaml to drill; else those delivered."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Play drills on a platform of their own and hold what is left against the invariants.

    Your platform is not touched. Exit status 1 when an invariant or an expectation did not hold.
    """
    from infra.drills.play import DRILLS, about
    from infra.faults import Point

    with handle_errors(as_json):
        known = [*DRILLS, KILL_MATRIX]
        if list_drills:
            _list({name: about(name) for name in DRILLS} | {KILL_MATRIX: _about_matrix()}, as_json)
            return
        wanted = known if all_drills else list(names or ())
        if not wanted:
            raise InputError("NO_DRILL", "no drill is named", "NAME", f"name one of {', '.join(known)}, or give --all")
        for name in wanted:
            if name not in known:
                raise InputError(
                    "UNKNOWN_DRILL", f"there is no drill {name!r}", "NAME", f"use one of {', '.join(known)}"
                )
        try:
            points = [Point(each) for each in point] if point else list(Point)
        except ValueError as error:
            remedy = f"use one of {', '.join(Point)}"
            raise InputError("UNKNOWN_POINT", str(error), "--point", remedy) from None
        where = home or Settings.from_env().home / "drills"
        reports, killed = _play(wanted, points, seed, where, config or PACKAGE_DIR, as_json, context.obj)
    passed = all(report.passed for report in reports) and all(row.passed for row in killed)
    if as_json:
        rows = [asdict(row) | {"passed": row.passed} for row in killed]
        drills = [asdict(report) | {"passed": report.passed} for report in reports]
        print_json({"passed": passed, "drills": drills, "kill_matrix": rows})
    else:
        from infra.render.drills import show

        show(reports, killed)
    if not passed:
        raise typer.Exit(1)


def _play(
    wanted: list[str],
    points: list[Any],
    seed: int,
    home: Path,
    config: Path,
    quiet: bool,
    others: CloudsOf | None,
) -> tuple[list[DrillReport], list[Killed]]:
    from infra.drills.kill_matrix import kill_matrix
    from infra.drills.play import play
    from infra.drills.sandbox import Sandbox

    def say(line: str) -> None:
        print(line, file=sys.stderr if quiet else sys.stdout, flush=True)

    reports, killed = [], []
    with Sandbox(home, say, config) as box:
        emulated = [others(box)] if others is not None else []
        for name in wanted:
            say(f"— {name}")
            if name == KILL_MATRIX:
                killed = kill_matrix(box, points, seed)
            else:
                reports.append(play(name, box, emulated))
    return reports, killed


def _about_matrix() -> str:
    return "`kill -9` of the process that passes each of the points of a run's life, one run for each."


def _list(drills: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json({"drills": [{"name": name, "about": told} for name, told in drills.items()]})
        return
    for name, told in drills.items():
        typer.echo(f"{name:22} {told}")


def register(app: typer.Typer) -> None:
    """Add ``drill``."""
    app.command("drill")(drill)

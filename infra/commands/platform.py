"""``headrace up | status | down | env | run | logs``: the embedded platform from the command line."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from infra.commands.shared import prefect_here
from infra.core.errors import InputError
from infra.settings import Settings

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(up)
    app.command()(status)
    app.command()(down)
    app.command()(env)
    app.command()(run)
    app.command()(logs)
    app.command()(reap)


def up(
    as_json: JsonOption = False,
    with_data: Annotated[
        bool, typer.Option("--with-data", help="Also build and land the first versions of the datasets.")
    ] = False,
    timeout_s: Annotated[float, typer.Option(help="Give up when it is not ready after so many seconds.")] = 420.0,
) -> None:
    """Start the platform, or whatever of it is not running, and wait until it is ready."""
    from infra.platform.control import bring_up

    begun = time.monotonic()
    say = _silent if as_json else _progress
    settings = Settings.from_env()
    report, was_up = bring_up(settings, say, timeout_s)
    if with_data:
        from infra.platform.data import land_first_versions

        land_first_versions(settings, say)
    took_s = time.monotonic() - begun
    if as_json:
        answer = {"ready": True, "already": was_up, "ui": report.ui_url, "api": report.api_url, "seconds": took_s}
        print(json.dumps({**answer, "home": str(settings.home), "simulated": list(report.simulated)}, indent=2))
        return
    how = "is already up" if was_up else f"is ready after {took_s:.1f} s"
    print(f"Headrace {how}: {report.ui_url}{_banner(report.simulated)}")


def status(as_json: JsonOption = False) -> None:
    """Show every component, pool and worker, and how many runs there are."""
    from infra.platform.overview import overview, render

    tree = overview(Settings.from_env())
    print(json.dumps(tree, indent=2) if as_json else render(tree))
    if not tree["up"]:
        raise typer.Exit(1)


def down(as_json: JsonOption = False) -> None:
    """Stop everything that `up` started. Data, runs and accounts stay."""
    from infra.platform.control import take_down

    stopped = take_down(Settings.from_env(), _silent if as_json else _progress)
    if as_json:
        print(json.dumps({"stopped": stopped}))
    else:
        print("Headrace is down." if stopped else "Headrace was not up.")


def env() -> None:
    """Print shell lines that point `prefect` and other clients here: eval "$(headrace env)"."""
    settings = Settings.from_env()
    for name, value in {"HEADRACE_HOME": str(settings.home), **prefect_here(settings)}.items():
        print(f"export {name}='{value}'")


def run(
    deployment: Annotated[str, typer.Argument(help="FLOW/DEPLOYMENT, for example training/digits.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", help="NAME=JSON, dotted names reach inside: options.tenant='\"vision\"'."),
    ] = None,
    parameters_file: Annotated[Path | None, typer.Option("--params", help="A JSON file with parameters.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run has ended.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start a run of a deployment, as the UI's form does."""
    from infra.platform.runs import parse_parameters, start_run, wait_for_run

    settings = Settings.from_env()
    parameters = parse_parameters(parameter or [], parameters_file)
    started = start_run(settings, deployment, parameters)
    if wait:
        started = wait_for_run(settings, started["id"], _silent if as_json else _progress)
    print(json.dumps(started, indent=2) if as_json else f"{started['id']}  {started['state']}  {started['url']}")
    if wait and started["state_type"] != "COMPLETED":
        raise typer.Exit(1)


def logs(
    component: Annotated[str, typer.Argument(help="A component's name as `status` shows it.")] = "supervisor",
    lines: Annotated[int, typer.Option("-n", help="How many lines.")] = 40,
) -> None:
    """Show the end of a component's log."""
    from infra.platform.logs import path_of, tail

    directory = Settings.from_env().logs_dir
    known = sorted(path.stem for path in directory.glob("*.log"))
    if component not in known:
        raise InputError("UNKNOWN_COMPONENT", repr(component), "headrace logs", f"use one of {', '.join(known)}")
    print("\n".join(tail(path_of(directory, component), lines)))


def reap(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be ended.")] = False,
    grace_s: Annotated[
        float, typer.Option(min=0.0, help="Seconds after its end that a lease may still be ending.")
    ] = 10.0,
    as_json: JsonOption = False,
) -> None:
    """End every cluster of this machine's sites that outlived its lease. The controller does it all the time."""
    from infra.core.canonical import plain
    from infra.documents.sites import load_sites
    from infra.worker.reaper import SiteReaper

    settings = Settings.from_env()
    reapers = {site.name: SiteReaper(settings.site_dir(site.name), site) for site in load_sites(settings.sites_dir)}
    found = {name: reaper.reap(time.time(), grace_s, dry_run) for name, reaper in reapers.items()}
    problems = [problem for reaper in reapers.values() for problem in reaper.problems]
    if as_json:
        answer = {"dry_run": dry_run, "reaped": {name: plain(rows) for name, rows in found.items()}}
        print(json.dumps(answer | {"problems": [str(problem) for problem in problems]}, indent=2))
    else:
        for name, rows in found.items():
            for row in rows:
                parts = f"{len(row.processes)} processes, {len(row.workers)} workers, {len(row.machines)} machines"
                print(f"{name}: lease {row.lease_id}: {row.reason}, {parts}")
        verb = "would be ended" if dry_run else "ended"
        print(f"{sum(len(rows) for rows in found.values())} leases {verb}.")
        for problem in problems:
            print(problem, file=sys.stderr)
    if problems:
        raise typer.Exit(1)


def _progress(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def _silent(_text: str) -> None:
    return None


def _banner(simulated: tuple[str, ...]) -> str:
    if not simulated:
        return ""
    return f"  [simulated: the devices of {', '.join(simulated)} are processes on this machine]"

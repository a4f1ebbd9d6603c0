"""Plays drills from a flow: on a platform of their own, in a process of its own, with the report shown in the UI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact

from infra.core.errors import UnavailableError
from tasks.entry import EndedError

LONGEST_S = 3600.0


@task(name="play drills", persist_result=False)
def play_drills(names: list[str]) -> dict[str, Any]:
    """Play the named drills and return the report of ``headrace drill --json``.

    Raises:
        UnavailableError: ``DRILL_FAILED`` when there is no report at all.
    """
    own = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT")}
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", "drill", *names, "--json"],
        env=own,
        stdout=subprocess.PIPE,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = None
    if not isinstance(report, dict) or "passed" not in report:
        raise UnavailableError("DRILL_FAILED", f"exit status {done.returncode}", "headrace drill", "see the run's log")
    return report


@task(name="show the report", persist_result=False)
def show_drills(report: dict[str, Any]) -> None:
    """Leave the report as an artifact: what was done, what was seen, what held."""
    create_markdown_artifact(as_markdown(report), key="drills", description="Drills and what they showed")


@task(name="hold the invariants", persist_result=False)
def require_passed(report: dict[str, Any]) -> None:
    """Fail the flow when an invariant did not hold.

    Raises:
        EndedError: ``DRILL_NOT_PASSED`` with the drills' names.
    """
    failed = [drill["name"] for drill in report["drills"] if not drill["passed"]]
    failed += [f"kill at {row['point']}" for row in report["kill_matrix"] if not row["passed"]]
    if failed:
        raise EndedError("Failed", "DRILL_NOT_PASSED", ", ".join(failed), "drills", "see the artifact `drills`")


def as_markdown(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    lines = ["| drill | passed | detected | recovered | took |", "| --- | --- | --- | --- | --- |"]
    for drill in report["drills"]:
        times = " | ".join(_seconds(drill[name]) for name in ("detect_s", "recover_s", "took_s"))
        lines.append(f"| {drill['name']} | {_yes(drill['passed'])} | {times} |")
    for row in report["kill_matrix"]:
        lines.append(f"| kill -9 at {row['point']} | {_yes(row['passed'])} | – | {_seconds(row['recover_s'])} | – |")
    for drill in report["drills"]:
        lines += ["", f"## {drill['name']}", "", drill["about"], ""]
        lines += [f"- injected {line}" for line in drill["injected"]] + [f"- seen {line}" for line in drill["seen"]]
        for finding in drill["findings"]:
            lines.append(
                f"- {'held' if finding['held'] else '**broken**'} {finding['invariant']}: {finding['evidence']}"
            )
        if drill["problem"]:
            lines.append(f"- **problem** {drill['problem']}")
    return "\n".join(lines)


def _seconds(amount: float | None) -> str:
    return "–" if amount is None else f"{amount:.1f} s"


def _yes(passed: bool) -> str:
    return "yes" if passed else "**no**"

"""What `headrace status` tells: components, pools with their workers, and how many runs there are in each state."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from infra.adapters.current_policy import current_policy
from infra.core.errors import HeadraceError
from infra.core.units import iso
from infra.platform.probes import ask
from infra.platform.state import PlatformReport, read_report
from infra.platform.supervision import Phase
from infra.settings import Settings
from infra.wiring import ControlPlane

_STATES = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_HEALTH = {Phase.READY: "ready", Phase.DONE: "done", Phase.STARTING: "starting", Phase.BACKOFF: "restarting"}


def overview(settings: Settings) -> dict[str, Any]:
    """Everything that is known now, as JSON values. ``up`` says whether all of it is well."""
    report = read_report(settings)
    if report is None or not report.alive:
        return {"up": False, "home": str(settings.home), "problem": "not running; run `headrace up`"}
    server: dict[str, Any] = {"pools": [], "runs": {}}
    problem, stopped = "", {"bursting_stopped": False, "revoked": []}
    try:
        stopped = _stopped(settings)
    except HeadraceError as error:
        problem = str(error)
    try:
        server = {"pools": _pools(report), "runs": _runs(report)}
    except (OSError, ValueError) as error:
        problem = problem or f"the Prefect server does not answer: {error}"
    return {
        "up": report.complete and not problem,
        "home": str(settings.home),
        "ui": report.ui_url,
        "api": report.api_url,
        "store": settings.store_url,
        "whole_store": report.whole_store,
        "since": iso(round(report.started_at)),
        "simulated": list(report.simulated),
        "problem": problem,
        **stopped,
        "supervisor": {"pid": report.supervisor.pid},
        "components": [
            {
                "name": row.name,
                "title": row.title,
                "health": "died" if row.phase is Phase.READY and not row.settled else _HEALTH.get(row.phase, row.phase),
                "pid": row.process.pid if row.process else None,
                "since": iso(round(row.since)),
                "restarts": row.restarts,
                "log": row.log,
            }
            for row in report.components
        ],
        **server,
    }


def _stopped(settings: Settings) -> dict[str, Any]:
    """What somebody has stopped by hand: all bursting, and sites that are trusted no more."""
    control = ControlPlane(settings)
    try:
        source = current_policy(control.database).source
    finally:
        control.database.close()
    return {"bursting_stopped": source.bursting_stopped, "revoked": sorted(control.revoked)}


def _pools(report: PlatformReport) -> list[dict[str, Any]]:
    rows = []
    for pool in ask(f"{report.api_url}/work_pools/filter", {}):
        workers = ask(f"{report.api_url}/work_pools/{pool['name']}/workers/filter", {})
        beats = [datetime.fromisoformat(row["last_heartbeat_time"]).timestamp() for row in workers]
        rows.append(
            {
                "name": pool["name"],
                "type": pool["type"],
                "status": "PAUSED" if pool["is_paused"] else pool["status"],
                "workers": len([beat for beat in beats if beat > time.time() - 60]),
                "last_heartbeat": iso(round(max(beats))) if beats else None,
            }
        )
    return rows


def _runs(report: PlatformReport) -> dict[str, int]:
    counts = {}
    for state in _STATES:
        body = {"flow_runs": {"state": {"type": {"any_": [state]}}}}
        counts[state.lower()] = ask(f"{report.api_url}/flow_runs/count", body)
    return counts


def render(tree: dict[str, Any]) -> str:
    """The overview as text, at most 120 columns wide."""
    if "components" not in tree:
        return f"Headrace is {tree['problem']} (home {tree['home']})"
    lines = [f"Headrace since {tree['since']}   UI {tree['ui']}   home {tree['home']}"]
    if tree["simulated"]:
        lines.append(f"SIMULATED: the devices of {', '.join(tree['simulated'])} are processes on this machine")
    if tree["bursting_stopped"]:
        lines.append("ALL BURSTING IS STOPPED; `headrace policy resume-bursting` ends that")
    if tree["revoked"]:
        lines.append(f"REVOKED: {', '.join(tree['revoked'])}; `headrace site restore` ends that")
    if tree["whole_store"]:
        lines.append("Runs see the whole object store: set HEADRACE_STORE_ROLE_ARN (docs/operations.md)")
    if tree["problem"]:
        lines.append(tree["problem"])
    lines += ["", f"{'component':<26}{'health':<12}{'pid':>8}  {'since':<22}{'restarts':>8}"]
    lines += [
        f"{row['name']:<26}{row['health']:<12}{row['pid'] or '-':>8}  {row['since']:<22}{row['restarts']:>8}"
        for row in tree["components"]
    ]
    lines += ["", f"{'pool':<26}{'status':<12}{'workers':>8}  {'last heartbeat':<22}"]
    lines += [
        f"{row['name']:<26}{row['status']:<12}{row['workers']:>8}  {row['last_heartbeat'] or '-':<22}"
        for row in tree["pools"]
    ]
    shown = [f"{count} {state}" for state, count in tree["runs"].items() if count]
    return "\n".join([*lines, "", f"runs: {', '.join(shown) or 'none yet'}"])

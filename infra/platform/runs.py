"""Starting a deployment's run and waiting for it, over the Prefect API: what the UI's form does, for a terminal."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from infra.core.errors import InputError, UnavailableError
from infra.platform.control import living_report
from infra.platform.probes import ask
from infra.settings import Settings

_POLL_S = 0.5
_BUSY_TRIES, _BUSY_S = 5, 2.0
"""How often, and how long apart, a server that is too busy (503) is asked."""
_FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def parse_parameters(assignments: Sequence[str], file: Path | None) -> dict[str, Any]:
    """Parameters from a JSON file and from ``NAME=VALUE``, dotted names reaching inside. A VALUE that is no JSON is text.

    Raises:
        InputError: ``BAD_PARAMETER``.
    """
    found: Any = {}
    if file is not None:
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError("BAD_PARAMETER", str(error), str(file), "name a JSON file") from error
        if not isinstance(found, dict):
            raise InputError("BAD_PARAMETER", "not an object", str(file), 'write {"name": value, ...}')
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise InputError("BAD_PARAMETER", repr(assignment), "--param", "write NAME=VALUE")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        *path, last = name.split(".")
        place = found
        for step in path:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise InputError("BAD_PARAMETER", f"{step!r} is no object", f"--param {name}", "set it once")
        place[last] = value
    return found


def start_run(settings: Settings, deployment: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Create a run of ``FLOW/DEPLOYMENT``; parameters that are not given keep the deployment's values.

    Raises:
        InputError: ``UNKNOWN_DEPLOYMENT``, or ``BAD_PARAMETER`` with what the server found wrong.
        UnavailableError: ``NOT_UP`` or ``SERVER_NOT_READY``.
    """
    report = living_report(settings)
    quoted = "/".join(urllib.parse.quote(part, safe="") for part in deployment.split("/", 1))
    found = _call(f"{report.api_url}/deployments/name/{quoted}", None, deployment)
    merged = _merge(found.get("parameters") or {}, parameters)
    # The key makes asking again safe: the same flow run is answered.
    body = {"parameters": merged, "state": {"type": "SCHEDULED"}, "idempotency_key": str(uuid.uuid4())}
    run = _call(f"{report.api_url}/deployments/{found['id']}/create_flow_run", body, deployment)
    return _told(run, report.ui_url)


def wait_for_run(settings: Settings, run_id: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Block until the run has ended; ``say`` hears each new state.

    Raises:
        UnavailableError: ``NOT_UP`` or ``SERVER_NOT_READY``.
    """
    report = living_report(settings)
    told = ""
    while True:
        run = _told(_call(f"{report.api_url}/flow_runs/{run_id}", None, run_id), report.ui_url)
        if run["state"] != told:
            told = run["state"]
            say(f"{run['name']}: {told}{': ' + run['message'] if run['message'] else ''}")
        if run["state_type"] in _FINAL:
            return run
        time.sleep(_POLL_S)


def _told(run: dict[str, Any], ui_url: str) -> dict[str, Any]:
    state = run.get("state") or {}
    return {
        "id": run["id"],
        "name": run["name"],
        "state": state.get("name") or "",
        "state_type": state.get("type") or "",
        "message": state.get("message") or "",
        "url": f"{ui_url}/runs/flow-run/{run['id']}",
    }


def _merge(below: Any, above: Any) -> Any:
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{key: _merge(below.get(key), value) for key, value in above.items()}}


def _call(url: str, body: Any, where: str, tries: int = _BUSY_TRIES) -> Any:
    try:
        return ask(url, body, timeout_s=30.0)
    except urllib.error.HTTPError as error:
        if error.code == 503 and tries > 1:
            # The server's database was locked by another writer for too long.
            time.sleep(_BUSY_S)
            return _call(url, body, where, tries - 1)
        if error.code == 404:
            raise InputError(
                "UNKNOWN_DEPLOYMENT", "not found", where, "`prefect deployment ls` shows what there is"
            ) from None
        said = error.read().decode("utf-8", errors="replace")[:600]
        if error.code in (400, 409, 422):
            raise InputError("BAD_PARAMETER", said, where, "compare with the deployment's form in the UI") from None
        raise UnavailableError("SERVER_NOT_READY", f"{error.code}: {said}", where, "try again") from None
    except (OSError, ValueError) as error:
        raise UnavailableError("SERVER_NOT_READY", str(error), where, "see `headrace status`") from error

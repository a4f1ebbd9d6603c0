"""The deployments of ``prefect.yaml``, made through Prefect's own ``deploy`` and only when something changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import runpy
import sys
from importlib.metadata import version
from pathlib import Path

import yaml
from prefect.client.orchestration import SyncPrefectClient

from infra.core.errors import InputError, UnavailableError
from infra.processes import write_private
from infra.settings import REPOSITORY_DIR, Settings

PREFECT_FILE = REPOSITORY_DIR / "prefect.yaml"


def deploy_when_changed(settings: Settings, client: SyncPrefectClient) -> bool:
    """Deploy everything unless this server already has it from the same files.

    Returns:
        Whether anything was deployed.

    Raises:
        InputError: ``NO_PREFECT_FILE``.
        UnavailableError: ``DEPLOY_FAILED``; what Prefect said stands in the set-up task's log.
    """
    wanted = deployment_names()
    record = settings.prefect_dir / "deployed.json"
    now = {"sources": sources_digest(), "names": sorted(wanted)}
    if _read(record) == now and wanted <= _names_on_server(client):
        return False
    status = _deploy_all()
    missing = wanted - _names_on_server(client)
    if status != 0 or missing:
        raise UnavailableError(
            "DEPLOY_FAILED",
            f"prefect deploy ended with {status}, missing: {', '.join(sorted(missing)) or 'none'}",
            str(PREFECT_FILE),
            "see the lines above",
        )
    write_private(record, json.dumps(now).encode())
    return True


def _deploy_all() -> int:
    """``prefect --no-prompt deploy --all`` in this process, whose imports are done; its exit status."""
    arguments = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(PREFECT_FILE)]
    before, sys.argv = sys.argv, arguments
    try:
        with contextlib.chdir(REPOSITORY_DIR):
            runpy.run_module("prefect", run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv = before
    return 0


def deployment_names() -> set[str]:
    """``flow/deployment`` of every entry of prefect.yaml, the flow's name taken from its entrypoint.

    Raises:
        InputError: ``NO_PREFECT_FILE``.
    """
    try:
        tree = yaml.safe_load(PREFECT_FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            "NO_PREFECT_FILE", "not found", str(PREFECT_FILE), "install from a checkout: pip install -e ."
        ) from None
    return {
        f"{entry['entrypoint'].rpartition('.')[2].replace('_', '-')}/{entry['name']}" for entry in tree["deployments"]
    }


def sources_digest() -> str:
    """SHA-256 over everything that a deployment is made from: prefect.yaml, the flows, their parameters' types."""
    files = [
        PREFECT_FILE,
        *sorted((REPOSITORY_DIR / "flows").glob("*.py")),
        *sorted((REPOSITORY_DIR / "tasks").glob("*.py")),
    ]
    total = hashlib.sha256(version("prefect").encode())
    for file in files:
        total.update(file.relative_to(REPOSITORY_DIR).as_posix().encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


def _names_on_server(client: SyncPrefectClient) -> set[str]:
    flows: dict[object, str] = {}
    names = set()
    for deployment in client.read_deployments(limit=200):
        if deployment.flow_id not in flows:
            flows[deployment.flow_id] = client.read_flow(deployment.flow_id).name
        names.add(f"{flows[deployment.flow_id]}/{deployment.name}")
    return names


def _read(record: Path) -> object:
    try:
        return json.loads(record.read_bytes())
    except (FileNotFoundError, ValueError):
        return None

"""The set-up task: once the Prefect server answers, make pools, blocks and deployments. Safe to run again and again.

Pools come first and are announced, so that the workers begin while the deployments are still being made.
"""

from __future__ import annotations

import os
import shutil
import sys
import time

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client

from blocks.register import SERVED_DIR, register_types, save_missing
from infra.core.errors import HeadraceError, UnavailableError
from infra.documents.sites import load_sites
from infra.platform import deployments
from infra.platform.components import POOLS_MADE, milestone_file
from infra.platform.pools import make_pools
from infra.settings import CONTROL_POOL, Settings

_POLL_S = 0.1
_SERVER_TIMEOUT_S = 320.0


def main() -> int:
    """Set up the server that the environment names; the exit status is 2 when the repository's own files are wrong."""
    settings = Settings.from_env()
    try:
        with get_client(sync_client=True) as client:
            await_server(client, time.monotonic() + _SERVER_TIMEOUT_S)
            sites = load_sites(settings.sites_dir)
            make_pools(client, (CONTROL_POOL, *(site.name for site in sites)))
            milestone_file(settings, POOLS_MADE).touch(mode=0o600)
            register_types(served_root=serve_help(settings, str(client.api_url)))
            for made in save_missing(settings, sites):
                print(f"block {made} saved", flush=True)
            if deployments.deploy_when_changed(settings, client):
                print("deployments made", flush=True)
    except HeadraceError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_status
    return 0


def serve_help(settings: Settings, api_url: str) -> str:
    """Put logos and help beside the UI's own files, so that the server serves them; returns their address."""
    for version in ("v1", "v2"):
        folder = settings.prefect_dir / "ui" / version
        if folder.is_dir():
            shutil.copytree(SERVED_DIR, folder / "headrace", dirs_exist_ok=True)
    return f"{api_url.rstrip('/').removesuffix('/api')}/headrace"


def await_server(client: SyncPrefectClient, deadline: float) -> None:
    """Return when the server is ready.

    Raises:
        UnavailableError: ``SERVER_NOT_READY`` when it is not by the deadline (monotonic seconds).
    """
    while True:
        try:
            if client._client.get("/ready").status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise UnavailableError(
                    "SERVER_NOT_READY", "it does not answer", str(client.api_url), "see the server's log"
                ) from None
        time.sleep(_POLL_S)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())

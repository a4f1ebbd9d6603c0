"""The set-up task: once the Prefect server answers, make pools, blocks and deployments. Safe to run again and again.

Pools come first and are announced, so that the workers begin while the deployments are still being made.
"""

from __future__ import annotations

import os
import sys
import time

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client

from infra.core.errors import HeadraceError, UnavailableError
from infra.documents.sites import load_sites
from infra.platform import deployments
from infra.platform.components import POOLS_MADE, milestone_file
from infra.platform.pools import make_pools
from infra.settings import CONTROL_POOL, Settings

_POLL_S = 0.1
_SERVER_TIMEOUT_S = 170.0


def main() -> int:
    """Set up the server that the environment names; the exit status is 2 when the repository's own files are wrong."""
    settings = Settings.from_env()
    try:
        with get_client(sync_client=True) as client:
            await_server(client, time.monotonic() + _SERVER_TIMEOUT_S)
            sites = load_sites(settings.sites_dir)
            make_pools(client, (CONTROL_POOL, *(site.name for site in sites)))
            milestone_file(settings, POOLS_MADE).touch(mode=0o600)
            from blocks.register import save_documents

            save_documents(settings, sites)
            deployments.deploy_when_changed(settings, client)
    except HeadraceError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_status
    return 0


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

"""How the sites are, as Prefect sees them: a site is up while a worker of its pool gives signs of life."""

from __future__ import annotations

from datetime import datetime

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from infra.core.placement.snapshot import Health, SiteHealth

SILENCE_S = 25.0
"""A worker that was silent for this long counts as dead. Workers beat every 5 s; Prefect itself waits over a minute."""


def site_health(sites: tuple[str, ...], now_at: float) -> tuple[SiteHealth, ...]:
    """Health of each site from the heartbeats of its pool's workers. A pool that cannot be read is down."""
    with get_client(sync_client=True) as client:
        return tuple(_health(client, site, now_at) for site in sites)


def _health(client, site: str, now_at: float) -> SiteHealth:  # type: ignore[no-untyped-def]
    try:
        pool = client.request("GET", "/work_pools/{name}", path_params={"name": site}).json()
        workers = client.request(
            "POST", "/work_pools/{work_pool_name}/workers/filter", path_params={"work_pool_name": site}, json={}
        ).json()
    except (ObjectNotFound, httpx.HTTPError) as error:
        return SiteHealth(site, Health.DOWN, f"its pool cannot be read: {type(error).__name__}")
    if pool.get("is_paused"):
        return SiteHealth(site, Health.DOWN, "its pool is paused")
    beats = [datetime.fromisoformat(worker["last_heartbeat_time"]) for worker in workers]
    age_s = now_at - max((beat.timestamp() for beat in beats), default=float("-inf"))
    if age_s > SILENCE_S:
        return SiteHealth(site, Health.DOWN, "no worker gives signs of life")
    return SiteHealth(site, Health.UP)

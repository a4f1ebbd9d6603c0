"""Puts a site's desk together: its site file, keys, object store, state directory and cluster providers."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

from infra.adapters.clock import SystemClock
from infra.adapters.objects import open_store
from infra.adapters.permits import PermitVerifier
from infra.adapters.signing_keys import load_private_key
from infra.core.errors import InputError
from infra.core.inventory import Cluster, Pool
from infra.documents import load_site
from infra.faults import skew_s
from infra.ports import ClusterProvider
from infra.settings import SiteSettings
from infra.worker.desk import SiteDesk
from infra.worker.providers import provider_of
from infra.worker.site_state import SiteState
from infra.worker.store_access import store_access


def site_desk(settings: SiteSettings) -> SiteDesk:
    """The desk of the site that these settings name.

    Raises:
        InputError: ``POOL_MISSING`` when the site's file has no pool of its name, or what is wrong with its files.
    """
    site = load_site(settings.site_file)
    if settings.site not in {pool.name for pool in site.pools}:
        raise InputError(
            "POOL_MISSING", f"no pool is called {settings.site}", str(settings.site_file), "name a pool like its site"
        )
    return SiteDesk(
        site=site,
        pool=settings.site,
        verifier=PermitVerifier.from_file(settings.permit_public_key_file),
        key=load_private_key(settings.key_file),
        store=open_store(settings.store_url),
        state=SiteState(settings.directory),
        providers=providers_of(settings),
        clock=SystemClock(skew_s(settings.site)),
        store_url=settings.store_url,
        access=store_access(settings, os.environ),
    )


def providers_of(settings: SiteSettings) -> Callable[[Pool], ClusterProvider]:
    """The cluster provider of a pool of this site; one object for each kind of cluster."""

    @cache
    def of_kind(kind: Cluster) -> ClusterProvider:
        return provider_of(kind, settings.directory, warm=True)

    return lambda pool: of_kind(pool.cluster)

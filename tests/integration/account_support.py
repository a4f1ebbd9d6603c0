"""The contract of cluster providers on a real account, for whoever wants to pay for it.

``HEADRACE_TRY_SITE`` names a site file whose first pool is of gcp, azure, openstack or ec2; its first offer is used. Credentials
are those of a site's worker. Machines are made and ended, a few minutes each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from infra.adapters.cloud.extras import is_installed
from infra.adapters.cloud.machine_fleets import MODULES
from infra.adapters.clusters_ec2 import Ec2Cloud
from infra.adapters.clusters_machines import MachineClouds
from infra.core.inventory import Cluster, Offer, Site
from infra.documents import load_site
from tests.integration.clusters_support import SITE

VARIABLE = "HEADRACE_TRY_SITE"


def missing() -> str:
    """What is missing for it; empty when it can run."""
    if not os.environ.get(VARIABLE):
        return f"{VARIABLE} names no site file with an account that may be billed"
    kind = load_site(os.environ[VARIABLE]).pools[0].cluster
    if kind not in (Cluster.EC2, *MODULES):
        return f"the first pool of {os.environ[VARIABLE]} is {kind}"
    module = MODULES.get(kind, "aiobotocore")
    return "" if is_installed(module) else f"{module} is not installed: pip install 'headrace[{kind}]'"


ON_ACCOUNT = (
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(missing()), reason=missing() or "it runs"),
)


@contextmanager
def account_provider(state_dir: Path) -> Iterator[tuple[Ec2Cloud | MachineClouds, Offer, Site]]:
    """A provider on the account, its offer, and its site under the names that the suite uses."""
    found = load_site(os.environ[VARIABLE])
    pool = replace(found.pools[0], name=SITE)
    kind = pool.cluster
    provider = Ec2Cloud(state_dir) if kind is Cluster.EC2 else MachineClouds(kind, state_dir)
    try:
        yield provider, pool.offers[0], replace(found, name=SITE, pools=(pool,))
    finally:
        provider.shutdown()
        assert provider.leases() == ()

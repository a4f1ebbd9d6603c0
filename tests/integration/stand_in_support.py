"""What tests on stand-ins for GCP, Azure and OpenStack share: a site there, its provider, and that nothing is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.adapters.clusters_machines import MachineClouds
from infra.core.cluster_settings import AzureSettings, GcpSettings, OpenStackSettings
from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site, TrustZone
from tests.clouds.stand_in import FOLDER, SDKS, StandIn
from tests.integration.clusters_support import SITE, offer, processes_of, until

KINDS = ("gcp", "azure", "openstack")
MODULES = ("googleapiclient", "google", "google_auth_httplib2", "httplib2", "azure", "openstack")
SECRETS = {
    "HEADRACE_CLOUD_GOOGLE_APPLICATION_CREDENTIALS": "/stand-in-secret/key.json",
    "HEADRACE_CLOUD_AZURE_TENANT_ID": "t",
    "HEADRACE_CLOUD_AZURE_CLIENT_ID": "c",
    "HEADRACE_CLOUD_AZURE_CLIENT_SECRET": "stand-in-secret",
    "HEADRACE_CLOUD_OS_APPLICATION_CREDENTIAL_ID": "i",
    "HEADRACE_CLOUD_OS_APPLICATION_CREDENTIAL_SECRET": "stand-in-secret",
}
_TYPES = {"gcp": "g2-standard-4", "azure": "Standard_NC4as_T4_v3", "openstack": "gpu.small"}
_SETTINGS: dict[str, Any] = {
    "gcp": GcpSettings("project-1", "europe-west3-b", "net", "projects/p/global/images/i", ("headrace",), "any"),
    "azure": AzureSettings("sub", "germanywestcentral", "group", "vnet", "/subnets/s", "firewall", "/images/i", "any"),
    "openstack": OpenStackSettings(
        "https://identity", "RegionOne", "net", "firewall", "image", "any", "small", ("gpu-sim",)
    ),
}


def machine_offer(kind: str, spot: bool = False) -> Offer:
    purchase = Purchase.SPOT if spot else Purchase.ON_DEMAND
    return replace(offer(), purchase=purchase, instance_type=_TYPES[kind])


def machine_site(kind: str) -> Site:
    pool = Pool(SITE, Cluster(kind), (machine_offer(kind),), **{kind: _SETTINGS[kind]})
    return Site(SITE, "DE", TrustZone.PRIVATE, (pool,))


@contextmanager
def stand_in(folder: Path) -> Iterator[StandIn]:
    """The cloud, with its libraries importable in this process; at the end none of its machines may be left."""
    if any(name in sys.modules for name in MODULES):
        pytest.skip("the libraries of a real cloud are imported here")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SDKS))
        patch.setenv(FOLDER, str(folder))
        cloud = StandIn(folder)
        try:
            yield cloud
            assert cloud.machines() == []
            assert list(folder.glob("*.interface")) == []
        finally:
            cloud.faults()
            for machine in cloud.machines():
                cloud.delete(machine["name"])
            until(lambda: not processes_of(folder))
            for name in [name for name in sys.modules if name.partition(".")[0] in MODULES]:
                del sys.modules[name]


@contextmanager
def machine_provider(kind: str, cloud: StandIn, state_dir: Path, **options: Any) -> Iterator[MachineClouds]:
    """A provider; at the end nothing of it may be left."""
    provider = MachineClouds(Cluster(kind), state_dir, **{"environ": SECRETS, "start_timeout_s": 60.0, **options})
    provider._environment |= {FOLDER: str(cloud.folder)}
    provider._environment["PYTHONPATH"] += f":{SDKS}"
    try:
        yield provider
    finally:
        cloud.faults()
        provider.shutdown()
        until(lambda: not processes_of(state_dir))

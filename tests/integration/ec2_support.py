"""What tests on the emulated EC2 share: a site there, its provider, user-data, and that nothing is left."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.config
import pytest
import yaml

from infra.adapters.clusters_ec2 import Ec2Cloud
from infra.core.inventory import Cluster, Ec2Settings, Offer, Pool, Purchase, Site, TrustZone
from tests.clouds.ec2 import REGION, Ec2Emulator, missing
from tests.clouds.network import namespaces
from tests.integration.clusters_support import SITE, offer, processes_of, until

ON_EC2 = (pytest.mark.slow, pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "it runs"))
WORKER_TYPE, SCHEDULER_TYPE = "g5.xlarge", "t3.small"


def ec2_offer(spot: bool = False, boot_s: float = 0.0, instance_type: str = WORKER_TYPE) -> Offer:
    purchase = Purchase.SPOT if spot else Purchase.ON_DEMAND
    return replace(offer(boot_s), purchase=purchase, instance_type=instance_type)


def ec2_site(cloud: Ec2Emulator, subnets: tuple[str, ...] = (), region: str = REGION) -> Site:
    place = cloud.place(region)
    settings = Ec2Settings(region, place.image, subnets or (place.subnet,), (place.security_group,), "any")
    pool = Pool(SITE, Cluster.EC2, (ec2_offer(),), settings)
    return Site(SITE, "DE", TrustZone.PRIVATE, (pool,))


@contextmanager
def ec2_provider(cloud: Ec2Emulator, state_dir: Path, **options: Any) -> Iterator[Ec2Cloud]:
    """A provider; at the end nothing of it may be left, in the cloud or here."""
    environ = {**os.environ, **cloud.environment()}
    provider = Ec2Cloud(state_dir, environ=environ, start_timeout_s=60.0, **options)
    try:
        yield provider
    finally:
        cloud.control.faults(no_capacity=[], throttle_calls=0, throttle_rate=0.0, error="", unreachable=False, boot_s=0)
        provider.shutdown()
        until(lambda: not cloud.instances())
        until(lambda: not cloud.control.machines() and not namespaces(cloud.slot))
        until(lambda: not processes_of(state_dir))


def user_data(cloud: Ec2Emulator, instance_id: str) -> str:
    answer = cloud.client().describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
    return base64.b64decode(answer["UserData"]["Value"]).decode()


def told_configuration(text: str) -> dict[str, Any]:
    """The Dask configuration in a machine's user-data."""
    [command] = [line for line in yaml.safe_load(text)["runcmd"] if line.startswith("docker run")]
    _, _, rest = command.partition('DASK_INTERNAL_INHERIT_CONFIG="')
    return dask.config.deserialize(rest.partition('"')[0])

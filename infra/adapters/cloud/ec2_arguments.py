"""What a lease's EC2 machines are: all that dask-cloudprovider's class is told. Nothing here imports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.adapters.certificates import ClusterIdentity
from infra.adapters.cloud.tags import lease_tags
from infra.adapters.cloud.user_data import hard_end_command
from infra.core.cluster_settings import Ec2Settings
from infra.ports import Lease

WORKER_PATIENCE_S = 120
"""How long a worker waits for a scheduler that is not up yet, or was lost, before its machine goes off."""


@dataclass(frozen=True, slots=True)
class Ec2Order:
    """What a lease's machines are to be.

    Attributes:
        owner: See :func:`infra.adapters.cloud.tags.owner_of`.
        spot: Whether the workers are spot instances.
        machine_ends_at: Hard end of each machine's life, a little after the lease's.
        serve_timeout_s: How long a machine may take to serve.
    """

    lease: Lease
    settings: Ec2Settings
    owner: str
    instance_type: str
    spot: bool
    idle_timeout_s: float
    machine_ends_at: float
    serve_timeout_s: float
    identity: ClusterIdentity

    @property
    def tags(self) -> dict[str, str]:
        return lease_tags(self.lease, self.owner)


def worker_certificates(devices: int) -> tuple[str, ...]:
    """Names of the certificates of a lease's worker machines."""
    return tuple(f"worker-{index}" for index in range(devices))


def cluster_arguments(order: Ec2Order, subnet: str, now_at: float) -> dict[str, Any]:
    """All keyword arguments of the class but for its security."""
    settings, profile = order.settings, order.settings.instance_profile
    return {
        "region": settings.region,
        "bootstrap": False,
        "auto_shutdown": True,
        "ami": settings.image,
        "scheduler_instance_type": settings.scheduler_instance_type,
        "worker_instance_type": order.instance_type,
        "subnet_id": subnet,
        "vpc": "of the subnet",  # only asked for to find a subnet
        "security_groups": list(settings.security_groups),
        "filesystem_size": settings.volume_gb,
        "iam_instance_profile": {} if profile is None else {"Arn" if profile.startswith("arn:") else "Name": profile},
        "docker_image": settings.docker_image,
        "instance_tags": order.tags,
        "volume_tags": order.tags,
        "use_private_ip": True,
        "spot": order.spot,
        "extra_bootstrap": [hard_end_command(order.machine_ends_at, now_at)],
        "n_workers": order.lease.devices,
        "worker_class": "distributed.Worker",
        "worker_options": {"nthreads": 1, "death_timeout": WORKER_PATIENCE_S},
        "scheduler_options": {"idle_timeout": f"{order.idle_timeout_s:g}s"},
        "name": f"headrace-{order.lease.id}",
        "asynchronous": True,
        "shutdown_on_close": False,
    }

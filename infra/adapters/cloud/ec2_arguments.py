"""All that dask-cloudprovider's class for EC2 is told. Nothing here imports it."""

from __future__ import annotations

from typing import Any

from infra.adapters.cloud.common_arguments import common_arguments
from infra.adapters.cloud.order import MachineOrder


def cluster_arguments(order: MachineOrder, subnet: str, now_at: float) -> dict[str, Any]:
    """All keyword arguments of the class but for its security."""
    settings, profile = order.settings, order.settings.instance_profile
    return common_arguments(order, now_at) | {
        "region": settings.region,
        "auto_shutdown": True,
        "ami": settings.image,
        "scheduler_instance_type": settings.scheduler_instance_type,
        "worker_instance_type": order.instance_type,
        "subnet_id": subnet,
        "vpc": "of the subnet",  # only asked for to find a subnet
        "security_groups": list(settings.security_groups),
        "filesystem_size": settings.volume_gb,
        "iam_instance_profile": {} if profile is None else {"Arn" if profile.startswith("arn:") else "Name": profile},
        "instance_tags": order.tags,
        "volume_tags": order.tags,
        "use_private_ip": True,
        "spot": order.spot,
    }

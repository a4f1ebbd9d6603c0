"""All that dask-cloudprovider's class for EC2 is told. Nothing here imports it."""

from __future__ import annotations

from typing import Any

from infra.adapters.cloud.order import WORKER_PATIENCE_S, MachineOrder
from infra.adapters.cloud.user_data import hard_end_command


def cluster_arguments(order: MachineOrder, subnet: str, now_at: float) -> dict[str, Any]:
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

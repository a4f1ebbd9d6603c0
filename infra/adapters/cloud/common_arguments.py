"""What every class of dask-cloudprovider is told alike. Nothing here imports it."""

from __future__ import annotations

from typing import Any

from infra.adapters.cloud.order import WORKER_PATIENCE_S, MachineOrder
from infra.adapters.cloud.user_data import hard_end_command


def common_arguments(order: MachineOrder, now_at: float) -> dict[str, Any]:
    """The keyword arguments that do not depend on whose machines they are."""
    return {
        "bootstrap": False,
        "docker_image": order.settings.docker_image,
        "extra_bootstrap": [hard_end_command(order.machine_ends_at, now_at)],
        "n_workers": order.lease.devices,
        "worker_class": "distributed.Worker",
        "worker_options": {"nthreads": 1, "death_timeout": WORKER_PATIENCE_S},
        "scheduler_options": {"idle_timeout": f"{order.idle_timeout_s:g}s"},
        "name": f"headrace-{order.lease.id}",
        "asynchronous": True,
        "shutdown_on_close": False,
    }

"""The process that holds one lease's EC2 cluster, forked by the host that has imported all this already.

Machines do not end with it: when it is killed they live on until the lease is closed, their scheduler was idle for
long, their own hard end, or the reaper. When the process that opened the lease is killed, it ends them at once.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiobotocore.session import get_session

from infra.adapters.certificates import forget_machine_keys
from infra.adapters.cloud.ec2_cluster import LeaseCluster
from infra.adapters.cloud.holding import keep_lease
from infra.adapters.cloud.machine_records import note_ends, write_machine
from infra.adapters.cloud.order import MachineOrder
from infra.adapters.cloud.steps import NoCapacity
from infra.adapters.cloud.tags import CloudMachine
from infra.adapters.local_cloud.records import LeaseDirectory

CLOSE_TIMEOUT_S = 20.0
LOOK_EVERY_S = 15.0
"""How often it is written down which machines have ended. The cloud forgets them after about an hour."""

for _name in ("service-2", "endpoint-rule-set-1"):
    # Read once, before keepers are forked: a client is made for each call, and this is most of what one costs.
    get_session().get_component("data_loader").load_service_model("ec2", _name)


def keep(path: Path, answers: int) -> None:
    """Hold the cluster of a lease, see :func:`infra.adapters.cloud.holding.keep_lease`."""
    keep_lease(path, answers, _Kept, CLOSE_TIMEOUT_S)


class _Kept:
    """EC2's part of :class:`infra.adapters.cloud.holding.KeptCluster`."""

    def __init__(self, directory: LeaseDirectory) -> None:
        self._directory, self._order = directory, MachineOrder.read(directory)
        self.ends_at = self._order.lease.ends_at
        self.start_deadline_at = directory.document()["order"]["start_deadline_at"]
        self._cluster: LeaseCluster | None = None

    @property
    def doing(self) -> str:
        return self._cluster.doing if self._cluster is not None else "starting"

    async def start(self) -> dict[str, Any]:
        subnets = self._order.settings.subnets
        for subnet in subnets:
            try:
                return await self._start_in(subnet)
            except Exception as problem:
                # A cluster lies in one zone. What was made in a zone that cannot give all of it is ended first.
                if subnet == subnets[-1] or "NO_CAPACITY" not in str(problem):
                    raise
                await self.close()
        raise NoCapacity("NO_CAPACITY: no subnet")

    async def _start_in(self, subnet: str) -> dict[str, Any]:
        self._cluster = cluster = LeaseCluster(self._order, subnet, self._write)
        await cluster
        workers = await cluster.wait_for_all_workers()
        forget_machine_keys(self._directory.tls)  # each is on its machine; here they are of no more use
        return {"scheduler": cluster.scheduler.address, "workers": workers, "subnet": subnet}

    async def watch(self) -> None:
        while self._cluster is not None:
            await asyncio.sleep(LOOK_EVERY_S)
            with suppress(Exception):  # the cloud's API may be away for a while
                note_ends(self._directory, await self._cluster.machines())

    async def close(self) -> None:
        if self._cluster is not None:
            await self._cluster.end_machines()

    def _write(self, machine: CloudMachine, role: str) -> None:
        write_machine(self._directory, machine, role)

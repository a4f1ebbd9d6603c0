"""The process that holds one lease's machines on GCP, Azure or OpenStack, forked by the host.

Machines do not end with it: when it is killed they live on until the lease is closed, their scheduler was idle for
long, their own hard end, or the reaper. When the process that opened the lease is killed, it ends them at once.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra.adapters.certificates import forget_machine_keys
from infra.adapters.cloud.accounts import account_environment
from infra.adapters.cloud.holding import keep_lease
from infra.adapters.cloud.machine_cluster import LeaseMachines, lease_machines
from infra.adapters.cloud.machine_fleets import fleet_of, openstack_connection
from infra.adapters.cloud.machine_records import forget_machine, note_ends, note_missing, write_machine
from infra.adapters.cloud.order import MachineOrder
from infra.adapters.cloud.tags import LEASE, OWNER, CloudMachine
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.cluster_settings import OpenStackSettings

CLOSE_TIMEOUT_S = 60.0
LOOK_EVERY_S = 15.0


def keep(path: Path, answers: int) -> None:
    """Hold the cluster of a lease, see :func:`infra.adapters.cloud.holding.keep_lease`."""
    keep_lease(path, answers, _Kept, CLOSE_TIMEOUT_S)


class _Kept:
    """These clouds' part of :class:`infra.adapters.cloud.holding.KeptCluster`."""

    def __init__(self, directory: LeaseDirectory) -> None:
        self._directory, self._order = directory, MachineOrder.read(directory)
        self._variables = account_environment(self._order.kind, os.environ)
        self._fleet = fleet_of(self._order.settings, self._variables)
        self.ends_at = self._order.lease.ends_at
        self.start_deadline_at = directory.document()["order"]["start_deadline_at"]
        self._cluster: LeaseMachines | None = None

    @property
    def doing(self) -> str:
        return self._cluster.doing if self._cluster is not None else "starting"

    async def start(self) -> dict[str, Any]:
        settings = self._order.settings
        connection = None
        if isinstance(settings, OpenStackSettings):
            connection = await asyncio.to_thread(openstack_connection, settings, self._variables)
        cluster: Any = lease_machines(self._order, self._write, self._refused, connection)
        self._cluster = cluster
        await cluster
        workers = await cluster.wait_for_all_workers()
        forget_machine_keys(self._directory.tls)  # each is on its machine; here they are of no more use
        return {"scheduler": cluster.scheduler.address, "workers": workers}

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with suppress(Exception):  # the cloud's API may be away for a while
                machines = await self._machines()
                note_ends(self._directory, machines)
                note_missing(self._directory, machines, "reclaimed" if self._order.spot else "shut_down")

    async def close(self) -> None:
        machines = await self._machines()
        await asyncio.to_thread(self._fleet.end, machines)

    async def _machines(self) -> list[CloudMachine]:
        tags = {OWNER: self._order.owner, LEASE: self._order.lease.id}
        return await asyncio.to_thread(self._fleet.find, tags)

    def _write(self, machine: CloudMachine, role: str) -> None:
        write_machine(self._directory, machine, role)

    def _refused(self, machine_id: str) -> None:
        forget_machine(self._directory, machine_id)

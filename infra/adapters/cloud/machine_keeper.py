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

from infra.adapters.certificates import ClusterIdentity, forget_machine_keys
from infra.adapters.cloud.holding import hold, log_to
from infra.adapters.cloud.machine_cluster import LeaseMachines, lease_machines
from infra.adapters.cloud.machine_fleets import account_environment, fleet_of, openstack_connection, settings_from
from infra.adapters.cloud.machine_records import note_ends, note_missing, write_machine
from infra.adapters.cloud.rendering import MachineOrder
from infra.adapters.cloud.tags import LEASE, OWNER, CloudMachine
from infra.adapters.local_cloud.nursery import name_process
from infra.adapters.local_cloud.records import LeaseDirectory, ProcessIdentity, write_json
from infra.core.cluster_settings import OpenStackSettings
from infra.core.inventory import Cluster

CLOSE_TIMEOUT_S = 60.0
LOOK_EVERY_S = 15.0


def keep(path: Path, answers: int) -> None:
    """Hold the cluster of the lease whose files lie in ``path``; returns when it is ended.

    Args:
        answers: Descriptor that the one line of answer is written to.
    """
    directory = LeaseDirectory(path)
    name_process("headrace-keeper")
    write_json(path / "keeper.json", ProcessIdentity.of().as_dict())
    log_to(path / "keeper.log")
    asyncio.run(hold(_Kept(directory), answers, CLOSE_TIMEOUT_S))


class _Kept:
    """These clouds' part of :class:`infra.adapters.cloud.holding.KeptCluster`."""

    def __init__(self, directory: LeaseDirectory) -> None:
        document, lease = directory.document(), directory.lease()
        if lease is None:
            raise ValueError(f"{directory.path} holds no lease")
        told, kind = document["order"], Cluster(document["provider"])
        self._directory = directory
        self._order = MachineOrder(
            lease=lease,
            settings=settings_from(kind, told["settings"]),
            owner=told["owner"],
            instance_type=told["instance_type"],
            device=told["device"],
            spot=told["spot"],
            idle_timeout_s=told["idle_timeout_s"],
            machine_ends_at=told["machine_ends_at"],
            serve_timeout_s=told["serve_timeout_s"],
            identity=ClusterIdentity(lease.id, directory.tls),
        )
        self._variables = account_environment(kind, os.environ)
        self._fleet = fleet_of(self._order.settings, self._variables)
        self.ends_at, self.start_deadline_at = lease.ends_at, told["start_deadline_at"]
        self._cluster: LeaseMachines | None = None

    @property
    def doing(self) -> str:
        return self._cluster.doing if self._cluster is not None else "starting"

    async def start(self) -> dict[str, Any]:
        settings = self._order.settings
        connection = None
        if isinstance(settings, OpenStackSettings):
            connection = await asyncio.to_thread(openstack_connection, settings, self._variables)
        cluster: Any = lease_machines(self._order, self._write, connection)
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

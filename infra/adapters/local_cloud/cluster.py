"""The simulated cloud as a dask-cloudprovider cluster: its virtual machines are processes on this computer.

Two habits of ``VMCluster`` shape this file. Its option dictionaries belong to the class, so each cluster here gets its
own. And it writes the security settings into the process-wide Dask configuration, so a process (the keeper) holds one
cluster only. ``VMCluster`` also waits for its scheduler's socket for ever; here a machine is created only once it
serves, which has a deadline.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask_cloudprovider.generic.vmcluster import SchedulerMixin, VMCluster, VMInterface, WorkerMixin
from distributed.security import Security

from infra import faults
from infra.adapters.local_cloud.machine import MachineSpec, Role
from infra.adapters.local_cloud.nursery import NurseryClient
from infra.adapters.local_cloud.records import LeaseDirectory, read_json
from infra.faults import Point
from infra.ports import Lease

POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class CloudOrder:
    """What a lease's machines are to be.

    Attributes:
        requested_at: When the machines were asked for; all of them, so that they boot at the same time.
        boot_s: How long one takes from then until it can serve.
        start_deadline_at: When a machine that does not serve yet has failed.
        reclaim_after_s: For each worker machine, how long it serves until the cloud takes it back, or ``None``.
    """

    lease: Lease
    directory: LeaseDirectory
    requested_at: float
    boot_s: float
    start_deadline_at: float
    idle_timeout_s: float
    reclaim_after_s: tuple[float | None, ...]

    def spec(self, name: str, role: Role, index: int, scheduler: str | None) -> MachineSpec:
        return MachineSpec(
            name=name,
            role=role,
            directory=str(self.directory.path),
            tls_directory=str(self.directory.tls),
            requested_at=self.requested_at,
            boot_until=self.requested_at + self.boot_s,
            ends_at=self.lease.ends_at,
            reclaim_after_s=self.reclaim_after_s[index] if role is Role.WORKER else None,
            scheduler=scheduler,
            idle_timeout_s=self.idle_timeout_s if role is Role.SCHEDULER else None,
            tags={"lease": self.lease.id, "run": self.lease.run_id, "attempt": self.lease.attempt},
        )


class LocalMachine(VMInterface):
    """A virtual machine that is a process of this computer."""

    role: Role

    def __init__(self, *args: Any, cluster: LocalVMCluster, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cluster = cluster

    async def create_vm(self) -> tuple[str, None]:
        """Make the machine and wait until it serves.

        Raises:
            RuntimeError: When it ended before that, or is not up at the deadline.
        """
        order = self.cluster.order
        index = self.cluster.next_index() if self.role is Role.WORKER else 0
        spec = order.spec(self.name, self.role, index, getattr(self, "scheduler", None))
        self.cluster.nursery.start(spec)
        faults.passed(Point.MACHINES_ASKED)
        host, port = await _address(spec.record_path, order.start_deadline_at)
        self.port = port
        return host, None

    async def destroy_vm(self) -> None:
        self.cluster.nursery.stop(self.name)


class LocalScheduler(SchedulerMixin, LocalMachine):
    role = Role.SCHEDULER


class LocalWorker(WorkerMixin, LocalMachine):
    role = Role.WORKER


class LocalVMCluster(VMCluster):
    """A scheduler and the lease's workers, each in a machine of its own, TLS only."""

    scheduler_class = LocalScheduler
    worker_class = LocalWorker

    def __init__(self, order: CloudOrder, nursery: NurseryClient, security: Security) -> None:
        self.order, self.nursery = order, nursery
        self._index = 0
        self.options = {"cluster": self}
        self.scheduler_options = {"cluster": self}
        self.worker_options = {"cluster": self}
        super().__init__(
            n_workers=order.lease.devices,
            security=security,
            scheduler_options={"idle_timeout": f"{order.idle_timeout_s:g}s"},
            asynchronous=True,
            name=f"headrace-{order.lease.id}",
            shutdown_on_close=False,
        )

    def next_index(self) -> int:
        """Position of the next worker machine among the lease's."""
        self._index += 1
        return self._index - 1

    def worker_names(self) -> tuple[str, ...]:
        return tuple(sorted(worker.name for worker in self.workers.values()))

    def get_tags(self) -> dict[str, str]:
        lease = self.order.lease
        return super().get_tags() | {"lease": lease.id, "run": lease.run_id, "attempt": str(lease.attempt)}


async def _address(record_path: Path, deadline_at: float) -> tuple[str, int]:
    """Host and port of a machine, once it serves."""
    while True:
        record = read_json(record_path) or {}
        if record.get("ended_at") is not None:
            raise RuntimeError(f"{record['name']} ended while it started: {record['why']} {record.get('detail', '')}")
        if record.get("ready_at") is not None:
            host, _, port = record["address"].removeprefix("tls://").rpartition(":")
            return host, int(port)
        if time.time() >= deadline_at:
            raise RuntimeError(f"{record_path.stem} was not up in time")
        await asyncio.sleep(POLL_S)

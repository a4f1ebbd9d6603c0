"""The keeper: the one process that holds one lease's cluster of the simulated cloud.

The host forks it with two pipes. It forks its nursery, builds the cluster, answers with one line of JSON, and keeps
the cluster until its standard input ends, which happens whatever kills the process that holds the other end, or until
the lease does. Ending itself, it ends everything: what it cannot end any more when it is killed, its nursery and the
machines' lifelines do.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

from distributed.security import Security

from infra.adapters.certificates import ClusterIdentity
from infra.adapters.cloud.holding import hold, log_to
from infra.adapters.local_cloud.cluster import CloudOrder, LocalVMCluster
from infra.adapters.local_cloud.nursery import NurseryClient, name_process, start_nursery_process
from infra.adapters.local_cloud.records import LeaseDirectory, ProcessIdentity, write_json

CLOSE_TIMEOUT_S = 5.0


def keep(path: Path, answers: int) -> None:
    """Hold the cluster of the lease whose files lie in ``path``; returns when nothing of it is left.

    Standard input is the lifeline. The process must have one thread and no event loop yet.

    Args:
        answers: Descriptor that the one line of answer is written to.
    """
    directory = LeaseDirectory(path)
    control, nursery = start_nursery_process(private=(0, answers))
    client = NurseryClient(control)
    try:
        name_process("headrace-keeper")
        write_json(path / "keeper.json", ProcessIdentity.of().as_dict() | {"nursery": nursery.as_dict()})
        log_to(path / "keeper.log")
        asyncio.run(hold(_Kept(directory, client), answers, CLOSE_TIMEOUT_S))
    finally:
        client.close()


class _Kept:
    """The simulated cloud's part of :class:`infra.adapters.cloud.holding.KeptCluster`."""

    doing = "starting machines"

    def __init__(self, directory: LeaseDirectory, nursery: NurseryClient) -> None:
        self._order, self._nursery = _order(directory), nursery
        self.ends_at, self.start_deadline_at = self._order.lease.ends_at, self._order.start_deadline_at
        self._cluster: LocalVMCluster | None = None

    async def start(self) -> dict[str, Any]:
        identity = ClusterIdentity.load(self._order.lease.id, self._order.directory.tls)
        security = Security(**identity.security_arguments(), tls_min_version=ssl.TLSVersion.TLSv1_3)
        cluster = LocalVMCluster(self._order, self._nursery, security)
        await cluster
        self._cluster = cluster
        return {"scheduler": cluster.scheduler.address, "workers": cluster.worker_names()}

    async def watch(self) -> None:
        """Machines write down their own lives here."""

    async def close(self) -> None:
        # What was started only in part, or cannot be closed in order, ends with the nursery.
        if self._cluster is not None:
            await self._cluster.close()


def _order(directory: LeaseDirectory) -> CloudOrder:
    document, lease = directory.document(), directory.require_lease()
    order = document["order"]
    return CloudOrder(
        lease=lease,
        directory=directory,
        requested_at=document["requested_at"],
        boot_s=order["boot_s"],
        start_deadline_at=order["start_deadline_at"],
        idle_timeout_s=order["idle_timeout_s"],
        reclaim_after_s=tuple(order["reclaim_after_s"]),
    )

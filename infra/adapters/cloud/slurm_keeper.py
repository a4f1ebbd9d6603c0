"""The process that holds one lease's jobs and their Dask scheduler, forked by the host that has imported all this.

When it is killed its scheduler is gone, and every worker ends its job for want of it; what still waits in the queue is
cancelled by whoever closes the lease, by the reaper, or at its deadline by Slurm.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra import faults
from infra.adapters.certificates import ClusterIdentity
from infra.adapters.cloud.holding import keep_lease
from infra.adapters.cloud.slurm_cluster import LeaseJobs
from infra.adapters.cloud.slurm_job import SlurmOrder
from infra.adapters.cloud.slurm_queue import SlurmJob, SlurmQueue
from infra.adapters.cloud.slurm_records import note_jobs
from infra.adapters.cloud.tags import LEASE, OWNER
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.cluster_settings import SlurmSettings
from infra.faults import Point

CLOSE_TIMEOUT_S = 20.0
POLL_S = 0.05
LOOK_EVERY_S = 15.0


def keep(path: Path, answers: int) -> None:
    """Hold the cluster of a lease, see :func:`infra.adapters.cloud.holding.keep_lease`."""
    keep_lease(path, answers, _Kept, CLOSE_TIMEOUT_S)


class _Kept:
    """Slurm's part of :class:`infra.adapters.cloud.holding.KeptCluster`."""

    def __init__(self, directory: LeaseDirectory) -> None:
        lease, told = directory.require_lease(), directory.document()["order"]
        settings = dict(told["settings"])
        settings["gres"] = tuple((device, resource) for device, resource in settings["gres"])
        settings["directives"] = tuple(settings["directives"])
        self._directory, self._queue = directory, SlurmQueue()
        self._order = SlurmOrder(
            lease=lease,
            settings=SlurmSettings(**settings),
            owner=told["owner"],
            resource=told["resource"],
            idle_timeout_s=told["idle_timeout_s"],
            jobs_end_at=told["jobs_end_at"],
            identity=ClusterIdentity.load(lease.id, directory.tls),
            logs=directory.path / "logs",
        )
        self.ends_at, self.start_deadline_at = lease.ends_at, told["start_deadline_at"]
        self._doing, self._cluster = "starting the scheduler", None

    @property
    def doing(self) -> str:
        return self._doing

    async def start(self) -> dict[str, Any]:
        self._cluster = cluster = LeaseJobs(self._order, time.time())
        self._doing = "submitting jobs"
        await cluster
        faults.passed(Point.MACHINES_ASKED)
        self._doing = "waiting for the jobs"
        wanted, look_at = set(cluster.plan), 0.0
        while not wanted <= cluster.joined():
            if time.monotonic() >= look_at:
                self._require(await self._look())
                look_at = time.monotonic() + 1.0
            await asyncio.sleep(POLL_S)
        await self._look()
        return {"scheduler": cluster.scheduler.address, "workers": sorted(wanted), "jobs": cluster.job_ids()}

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with suppress(Exception):  # Slurm's controller may be away for a while
                await self._look()

    async def close(self) -> None:
        try:
            await asyncio.to_thread(self._queue.end, await self._look())
            await self._look()
        finally:
            if self._cluster is not None and self._cluster.scheduler is not None:
                await self._cluster.scheduler.close(reason="the lease is over")

    async def _look(self) -> list[SlurmJob]:
        """The lease's jobs, found by their tags; their lives are written down."""
        tags = {OWNER: self._order.owner, LEASE: self._order.lease.id}
        jobs = await asyncio.to_thread(self._queue.find, tags)
        note_jobs(self._directory, jobs)
        return jobs

    def _require(self, jobs: list[SlurmJob]) -> None:
        """Say what the start is at; raise RuntimeError when a job ended before its worker had joined."""
        over = [job for job in jobs if not job.alive]
        if over:
            raise RuntimeError(f"job {over[0].id} ended while it started: {over[0].state}, see {self._order.logs}")
        waiting = Counter(job.waits_for for job in jobs if job.state == "PENDING")
        told = ", ".join(f"{count} for {reason}" for reason, count in sorted(waiting.items()))
        self._doing = f"NO_CAPACITY: jobs that wait in the queue: {told}" if told else "waiting for the workers to join"

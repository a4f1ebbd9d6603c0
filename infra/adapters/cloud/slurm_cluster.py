"""dask-jobqueue's Slurm cluster with what a lease needs of it; everything else is the library's.

What differs from a plain :class:`dask_jobqueue.SLURMCluster`, and why:

- Every option is given. What is left out comes from Dask's configuration files, where anybody may have written it.
- A job carries the lease's tags in its comment, is never put back into the queue, and cannot outlive its lease: a timer
  in the job to the second, and Slurm itself, which counts in minutes, also for a job that is still waiting.
- The scheduler here and the workers on the nodes speak TLS 1.3 with the cluster's own certificates and nothing else. The
  script names the certificates' files, which lie in the lease's directory; it holds no key.
- Workers keep their files on the node, in a directory that goes with the job.
"""

from __future__ import annotations

import ssl
from typing import Any

import dask.config
from dask_jobqueue import SLURMCluster
from distributed.security import Security

from infra.adapters.cloud.slurm_job import SlurmOrder, cluster_arguments

NO_PAGES: list[Any] = []
"""Dask's small HTTP servers have no encryption and no password: they get no pages."""


class LeaseJobs(SLURMCluster):
    """A scheduler in this process and the lease's jobs, TLS only."""

    def __init__(self, order: SlurmOrder, now_at: float) -> None:
        dask.config.set(
            {
                "distributed.scheduler.http.routes": NO_PAGES,
                "distributed.comm.require-encryption": True,
                # A job that was lost is not asked for again: its devices were the lease's.
                "distributed.deploy.lost-worker-timeout": "1s",
            }
        )
        security = Security(**order.identity.security_arguments(), tls_min_version=ssl.TLSVersion.TLSv1_3)
        super().__init__(security=security, **cluster_arguments(order, now_at))
        self.shutdown_on_close = False
        for _ in range(order.lease.devices):
            self.worker_spec.update(self.new_worker_spec())

    def job_ids(self) -> list[str]:
        """Numbers of the jobs that were accepted."""
        return [job.job_id for job in self.workers.values() if job.job_id]

    def joined(self) -> set[str]:
        """Names of the workers that the scheduler knows."""
        return {str(worker.name) for worker in self.scheduler.workers.values()}

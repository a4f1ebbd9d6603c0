"""What a lease's jobs in Slurm's queue are: all that dask-jobqueue is told. Nothing here imports it."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.adapters.certificates import ClusterIdentity
from infra.adapters.cloud.order import WORKER_PATIENCE_S
from infra.adapters.cloud.slurm_queue import comment_of
from infra.adapters.cloud.tags import lease_tags
from infra.core.canonical import run_key
from infra.core.cluster_settings import SlurmSettings
from infra.ports import Lease


@dataclass(frozen=True, slots=True)
class SlurmOrder:
    """What a lease's jobs are to be.

    Attributes:
        owner: See :func:`infra.adapters.cloud.tags.owner_of`.
        resource: Generic resource of one job, or ``None``.
        jobs_end_at: Hard end of each job, a little after the lease's.
        logs: Where the jobs' output goes, a directory that the nodes have too.
    """

    lease: Lease
    settings: SlurmSettings
    owner: str
    resource: str | None
    idle_timeout_s: float
    jobs_end_at: float
    identity: ClusterIdentity
    logs: Path

    @property
    def name(self) -> str:
        """Name of the jobs, and the beginning of the workers' names."""
        return f"headrace-{run_key(self.lease.id)}"


def directives(order: SlurmOrder, now_at: float) -> list[str]:
    """Options of ``sbatch`` besides the ones that the library writes itself.

    Slurm keeps time in whole minutes and lets a job that starts late end at its deadline, rounded down. So the deadline
    is a minute later than the job's own timer, which ends it in time.
    """
    settings = order.settings
    left_s = max(1, math.ceil(order.jobs_end_at - now_at))
    found = [
        f"--comment={comment_of(lease_tags(order.lease, order.owner))}",
        f"--deadline=now+{left_s + 60}",
        "--time-min=1",
        "--no-requeue",
        "--export=ALL",
    ]
    if settings.qos is not None:
        found.append(f"--qos={settings.qos}")
    if order.resource is not None:
        found.append(f"--gres={order.resource}")
    return [*found, *settings.directives]


def prologue(order: SlurmOrder) -> list[str]:
    """Lines of the script before the worker."""
    lines = [
        "umask 077",
        f"left_s=$(( {math.ceil(order.jobs_end_at)} - $(date +%s) ))",
        'if [ "$left_s" -le 0 ]; then echo "the lease is over" >&2; exit 0; fi',
        "scratch=$(mktemp -d) && trap 'rm -rf \"$scratch\"' EXIT || exit 1",
        "export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=true DASK_DISTRIBUTED__COMM__TLS__MIN_VERSION=1.3",
        "export DASK_DISTRIBUTED__WORKER__HTTP__ROUTES='[]'",
    ]
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    lines.append("export " + " ".join(f"{name}={order.settings.cores}" for name in threads))
    if order.settings.python is not None:
        lines.append("unset PYTHONPATH")  # the nodes' own installation counts
    return lines


def cluster_arguments(order: SlurmOrder, now_at: float) -> dict[str, Any]:
    """All that :class:`dask_jobqueue.SLURMCluster` is told, but for its security."""
    settings = order.settings
    scheduler: dict[str, Any] = {"idle_timeout": f"{order.idle_timeout_s:g}s", "dashboard": False}
    scheduler["dashboard_address"] = "127.0.0.1:0"
    if settings.scheduler_interface is not None:
        scheduler["interface"] = settings.scheduler_interface
    elif settings.scheduler_host is not None:
        scheduler["host"] = settings.scheduler_host
    return {
        "name": order.name,
        "job_name": order.name,
        "n_workers": 0,  # they are asked for once it is awaited, so that what goes wrong is told
        "processes": 1,
        "cores": 1,
        "job_cpu": settings.cores,
        "memory": f"{settings.memory_gb:g}GB",
        "job_mem": f"{math.ceil(settings.memory_gb * 1e9 / 2**20)}M",
        "queue": settings.partition,
        "account": settings.account,
        "walltime": str(max(1, math.ceil((order.jobs_end_at - now_at) / 60.0))),
        "python": f'timeout --kill-after=5 "${{left_s}}s" {settings.python or sys.executable}',
        "worker_command": "distributed.cli.dask_worker",
        "worker_extra_args": ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"],
        "nanny": False,
        "death_timeout": WORKER_PATIENCE_S,
        "local_directory": '"$scratch"',
        "job_script_prologue": prologue(order),
        "job_extra_directives": directives(order, now_at),
        "job_directives_skip": [],
        "log_directory": str(order.logs),
        "shebang": "#!/usr/bin/env bash",
        "protocol": "tls://",
        "scheduler_options": scheduler,
        "silence_logs": False,
        "asynchronous": True,
        "config_name": "slurm",
    }

"""Slurm as a cluster provider: each lease gets a TLS Dask scheduler beside the site's worker and jobs as its workers.

The lease is written before the first ``sbatch``, and every job's comment carries its tags. A job ends when the lease is
closed, when its scheduler was idle for long or is gone, at its own hard end, and by the reaper, whichever is first.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from infra.adapters.certificates import ClusterIdentity, issue_identity
from infra.adapters.cloud.extras import is_installed, require_extra
from infra.adapters.cloud.kept import CERTIFICATE_LEEWAY_S
from infra.adapters.cloud.slurm_queue import SlurmJob, SlurmQueue, slurm_environment
from infra.adapters.cloud.slurm_records import note_jobs
from infra.adapters.cloud.tagged import Fleet, TaggedClusters
from infra.adapters.cloud.tags import owner_of
from infra.adapters.local_cloud.environment import machine_environment
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.canonical import plain
from infra.core.cluster_settings import is_path
from infra.core.errors import InputError
from infra.core.inventory import Offer, Site
from infra.ports import ClusterAddress, Lease

COMMANDS = ("sbatch", "squeue", "scancel")


class SlurmClusters(TaggedClusters):
    """Cluster provider on the Slurm that the site's worker belongs to. Safe to use from several threads.

    Args:
        state_dir: The site's state directory; the nodes have it under the same path, for certificates and logs.
        idle_timeout_s: A cluster without work ends itself after this time.
        start_timeout_s: How long jobs may wait in the queue and start, beyond the offer's boot time.
        warm: Whether to start the host at once and not with the first lease.
        environ: Where Slurm's commands and configuration are found.
        clock: Seconds since the epoch.
    """

    kind = "slurm"
    keeper_module = "infra.adapters.cloud.slurm_keeper"
    close_patience_s = 25.0
    hard_end_margin_s = 5.0

    def __init__(
        self,
        state_dir: Path,
        *,
        idle_timeout_s: float = 300.0,
        start_timeout_s: float = 240.0,
        warm: bool = False,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._idle_timeout_s, self._slurm_environ = idle_timeout_s, slurm_environment(environ)
        self._queue = SlurmQueue(environ)
        variables = machine_environment(Path(state_dir).absolute(), self._slurm_environ)
        super().__init__(state_dir, variables, start_timeout_s, (), warm and is_installed("dask_jobqueue"), clock)

    def open(self, lease: Lease, offer: Offer, site: Site) -> ClusterAddress:
        """As of every provider; besides it refuses what cannot work before anything is written.

        Raises:
            InputError: ``BAD_STATE_DIRECTORY`` when its path cannot stand in a job's script.
            UnavailableError: ``EXTRA_MISSING`` without dask-jobqueue.
        """
        require_extra("dask_jobqueue", "slurm", f"pool {lease.pool}")
        if not is_path(str(self._state_dir)):
            raise InputError(
                "BAD_STATE_DIRECTORY",
                "a job's script cannot name a path with other characters than letters, digits and . _ / @ + -",
                str(self._state_dir),
                "set HEADRACE_SITE_DIR to a plain path that the nodes have too",
            )
        return super().open(lease, offer, site)

    def _order(self, lease: Lease, offer: Offer, site: Site, now_at: float) -> dict[str, Any]:
        settings = self._settings(site, lease)
        return {
            "settings": plain(settings),
            "owner": owner_of(self._state_dir),
            "resource": settings.gres_of(offer.device),
            "idle_timeout_s": self._idle_timeout_s,
            "jobs_end_at": lease.ends_at + self.hard_end_margin_s,
        }

    def _issue(self, lease: Lease, directory: LeaseDirectory) -> ClusterIdentity:
        return issue_identity(directory.tls, lease.id, self._clock(), lease.ends_at + CERTIFICATE_LEEWAY_S)

    def _refusal(self, offer: Offer) -> str | None:
        absent = [name for name in COMMANDS if shutil.which(name, path=self._slurm_environ.get("PATH")) is None]
        return f"not on the PATH of the site's worker: {', '.join(absent)}" if absent else None

    def _note_ends(self, directory: LeaseDirectory, machines: Iterable[SlurmJob]) -> None:
        note_jobs(directory, machines)

    def _fleet_of(self, directory: LeaseDirectory) -> SlurmQueue:
        return self._queue

    def _known_fleets(self) -> list[Fleet[SlurmJob]]:
        return [self._queue]

"""EC2 as a cluster provider: each lease gets an ephemeral TLS Dask cluster of machines with private addresses.

The lease is written before the first call, and everything that is made carries its tags, so that whoever comes after a
kill finds all of it. A machine ends when the lease is closed, when its scheduler was idle for long, when the keeper
sees that the lease's opener is gone, at its own hard end, and by the reaper, whichever is first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from infra.adapters.cloud.accounts import account_environment
from infra.adapters.cloud.ec2_fleet import Ec2Fleet
from infra.adapters.cloud.machine_clusters import MachineClusters
from infra.adapters.cloud.machine_records import note_ends
from infra.adapters.cloud.tagged import Fleet
from infra.adapters.cloud.tags import CloudMachine
from infra.adapters.local_cloud.environment import machine_environment
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.cluster_settings import Ec2Settings
from infra.core.inventory import Cluster


class Ec2Cloud(MachineClusters):
    """Cluster provider on AWS EC2. Safe to use from several threads.

    Args:
        state_dir: The site's state directory.
        idle_timeout_s: A cluster without work ends itself after this time.
        start_timeout_s: How long a start may take beyond the offer's boot time.
        warm: Whether to start the host at once and not with the first lease.
        environ: Where credentials and endpoints are found; they stay in keepers and never reach machines.
        clock: Seconds since the epoch.
    """

    kind = "ec2"
    keeper_module = "infra.adapters.cloud.ec2_keeper"
    close_patience_s = 25.0

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
        self._idle_timeout_s, self._variables = idle_timeout_s, account_environment(Cluster.EC2, environ)
        variables = machine_environment(Path(state_dir).absolute(), self._variables)
        super().__init__(state_dir, variables, start_timeout_s, (), warm, clock)
        self._fleets: dict[str, Ec2Fleet] = {}

    def add_place(self, settings: Ec2Settings) -> None:
        self._fleet(settings.region)

    def _note_ends(self, directory: LeaseDirectory, machines: Iterable[CloudMachine]) -> None:
        note_ends(directory, machines)

    def _fleet_of(self, directory: LeaseDirectory) -> Ec2Fleet:
        return self._fleet(directory.document()["order"]["settings"]["region"])

    def _known_fleets(self) -> list[Fleet[CloudMachine]]:
        for directory in self._directories():
            self._fleet_of(directory)
        return list(self._fleets.values())

    def _fleet(self, region: str) -> Ec2Fleet:
        with self._lock:
            return self._fleets.setdefault(region, Ec2Fleet(region, self._variables))

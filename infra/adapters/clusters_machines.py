"""GCP, Azure and OpenStack as cluster providers: each lease gets an ephemeral TLS Dask cluster of private machines.

They work as EC2's does (see ``clusters_ec2``). What is asked of their libraries and held against them is tested without
an account; no test has seen the clouds themselves yet.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from infra.adapters.cloud.accounts import account_environment
from infra.adapters.cloud.extras import is_installed, require_extra
from infra.adapters.cloud.machine_clusters import MachineClusters
from infra.adapters.cloud.machine_fleets import MODULES, fleet_of, require_account
from infra.adapters.cloud.machine_records import note_ends, note_missing
from infra.adapters.cloud.order import settings_from
from infra.adapters.cloud.tagged import Fleet
from infra.adapters.cloud.tags import CloudMachine
from infra.adapters.local_cloud.environment import machine_environment
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.canonical import canonical
from infra.core.cluster_settings import AzureSettings, GcpSettings, OpenStackSettings
from infra.core.inventory import Cluster, Offer, Site
from infra.ports import ClusterAddress, Lease

Settings = GcpSettings | AzureSettings | OpenStackSettings


class MachineClouds(MachineClusters):
    """Cluster provider on GCP, Azure or OpenStack. Safe to use from several threads.

    Args:
        cluster: Which of them.
        state_dir: The site's state directory.
        idle_timeout_s: A cluster without work ends itself after this time.
        start_timeout_s: How long a start may take beyond the offer's boot time.
        warm: Whether to start the host at once and not with the first lease.
        environ: Where credentials are found; they stay in keepers and never reach machines.
        clock: Seconds since the epoch.
    """

    keeper_module = "infra.adapters.cloud.machine_keeper"
    close_patience_s = 65.0

    def __init__(
        self,
        cluster: Cluster,
        state_dir: Path,
        *,
        idle_timeout_s: float = 300.0,
        start_timeout_s: float = 420.0,
        warm: bool = False,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.kind, self._cluster = cluster.value, cluster
        self._idle_timeout_s = idle_timeout_s
        self._variables = account_environment(cluster, environ)
        variables = machine_environment(Path(state_dir).absolute(), self._variables)
        super().__init__(state_dir, variables, start_timeout_s, (), warm and is_installed(MODULES[cluster]), clock)
        self._fleets: dict[bytes, Fleet[CloudMachine]] = {}

    def open(self, lease: Lease, offer: Offer, site: Site) -> ClusterAddress:
        """As of every provider; without the provider's library or account it refuses before anything is written.

        Raises:
            InputError: ``SETTING_MISSING``.
            UnavailableError: ``EXTRA_MISSING``.
        """
        require_extra(MODULES[self._cluster], self.kind, f"pool {lease.pool}")
        require_account(self._cluster, self._variables)
        return super().open(lease, offer, site)

    def add_place(self, settings: Settings) -> None:
        self._fleet(settings)

    def _note_ends(self, directory: LeaseDirectory, machines: Iterable[CloudMachine]) -> None:
        found = list(machines)
        note_ends(directory, found)
        note_missing(directory, found, "closed")

    def _fleet_of(self, directory: LeaseDirectory) -> Fleet[CloudMachine]:
        return self._fleet(settings_from(self._cluster, directory.document()["order"]["settings"]))

    def _known_fleets(self) -> list[Fleet[CloudMachine]]:
        for directory in self._directories():
            self._fleet_of(directory)
        return list(self._fleets.values())

    def _fleet(self, settings: Settings) -> Fleet[CloudMachine]:
        with self._lock:
            return self._fleets.setdefault(_place(settings), fleet_of(settings, self._variables))


def _place(settings: Settings) -> bytes:
    """What tells two places apart in which machines are looked for."""
    if isinstance(settings, GcpSettings):
        return canonical([settings.project, settings.zone])
    if isinstance(settings, AzureSettings):
        return canonical([settings.subscription, settings.resource_group])
    return canonical([settings.auth_url, settings.region])

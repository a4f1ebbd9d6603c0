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
from typing import Any

from infra.adapters.certificates import ClusterIdentity, issue_identity
from infra.adapters.cloud.ec2_fleet import Ec2Fleet, cloud_environment
from infra.adapters.cloud.kept import CERTIFICATE_LEEWAY_S
from infra.adapters.cloud.machine_records import note_ends
from infra.adapters.cloud.tagged import Fleet, TaggedClusters
from infra.adapters.cloud.tags import CloudMachine, owner_of
from infra.adapters.local_cloud.environment import machine_environment
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.canonical import plain
from infra.core.errors import InputError
from infra.core.inventory import Offer, Purchase, Site
from infra.ports import Lease


class Ec2Cloud(TaggedClusters):
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
        self._idle_timeout_s, self._environ = idle_timeout_s, dict(environ)
        variables = machine_environment(Path(state_dir).absolute(), cloud_environment(environ))
        super().__init__(state_dir, variables, start_timeout_s, (), warm, clock)
        self._fleets: dict[str, Ec2Fleet] = {}

    def _order(self, lease: Lease, offer: Offer, site: Site, now_at: float) -> dict[str, Any]:
        settings = next((pool.ec2 for pool in site.pools if pool.name == lease.pool), None)
        if settings is None or offer.instance_type is None:
            raise InputError(
                "CONTRADICTORY_POOL", "it has no settings of ec2", f"pool {lease.pool}", "add them to the site's file"
            )
        return {
            "settings": plain(settings),
            "owner": owner_of(self._state_dir),
            "instance_type": offer.instance_type,
            "spot": offer.purchase is Purchase.SPOT,
            "idle_timeout_s": self._idle_timeout_s,
            "machine_ends_at": lease.ends_at + self.hard_end_margin_s,
            "serve_timeout_s": offer.boot_s + self._start_timeout_s / 2,
        }

    def _issue(self, lease: Lease, directory: LeaseDirectory) -> ClusterIdentity:
        workers = tuple(f"worker-{index}" for index in range(lease.devices))
        ends_at = lease.ends_at + CERTIFICATE_LEEWAY_S
        return issue_identity(directory.tls, lease.id, self._clock(), ends_at, workers)

    def add_region(self, region: str) -> None:
        """Let the reaper look there as well, though no lease of it is written down."""
        self._fleet(region)

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
            return self._fleets.setdefault(region, Ec2Fleet(region, self._environ))

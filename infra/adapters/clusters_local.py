"""The simulated cloud as a cluster provider: each lease gets an ephemeral TLS Dask cluster of processes.

A lease's cluster is held by a keeper process (see ``local_cloud.keeper``), because dask-cloudprovider allows one
cluster in a process. Keepers are forked by a host that has imported Dask already, so that a start costs little more
than the offer's boot time. Nothing here outlives its lease: the keeper ends with this process, the machines end with
the keeper, each machine ends itself at the lease's end, and the reaper checks all of it from outside.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infra.adapters.certificates import ClusterIdentity, issue_identity
from infra.adapters.cloud.kept import CERTIFICATE_LEEWAY_S, KeptClusters
from infra.adapters.local_cloud.environment import machine_environment
from infra.adapters.local_cloud.faults import CloudFaults
from infra.adapters.local_cloud.reaping import reap_recorded
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.inventory import Offer, Site
from infra.ports import Lease, Reaped

Reclaims = Callable[[Lease, Offer, int], float | None]


def draw_reclaim_s(lease: Lease, offer: Offer, index: int) -> float | None:
    """After how many seconds of service the cloud takes a machine back; ``None`` for never.

    Times between reclaims are exponential with the offer's rate. The draw depends on the lease's id and the machine's
    position alone, so a run can be repeated.
    """
    if offer.interruptions_per_hour <= 0:
        return None
    drawn = hashlib.sha256(f"reclaim:{lease.id}:{index}".encode()).digest()
    uniform = (int.from_bytes(drawn[:8], "big") + 1) / (2**64 + 1)
    return -math.log(uniform) * 3600.0 / offer.interruptions_per_hour


class LocalCloud(KeptClusters):
    """Cluster provider whose virtual machines are processes on this computer.

    Safe to use from several threads. Leases that another process opened on the same state directory can be listed,
    metered and closed as well.

    Args:
        state_dir: The site's state directory.
        idle_timeout_s: A cluster without work ends itself after this time.
        start_timeout_s: How long a start may take beyond the offer's boot time.
        preload: Modules that machines shall have imported already, for example ``torch``.
        warm: Whether to start the host at once and not with the first lease.
        environment: Variables that the machines get besides the short default list.
        reclaims: After how many seconds of service each machine is taken back; see :func:`draw_reclaim_s`.
        clock: Seconds since the epoch.
    """

    kind = "local"
    keeper_module = "infra.adapters.local_cloud.keeper"

    def __init__(
        self,
        state_dir: Path,
        *,
        idle_timeout_s: float = 300.0,
        start_timeout_s: float = 60.0,
        preload: tuple[str, ...] = (),
        warm: bool = False,
        environment: Mapping[str, str] | None = None,
        reclaims: Reclaims = draw_reclaim_s,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._idle_timeout_s, self._reclaims = idle_timeout_s, reclaims
        variables = machine_environment(Path(state_dir).absolute(), environment)
        super().__init__(state_dir, variables, start_timeout_s, preload, warm, clock)

    def reap(self, now_at: float, grace_s: float, dry_run: bool) -> list[Reaped]:
        """End processes of leases that have ended or whose opener is gone."""
        return reap_recorded(self._state_dir, self.kind, now_at, grace_s, dry_run)

    def _order(self, lease: Lease, offer: Offer, site: Site, now_at: float) -> dict[str, Any]:
        return {
            "boot_s": offer.boot_s,
            "idle_timeout_s": self._idle_timeout_s + lease.idle_s,
            "reclaim_after_s": self._reclaim_after_s(lease, offer),
        }

    def _issue(self, lease: Lease, directory: LeaseDirectory) -> ClusterIdentity:
        return issue_identity(directory.tls, lease.id, self._clock(), lease.ends_at + CERTIFICATE_LEEWAY_S)

    def _refusal(self, offer: Offer) -> str | None:
        return CloudFaults.of(self._state_dir).refusal(offer.name)

    def _reclaim_after_s(self, lease: Lease, offer: Offer) -> list[float | None]:
        """After how long each of the lease's machines is taken back."""
        ordered = CloudFaults.of(self._state_dir).reclaim.get(offer.name)
        return [ordered or self._reclaims(lease, offer, index) for index in range(lease.devices)]

    def _lives_until(self, path: Path, now_at: float) -> float:
        # A machine that was killed cannot say when; it lived until its last sign of life at least.
        return min(now_at, path.stat().st_mtime + 2.0)

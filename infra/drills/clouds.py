"""What a drill can do to clouds, whoever emulates them: one port, so that the same drill is played on each of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import psutil

from infra.adapters.local_cloud.faults import CloudFaults
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.inventory import Cluster, Purchase
from infra.drills.platform import Platform
from infra.ports import Lease


class Clouds(Protocol):
    """Emulated clouds of a platform's sites. Each trouble holds until :meth:`heal`."""

    def go_away(self) -> None:
        """No API answers from now on. Machines go on."""

    def sell_out(self) -> None:
        """No machine can be had of any offer."""

    def take_back_spot(self, after_s: float) -> None:
        """Take every spot machine back after so many seconds of service, of clusters that start from now on."""

    def kill_machines(self, lease: Lease) -> None:
        """All machines of the lease that are theirs die at once, and nobody is told."""

    def heal(self) -> None:
        """All troubles are over. Safe to repeat."""


CloudsOf = Callable[[Platform], Clouds]
"""Makes them for the platform that a drill hurts."""


class SimulatedClouds:
    """Those whose machines are processes, of all pools with ``cluster: local``."""

    def __init__(self, box: Platform) -> None:
        self._box = box

    def go_away(self) -> None:
        self._suffer(CloudFaults(away=True))

    def sell_out(self) -> None:
        self._suffer(CloudFaults(refuse=self._offers()))

    def take_back_spot(self, after_s: float) -> None:
        self._suffer(CloudFaults(reclaim=dict.fromkeys(self._offers(Purchase.SPOT), after_s)))

    def kill_machines(self, lease: Lease) -> None:
        directory = LeaseDirectory.of(self._box.settings.site_dir(lease.site), lease.id)
        if directory.document().get("provider") == Cluster.LOCAL.value:
            for identity in directory.running():
                process = identity.process()
                if process is not None:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()

    def heal(self) -> None:
        self._suffer(CloudFaults())

    def _suffer(self, faults: CloudFaults) -> None:
        for site in self._box.control.sites:
            if any(pool.cluster is Cluster.LOCAL for pool in site.pools):
                faults.write(self._box.settings.site_dir(site.name))

    def _offers(self, purchase: Purchase | None = None) -> tuple[str, ...]:
        pools = [pool for site in self._box.control.sites for pool in site.pools if pool.cluster is Cluster.LOCAL]
        found = {offer.name for pool in pools for offer in pool.offers if purchase in (None, offer.purchase)}
        return tuple(sorted(found))

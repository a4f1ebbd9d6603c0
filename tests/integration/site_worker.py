"""A site's worker as `python -m infra.worker.main` runs it, with an in-memory cluster provider in place of a cloud."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from infra.adapters.clock import SystemClock
from infra.adapters.clusters_memory import MemoryClusters
from infra.adapters.objects import open_store
from infra.adapters.permits import PermitVerifier
from infra.adapters.signing_keys import load_private_key
from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site, TrustZone
from infra.core.pricing import Price
from infra.ports import ClusterAddress, Lease
from infra.processes import die_with_parent
from infra.settings import SiteSettings
from infra.worker.desk import SiteDesk
from infra.worker.site_state import SiteState
from infra.worker.store_access import store_access

OFFERS = (
    Offer("gpu", Purchase.ON_DEMAND, "gpu-sim", 4, 8.0, 1.0, Price(3_600_000)),
    Offer("slow-to-start", Purchase.SPOT, "gpu-sim", 4, 8.0, 1.0, Price(3_600_000)),
)
SITE = Site("cloud-test", "DE", TrustZone.PUBLIC, (Pool("cloud-test", Cluster.LOCAL, OFFERS),), simulated=True)


@dataclass
class NotedClusters:
    """In-memory clusters that leave a file for each open cluster, so that a test in another process sees them."""

    directory: Path

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.clusters = MemoryClusters()

    def open(self, lease: Lease, offer: Offer, site: Site) -> ClusterAddress:
        note = self.directory / lease.id
        note.touch()
        deadline = time.monotonic() + (120.0 if offer.name == "slow-to-start" else 0.0)
        while note.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.clusters.open(lease, offer, site)

    def close(self, lease_id: str) -> None:
        self.clusters.close(lease_id)
        (self.directory / lease_id).unlink(missing_ok=True)

    def had_machines(self, lease_id: str) -> bool:
        return self.clusters.had_machines(lease_id)

    def leases(self) -> tuple[str, ...]:
        return tuple(sorted(path.name for path in self.directory.iterdir()))


def main() -> None:
    die_with_parent(os.getppid(), signal.SIGTERM)
    import infra.worker.assembly
    from infra.worker.service import serve

    def desk(settings: SiteSettings) -> SiteDesk:
        clusters = NotedClusters(settings.clusters_dir)
        return SiteDesk(
            site=SITE,
            pool=SITE.name,
            verifier=PermitVerifier.from_file(settings.permit_public_key_file),
            key=load_private_key(settings.key_file),
            store=open_store(settings.store_url),
            state=SiteState(settings.directory),
            providers=lambda _pool: clusters,
            clock=SystemClock(),
            store_url=settings.store_url,
            access=store_access(settings, os.environ),
        )

    infra.worker.assembly.site_desk = desk
    serve(SITE.name)


if __name__ == "__main__":
    sys.exit(main())

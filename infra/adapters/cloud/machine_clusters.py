"""What the providers share whose clusters are machines of a cloud, each with an order and a certificate of its own."""

from __future__ import annotations

from typing import Any

from infra.adapters.certificates import ClusterIdentity, issue_identity
from infra.adapters.cloud.kept import CERTIFICATE_LEEWAY_S
from infra.adapters.cloud.order import worker_certificates
from infra.adapters.cloud.tagged import TaggedClusters
from infra.adapters.cloud.tags import owner_of
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.canonical import plain
from infra.core.inventory import Offer, Purchase, Site
from infra.ports import Lease


class MachineClusters(TaggedClusters):
    """Base of the providers on EC2, GCP, Azure and OpenStack."""

    _idle_timeout_s: float

    def _order(self, lease: Lease, offer: Offer, site: Site, now_at: float) -> dict[str, Any]:
        """As :class:`infra.adapters.cloud.order.MachineOrder` reads it."""
        settings = self._settings(site, lease)
        if offer.instance_type is None:
            raise self._without_settings(lease)
        return {
            "settings": plain(settings),
            "owner": owner_of(self._state_dir),
            "instance_type": offer.instance_type,
            "device": offer.device,
            "spot": offer.purchase is Purchase.SPOT,
            "idle_timeout_s": self._idle_timeout_s + lease.idle_s,
            "machine_ends_at": lease.ends_at + self.hard_end_margin_s,
            "serve_timeout_s": offer.boot_s + self._start_timeout_s / 2,
        }

    def _issue(self, lease: Lease, directory: LeaseDirectory) -> ClusterIdentity:
        workers = worker_certificates(lease.devices)
        return issue_identity(directory.tls, lease.id, self._clock(), lease.ends_at + CERTIFICATE_LEEWAY_S, workers)

"""Clusters for leases: opened, closed, metered, and ended from outside when nobody else does."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from infra.core.inventory import Offer, Site


@dataclass(frozen=True, slots=True)
class Lease:
    """A cluster's right to exist.

    Attributes:
        ends_at: Hard end of life; every machine of the cluster ends itself then, whoever is still alive.
        idle_s: How long it may stand without work beyond what any cluster may, for it waits to be taken.
    """

    id: str
    run_id: str
    attempt: int
    site: str
    pool: str
    offer: str
    devices: int
    cap_micro: int
    opened_at: float
    ends_at: float
    idle_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """How a client reaches a cluster. The three paths are PEM files for mutual TLS.

    Attributes:
        workers: Names of the Dask workers that this lease may use; empty means all.
    """

    scheduler: str
    ca_file: str
    cert_file: str
    key_file: str
    workers: tuple[str, ...] = ()


class ReapReason(StrEnum):
    """Why something was ended from outside."""

    LEASE_ENDED = "lease_ended"
    """Its hard end plus the grace period is over."""
    ORPHANED = "orphaned"
    """The process that opened the lease is gone, so nobody can use, meter or close it."""
    NO_LEASE = "no_lease"
    """Something of a lease that is closed or was never written down."""


@dataclass(frozen=True, slots=True)
class Reaped:
    """What was ended, or would be in a dry run.

    Attributes:
        processes: Identities of those that were still alive.
        workers: Workers of a standing cluster that were freed.
        overdue_s: How long the lease's hard end was over; negative before it.
        machines: Ids of a cloud's machines that were ended.
    """

    lease_id: str
    reason: ReapReason
    processes: tuple[Any, ...]
    workers: tuple[str, ...]
    overdue_s: float
    machines: tuple[str, ...] = ()


class ClusterProvider(Protocol):
    """Opens and closes clusters for leases. Closing twice, or an unknown lease, is no error."""

    def open(self, lease: Lease, offer: Offer, site: Site) -> ClusterAddress:
        """Block until ``lease.devices`` Dask workers are up.

        Raises:
            UnavailableError: CLUSTER_START_FAILED; everything that was started is gone again.
        """

    def close(self, lease_id: str) -> None: ...

    def reap(self, now_at: float, grace_s: float, dry_run: bool) -> list[Reaped]:
        """End what outlived its lease, and what belongs to a lease whose opener is gone, whoever started it.

        Args:
            grace_s: How long after its hard end a lease may still be ending by itself.
            dry_run: Only tell what would be ended.

        Raises:
            UnavailableError: CLOUD_UNREACHABLE.
        """

    def leases(self) -> tuple[str, ...]:
        """Ids of leases for which something still exists."""

    def had_machines(self, lease_id: str) -> bool:
        """Whether a lease had a device, on a machine or of a standing worker, at any time; ``True`` also where that cannot be
        said."""

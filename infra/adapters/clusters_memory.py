"""A cluster provider that only keeps books: for tests of what stands above it. Its addresses lead nowhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from infra.core.errors import ConflictError, InputError, UnavailableError
from infra.core.inventory import Offer, Site
from infra.ports import ClusterAddress, Lease, Reaped


class MemoryClusters:
    """In-memory cluster provider with the behaviour of the real ones.

    Args:
        capacity: How many workers exist in all; ``None`` for as many as are asked for.
        clock: Seconds since the epoch. A lease that has ended is gone, as its machines would be.
        failures: How many of the next starts fail; they leave nothing.
    """

    def __init__(self, capacity: int | None = None, clock: Callable[[], float] = time.time, failures: int = 0) -> None:
        self._capacity, self._clock, self.failures = capacity, clock, failures
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[Lease, float, float | None]] = {}

    def open(self, lease: Lease, offer: Offer, site: Site) -> ClusterAddress:
        with self._lock:
            now_at = self._clock()
            if lease.ends_at <= now_at:
                raise InputError(
                    "LEASE_ENDED", "it ends before it begins", f"lease {lease.id}", "open it with time left"
                )
            if lease.id in self._seen:
                raise ConflictError("LEASE_EXISTS", f"{lease.id} was opened before", remedy="use a new lease")
            taken = sum(held.devices for held in self._open(now_at))
            if self.failures > 0 or (self._capacity is not None and taken + lease.devices > self._capacity):
                self.failures = max(0, self.failures - 1)
                self._seen[lease.id] = (lease, now_at, now_at)
                raise UnavailableError("CLUSTER_START_FAILED", "not enough workers", f"lease {lease.id}", "try later")
            self._seen[lease.id] = (lease, now_at, None)
            root = f"/memory/{site.name}/{lease.id}"
            workers = tuple(f"{lease.id}-{index}" for index in range(lease.devices))
            return ClusterAddress(
                f"tls://{lease.id}.memory:1", f"{root}/ca.pem", f"{root}/client.pem", f"{root}/client.key", workers
            )

    def close(self, lease_id: str) -> None:
        with self._lock:
            lease, opened_at, closed_at = self._seen.get(lease_id, (None, 0.0, None))
            if lease is not None and closed_at is None:
                self._seen[lease_id] = (lease, opened_at, min(self._clock(), lease.ends_at))

    def leases(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(sorted(lease.id for lease in self._open(self._clock())))

    def had_machines(self, lease_id: str) -> bool:
        with self._lock:
            _, opened_at, closed_at = self._seen.get(lease_id, (None, 0.0, None))
            return closed_at != opened_at

    def usage(self, lease_id: str) -> dict[str, float]:
        """As the real providers: ``machine_s``, ``boot_s``, ``ready_at`` and ``reclaimed``."""
        with self._lock:
            lease, opened_at, closed_at = self._seen.get(lease_id, (None, 0.0, None))
            if lease is None:
                return {"machine_s": 0.0, "boot_s": 0.0, "ready_at": 0.0, "reclaimed": 0}
            until_at = closed_at if closed_at is not None else min(self._clock(), lease.ends_at)
            held_s = (until_at - opened_at) * lease.devices
            return {"machine_s": held_s, "boot_s": 0.0, "ready_at": opened_at, "reclaimed": 0}

    def reap(self, now_at: float, grace_s: float, dry_run: bool) -> list[Reaped]:
        """Nothing of an ended lease is ever left here."""
        return []

    def shutdown(self) -> None:
        """Close every lease."""
        for lease_id in self.leases():
            self.close(lease_id)

    def _open(self, now_at: float) -> list[Lease]:
        return [lease for lease, _, closed_at in self._seen.values() if closed_at is None and now_at < lease.ends_at]

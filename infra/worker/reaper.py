"""Ends what outlived its lease (invariant I4): the last of several guards, and the only one that looks from outside.

Machines end themselves at their lease's end and within seconds when their holder is gone, so in ordinary life there is
nothing to reap. The reaper reads the same files that were written before anything was started, trusts no process
number without its start time, and can be run by anybody at any time, also twice at once.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from infra.adapters.clusters_attached import claims, drop_claims
from infra.adapters.local_cloud.records import LeaseDirectory, ProcessIdentity, read_json

KEEP_CLOSED_S = 14 * 86_400.0


class ReapReason(StrEnum):
    LEASE_ENDED = "lease_ended"
    """Its hard end plus the grace period is over."""
    ORPHANED = "orphaned"
    """The process that opened the lease is gone, so nobody can use, meter or close it."""
    NO_LEASE = "no_lease"
    """A claim of a lease that is closed or was never written down."""


@dataclass(frozen=True, slots=True)
class Reaped:
    """What was ended, or would be in a dry run.

    Attributes:
        processes: Those that were still alive.
        workers: Workers of a standing cluster that were freed.
        overdue_s: How long the lease's hard end was over; negative before it.
    """

    lease_id: str
    reason: ReapReason
    processes: tuple[ProcessIdentity, ...]
    workers: tuple[str, ...]
    overdue_s: float


def reap(state_dir: Path, now_at: float, grace_s: float = 10.0, dry_run: bool = False) -> list[Reaped]:
    """End every cluster and claim of a site whose lease has ended or whose holder is gone.

    Args:
        state_dir: The site's state directory; one that does not exist has nothing to reap.
        now_at: Seconds since the epoch.
        grace_s: How long after its hard end a lease may still be ending by itself.
        dry_run: Only tell what would be done.
    """
    reaped = []
    for directory in LeaseDirectory.all(state_dir):
        lease = directory.lease()
        if directory.closed or lease is None:
            continue
        reason = _reason(directory, lease.ends_at, now_at, grace_s)
        if reason is None:
            continue
        held = tuple(worker for worker, claim in claims(state_dir).items() if claim["lease"] == lease.id)
        processes = tuple(directory.running())
        if not dry_run:
            processes = tuple(dict.fromkeys([*processes, *directory.end(reason.value, now_at)]))
            drop_claims(state_dir, lease.id)
        reaped.append(Reaped(lease.id, reason, processes, held, now_at - lease.ends_at))
    return reaped + _stray_claims(state_dir, now_at, dry_run)


def forget_closed(state_dir: Path, now_at: float, keep_s: float = KEEP_CLOSED_S) -> list[str]:
    """Delete the files of leases that were closed longer than ``keep_s`` seconds ago; returns the leases' ids."""
    forgotten = []
    for directory in LeaseDirectory.all(state_dir):
        closed, lease = read_json(directory.path / "closed.json"), directory.lease()
        if closed is not None and lease is not None and now_at - closed["closed_at"] > keep_s:
            shutil.rmtree(directory.path, ignore_errors=True)
            forgotten.append(lease.id)
    return forgotten


def _reason(directory: LeaseDirectory, ends_at: float, now_at: float, grace_s: float) -> ReapReason | None:
    if now_at > ends_at + grace_s:
        return ReapReason.LEASE_ENDED
    opener = directory.opener()
    return ReapReason.ORPHANED if opener is None or not opener.alive() else None


def _stray_claims(state_dir: Path, now_at: float, dry_run: bool) -> list[Reaped]:
    alive = {lease.id for found in LeaseDirectory.all(state_dir) if not found.closed and (lease := found.lease())}
    stray: dict[str, list[str]] = {}
    for worker, claim in claims(state_dir).items():
        if claim["lease"] not in alive:
            stray.setdefault(claim["lease"], []).append(worker)
    if not dry_run:
        for lease_id in stray:
            drop_claims(state_dir, lease_id)
    return [Reaped(lease_id, ReapReason.NO_LEASE, (), tuple(workers), 0.0) for lease_id, workers in stray.items()]

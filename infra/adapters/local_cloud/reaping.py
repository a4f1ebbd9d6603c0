"""Reaping by what is written down on this computer: processes that outlived their lease or whose opener is gone."""

from __future__ import annotations

from pathlib import Path

from infra.adapters.local_cloud.records import LeaseDirectory
from infra.ports import Reaped, ReapReason


def reap_recorded(state_dir: Path, kind: str, now_at: float, grace_s: float, dry_run: bool) -> list[Reaped]:
    """End every open lease of a kind of provider whose time is over or whose opener is gone."""
    reaped = []
    for directory in LeaseDirectory.all(state_dir):
        lease = directory.lease()
        if directory.closed or lease is None or directory.document().get("provider", "local") != kind:
            continue
        reason = reap_reason(directory, lease.ends_at, now_at, grace_s)
        if reason is None:
            continue
        processes = tuple(directory.running())
        if not dry_run:
            processes = tuple(dict.fromkeys([*processes, *directory.end(reason.value, now_at)]))
        reaped.append(Reaped(lease.id, reason, processes, (), now_at - lease.ends_at))
    return reaped


def reap_reason(directory: LeaseDirectory, ends_at: float, now_at: float, grace_s: float) -> ReapReason | None:
    """Why an open lease is to be ended; ``None`` when it is not."""
    if now_at > ends_at + grace_s:
        return ReapReason.LEASE_ENDED
    opener = directory.opener()
    return ReapReason.ORPHANED if opener is None or not opener.alive() else None

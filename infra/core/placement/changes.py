"""What a change to a request means: the request and the snapshot as they would be with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from infra.core.inventory import Purchase, TrustZone
from infra.core.jurisdictions import permits
from infra.core.placement.decision import Change, ChangeKind
from infra.core.placement.snapshot import Snapshot
from infra.core.units import period_of
from infra.core.workload import DatasetRef, Fallback, WorkloadRequest


def apply_changes(
    request: WorkloadRequest, snapshot: Snapshot, changes: Iterable[Change]
) -> tuple[WorkloadRequest, Snapshot]:
    """The request and snapshot as they would be with these changes.

    A residency or trust change is a hypothesis about the request and its datasets: both are relaxed just as far.
    ``TENANT_BUDGET`` is the tenant's new limit for the current period.
    """
    for change in changes:
        request, snapshot = _apply(request, snapshot, change)
    return request, snapshot


def _apply(request: WorkloadRequest, snapshot: Snapshot, change: Change) -> tuple[WorkloadRequest, Snapshot]:
    kind, value = change.kind, change.value
    if kind is ChangeKind.BUDGET:
        return replace(request, budget_micro=int(value)), snapshot
    if kind is ChangeKind.DEADLINE:
        return replace(request, deadline_at=float(value)), snapshot
    if kind is ChangeKind.WAIT:
        return replace(request, fallbacks=(*request.fallbacks, Fallback.WAIT)), snapshot
    if kind is ChangeKind.PURCHASE:
        return replace(request, purchases=(*request.purchases, Purchase(str(value)))), snapshot
    if kind is ChangeKind.TENANT_BUDGET:
        return request, with_limit(request, snapshot, int(value))
    if kind is ChangeKind.RESIDENCY:
        return _with_country(request, snapshot, str(value))
    if kind is ChangeKind.TRUST_ZONE:
        return _with_zone(request, snapshot, TrustZone(str(value)))
    wanted = request.resources
    if kind is ChangeKind.DEVICES:
        wanted = replace(wanted, devices=int(value))
    elif kind is ChangeKind.MEMORY:
        wanted = replace(wanted, memory_gb=float(value))
    elif kind is ChangeKind.DEVICE_KIND:
        wanted = replace(wanted, device_kinds=(*wanted.device_kinds, str(value)))
    return replace(request, resources=wanted), snapshot


def with_limit(request: WorkloadRequest, snapshot: Snapshot, limit_micro: int) -> Snapshot:
    """The snapshot with another limit for the tenant in the current period."""
    period = period_of(snapshot.now_at)
    balances = (
        replace(balance, limit_micro=limit_micro)
        if balance.tenant == request.tenant and balance.period == period
        else balance
        for balance in snapshot.balances
    )
    return replace(snapshot, balances=tuple(balances))


def _with_country(request: WorkloadRequest, snapshot: Snapshot, country: str) -> tuple[WorkloadRequest, Snapshot]:
    def widened(tags: tuple[str, ...]) -> tuple[str, ...]:
        return tags if permits(tags, country) else (*tags, country)

    read = set(request.datasets)
    datasets = tuple(
        replace(version, residency=widened(version.residency))
        if DatasetRef(version.name, version.version) in read
        else version
        for version in snapshot.datasets
    )
    residency = widened(request.residency) if request.residency else ()
    return replace(request, residency=residency), replace(snapshot, datasets=datasets)


def _with_zone(request: WorkloadRequest, snapshot: Snapshot, zone: TrustZone) -> tuple[WorkloadRequest, Snapshot]:
    def lowered(needed: TrustZone) -> TrustZone:
        return min(needed, zone, key=lambda item: item.rank)

    read = set(request.datasets)
    datasets = tuple(
        replace(version, trust_zone=lowered(version.trust_zone))
        if DatasetRef(version.name, version.version) in read
        else version
        for version in snapshot.datasets
    )
    return replace(request, trust_zone=lowered(request.trust_zone)), replace(snapshot, datasets=datasets)

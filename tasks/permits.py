"""The attempt that a decision opens: its permit, and the work that the permit binds."""

from __future__ import annotations

import uuid

from infra.core.budget import most_for
from infra.core.canonical import digest
from infra.core.errors import InputError
from infra.core.lifecycle import AttemptState
from infra.core.placement.constraints import cheapest_source
from infra.core.placement.decision import Candidate
from infra.core.placement.snapshot import Health, Snapshot
from infra.core.rung import Rung
from infra.core.trust import PermitClaims, PermittedDataset
from infra.core.workload import DatasetRef, WorkloadRequest
from infra.ports import AttemptRecord, CatalogEntry
from infra.wiring import ControlPlane
from tasks.run_plan import RunPlan
from tasks.site_job import InputRef, SiteWork

START_ALLOWANCE_S = 600.0
"""A permit outlives the high estimate of its run by this much, for queues and slow starts…"""

OVERRUN = 3.0
"""…and by this factor: what an attempt may cost is bounded by its cap, not by its permit's end."""


def permit_ends(chosen: Candidate, now_at: float) -> float:
    """When the permit of an attempt ends that starts now."""
    assert chosen.finish_high_at is not None
    return now_at + START_ALLOWANCE_S + OVERRUN * (chosen.finish_high_at - now_at)


def site_work(
    control: ControlPlane, plan: RunPlan, attempt: int, site: str, snapshot: Snapshot, rung: Rung | None
) -> SiteWork:
    """What the site is asked to do. Equal inputs give equal work, so that the permit's digest holds after a restart.

    Args:
        rung: The rung that the attempt was opened on, whose parameters replace the plan's.
    """
    sites = {each.name: each for each in snapshot.sites}
    down = {each.site for each in snapshot.health if each.health is Health.DOWN}
    inputs = []
    for role, ref in plan.roles:
        entry = _entry(control, ref)
        version = entry.version
        source = cheapest_source(version, sites[site], sites, down)
        assert source is not None, "the decision found a source"
        prefix = f"datasets/{version.name}/{version.version}"
        inputs.append(
            InputRef(role, version.name, version.version, prefix, source.name, entry.manifest_sha256, version.bytes)
        )
    parameters, lighter = (dict(rung.parameters), rung.work) if rung is not None else ({}, "")
    return SiteWork(plan.run_id, attempt, plan.request.kind, tuple(inputs), {**plan.parameters, **parameters}, lighter)


def attempt_of(
    control: ControlPlane,
    plan: RunPlan,
    number: int,
    chosen: Candidate,
    snapshot: Snapshot,
    request: WorkloadRequest,
    cluster_lease: str,
) -> AttemptRecord:
    """The attempt that a decision about ``request`` opens, with its permit.

    A warm run's permit ends when what it reserved is used up, and never gets more: what its machines can cost is paid for
    before they boot. Its devices are expected back when it has idled out.
    """
    assert chosen.finish_at is not None
    assert chosen.finish_high_at is not None
    now_at, serve_s = snapshot.now_at, 0.0 if plan.kept is None else plan.kept.serve_s
    permit = PermitClaims(
        id=str(uuid.uuid4()),
        run_id=plan.run_id,
        attempt=number,
        site=chosen.site,
        pool=chosen.pool,
        offer=chosen.offer,
        devices=chosen.devices,
        work_sha256=digest(site_work(control, plan, number, chosen.site, snapshot, request.on)),
        datasets=tuple(_permitted(_entry(control, ref)) for _, ref in plan.roles),
        residency=plan.request.residency,
        trust_zone=plan.request.trust_zone,
        cap_micro=chosen.cap_micro,
        issued_at=now_at,
        expires_at=permit_ends(chosen, now_at) if plan.kept is None else chosen.finish_high_at,
        most_micro=most_for(chosen.cap_micro, request.budget_micro) if plan.kept is None else 0,
        cluster_lease=cluster_lease,
    )
    return AttemptRecord(
        run_id=plan.run_id,
        attempt=number,
        state=AttemptState.RESERVED,
        site=chosen.site,
        pool=chosen.pool,
        offer=chosen.offer,
        purchase=chosen.purchase,
        device=chosen.device,
        devices=chosen.devices,
        cap_micro=chosen.cap_micro,
        permit=permit,
        started_at=now_at,
        expected_finish_at=chosen.finish_at - serve_s,
        late_finish_at=None if chosen.finish_p90_at is None else chosen.finish_p90_at - serve_s,
    )


def _permitted(entry: CatalogEntry) -> PermittedDataset:
    version = entry.version
    return PermittedDataset(version.name, version.version, version.residency, version.trust_zone, entry.manifest_sha256)


def _entry(control: ControlPlane, ref: DatasetRef) -> CatalogEntry:
    entry = control.database.catalog.find(ref.name, ref.version)
    if entry is None or entry.quarantined:
        raise InputError(
            "UNKNOWN_DATASET", f"{ref} is not an accepted version", "request: datasets", "see `headrace data versions`"
        )
    return entry

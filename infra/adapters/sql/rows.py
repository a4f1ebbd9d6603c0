"""Rows of the database to records and back. Nothing is lost on the way: floats are exact, tuples stay tuples."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row

from infra.core.budget import Balance, EntryKind
from infra.core.canonical import canonical
from infra.core.inventory import DatasetVersion, TrustZone
from infra.core.lifecycle import AttemptState, RunState
from infra.core.placement.decision import CostParts
from infra.core.placement.snapshot import QueueEntry
from infra.core.trust import PermitClaims, PermittedDataset
from infra.core.workload import WorkKind
from infra.ports import (
    AttemptRecord,
    CatalogEntry,
    DecisionRecord,
    LedgerEntry,
    Observation,
    Publication,
    RunRecord,
)


def json_text(value: Any) -> str:
    """Canonical JSON as text."""
    return canonical(value).decode()


def optional_json(value: Any) -> str | None:
    return None if value is None else json_text(value)


def _parts(text: str | None) -> CostParts | None:
    return None if text is None else CostParts(**json.loads(text))


def balance_of(row: Row[Any]) -> Balance:
    return Balance(row.tenant, row.period, row.limit_micro, row.reserved_micro, row.settled_micro)


def entry_of(row: Row[Any]) -> LedgerEntry:
    return LedgerEntry(
        row.sequence,
        row.at,
        EntryKind(row.kind),
        row.tenant,
        row.period,
        row.run_id,
        row.attempt,
        row.amount_micro,
        _parts(row.parts_json),
    )


def run_of(row: Row[Any]) -> RunRecord:
    return RunRecord(
        row.run_id,
        row.flow_run_id,
        WorkKind(row.kind),
        row.tenant,
        RunState(row.state),
        row.attempt,
        row.created_at,
        row.detail,
    )


def decision_of(row: Row[Any]) -> DecisionRecord:
    return DecisionRecord(
        row.run_id, row.sequence, row.decided_at, row.request_json, row.snapshot_json, row.decision_json
    )


def attempt_row(record: AttemptRecord) -> dict[str, Any]:
    return {
        "run_id": record.run_id,
        "attempt": record.attempt,
        "state": record.state.value,
        "site": record.site,
        "pool": record.pool,
        "offer": record.offer,
        "purchase": str(record.purchase),
        "device": record.device,
        "devices": record.devices,
        "cap_micro": record.cap_micro,
        "permit_id": record.permit.id,
        "permit_json": json_text(record.permit),
        **changes_row(
            {
                "started_at": record.started_at,
                "expected_finish_at": record.expected_finish_at,
                "child_run_id": record.child_run_id,
                "finished_at": record.finished_at,
                "metered": record.metered,
                "charged": record.charged,
                "ending": record.ending,
                "late_finish_at": record.late_finish_at,
            }
        ),
    }


def changes_row(changes: dict[str, Any]) -> dict[str, Any]:
    """Changes of an attempt as columns: those with structure become JSON."""
    return {
        f"{name}_json" if name in ("metered", "charged") else name: optional_json(value)
        if name in ("metered", "charged")
        else value
        for name, value in changes.items()
    }


def attempt_of(row: Row[Any]) -> AttemptRecord:
    return AttemptRecord(
        run_id=row.run_id,
        attempt=row.attempt,
        state=AttemptState(row.state),
        site=row.site,
        pool=row.pool,
        offer=row.offer,
        purchase=row.purchase,
        device=row.device,
        devices=row.devices,
        cap_micro=row.cap_micro,
        permit=_permit_of(json.loads(row.permit_json)),
        started_at=row.started_at,
        expected_finish_at=row.expected_finish_at,
        child_run_id=row.child_run_id,
        finished_at=row.finished_at,
        metered=None if row.metered_json is None else json.loads(row.metered_json),
        charged=_parts(row.charged_json),
        ending=row.ending,
        late_finish_at=row.late_finish_at,
    )


def _permit_of(value: dict[str, Any]) -> PermitClaims:
    datasets = tuple(
        PermittedDataset(
            item["name"],
            item["version"],
            tuple(item["residency"]),
            TrustZone(item["trust_zone"]),
            item["manifest_sha256"],
        )
        for item in value["datasets"]
    )
    return PermitClaims(
        **{
            **value,
            "datasets": datasets,
            "residency": tuple(value["residency"]),
            "trust_zone": TrustZone(value["trust_zone"]),
        }
    )


def publication_of(row: Row[Any]) -> Publication:
    return Publication(
        row.run_id,
        row.attempt,
        row.name,
        row.version,
        row.uri,
        row.manifest_sha256,
        row.published_at,
        json.loads(row.metrics_json),
    )


def version_row(version: DatasetVersion) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.version,
        "bytes": version.bytes,
        "copies_json": json_text(version.copies),
        "residency_json": json_text(version.residency),
        "trust_zone": version.trust_zone.value,
    }


def catalog_entry_of(row: Row[Any]) -> CatalogEntry:
    version = DatasetVersion(
        row.name,
        row.version,
        row.bytes,
        tuple(json.loads(row.copies_json)),
        tuple(json.loads(row.residency_json)),
        TrustZone(row.trust_zone),
    )
    report = None if row.report_json is None else json.loads(row.report_json)
    return CatalogEntry(version, row.uri, row.manifest_sha256, row.recorded_at, bool(row.quarantined), report)


def queue_entry_of(text: str) -> QueueEntry:
    return QueueEntry(**json.loads(text))


def observation_of(row: Row[Any]) -> Observation:
    return Observation(
        run_id=row.run_id,
        attempt=row.attempt,
        kind=WorkKind(row.kind),
        site=row.site,
        offer=row.offer,
        device=row.device,
        devices=row.devices,
        units=row.units,
        run_s=row.run_s,
        boot_s=row.boot_s,
        at=row.at,
        placed_at=row.placed_at,
        # Hundreds of rows for each snapshot, so that they are not parsed: the field is there only when it says something.
        warm='"cluster_lease":' in (row.permit_json or ""),
    )

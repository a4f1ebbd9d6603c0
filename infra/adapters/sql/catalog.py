"""The catalogue of dataset versions, and the history of past runs, in SQL."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from infra.adapters import control_rules as rules
from infra.adapters.sql.engine import Transactions, next_number
from infra.adapters.sql.rows import catalog_entry_of, json_text, observation_of, version_row
from infra.adapters.sql.tables import arrivals, attempts, dataset_versions, observations
from infra.core.inventory import DatasetVersion
from infra.ports import CatalogEntry, Clock, Observation

_LATEST = "latest"
_NEWEST_FIRST = (dataset_versions.c.recorded_at.desc(), dataset_versions.c.position.desc())


class SqlCatalog:
    """A :class:`infra.ports.Catalog`; see there for what each call promises."""

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock

    def accept(self, version: DatasetVersion, uri: str, manifest_sha256: str, at: float) -> None:
        rules.require_version_name(version.name, version.version)
        with self._transactions.writing() as connection:
            before = _entry(connection, version.name, version.version, quarantined=False)
            if before is None:
                _insert(connection, CatalogEntry(version, uri, manifest_sha256, at))
                return
            if before.manifest_sha256 != manifest_sha256:
                raise rules.version_exists(version.name, version.version, before.manifest_sha256)
            copies = rules.merged_copies(before.version.copies, version.copies)
            changed = (
                update(dataset_versions)
                .where(dataset_versions.c.name == version.name, dataset_versions.c.version == version.version)
                .where(dataset_versions.c.quarantined == 0)
                .values(copies_json=json_text(copies))
            )
            connection.execute(changed)

    def quarantine(
        self,
        name: str,
        version: str,
        uri: str,
        report: dict[str, Any],
        at: float,
        described: DatasetVersion | None = None,
    ) -> None:
        rules.require_version_name(name, version)
        with self._transactions.writing() as connection:
            newest = _newest(connection, name)
            known = described or (newest.version if newest else None)
            if known is None:
                raise rules.unknown_residency(name, version)
            size = described.bytes if described else 0
            shown = DatasetVersion(name, version, size, (), known.residency, known.trust_zone)
            connection.execute(
                delete(dataset_versions).where(
                    dataset_versions.c.name == name,
                    dataset_versions.c.version == version,
                    dataset_versions.c.quarantined == 1,
                )
            )
            _insert(connection, CatalogEntry(shown, uri, "", at, quarantined=True, report=report))

    def find(self, name: str, version: str) -> CatalogEntry | None:
        with self._transactions.reading() as connection:
            if version == _LATEST:
                return _newest(connection, name)
            accepted = _entry(connection, name, version, quarantined=False)
            return accepted or _entry(connection, name, version, quarantined=True)

    def versions(self, name: str | None = None) -> tuple[CatalogEntry, ...]:
        query = select(dataset_versions).order_by(*_NEWEST_FIRST)
        if name is not None:
            query = query.where(dataset_versions.c.name == name)
        with self._transactions.reading() as connection:
            return tuple(catalog_entry_of(row) for row in connection.execute(query))

    def claim_arrival(self, dataset: str, version: str, content_sha256: str, flow_run_id: str) -> bool:
        key = {"dataset": dataset, "version": version, "content_sha256": content_sha256}
        query = select(arrivals.c.flow_run_id).where(*(arrivals.c[name] == value for name, value in key.items()))
        with self._transactions.writing() as connection:
            holder = connection.execute(query).scalar_one_or_none()
            if holder is None:
                row = {**key, "flow_run_id": flow_run_id, "claimed_at": self._clock.now()}
                connection.execute(insert(arrivals).values(row))
                return True
            return holder == flow_run_id


class SqlHistory:
    """A :class:`infra.ports.History`; see there for what each call promises."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(self, observation: Observation) -> None:
        rules.require_observation(observation)
        same = select(observations.c.position).where(
            observations.c.run_id == observation.run_id, observations.c.attempt == observation.attempt
        )
        with self._transactions.writing() as connection:
            if connection.execute(same).one_or_none() is None:
                row = {**asdict(observation), "kind": observation.kind.value}
                del row["placed_at"], row["warm"]  # the attempt knows them
                position = next_number(connection, observations.c.position)
                connection.execute(insert(observations).values({**row, "position": position}))

    def observations(self, limit_per_kind: int = 200) -> tuple[Observation, ...]:
        newest_first = (observations.c.at.desc(), observations.c.position.desc())
        rank = func.row_number().over(partition_by=observations.c.kind, order_by=newest_first).label("rank_in_kind")
        placed = attempts.c.started_at.label("placed_at")
        same = and_(attempts.c.run_id == observations.c.run_id, attempts.c.attempt == observations.c.attempt)
        ranked = select(observations, placed, attempts.c.permit_json, rank).outerjoin(attempts, same).subquery()
        query = select(ranked).where(ranked.c.rank_in_kind <= limit_per_kind)
        with self._transactions.reading() as connection:
            rows = connection.execute(query.order_by(ranked.c.at.desc(), ranked.c.position.desc())).all()
        return tuple(observation_of(row) for row in rows)


def _newest(connection: Connection, name: str) -> CatalogEntry | None:
    """The newest accepted version."""
    query = select(dataset_versions).where(dataset_versions.c.name == name, dataset_versions.c.quarantined == 0)
    row = connection.execute(query.order_by(*_NEWEST_FIRST).limit(1)).one_or_none()
    return None if row is None else catalog_entry_of(row)


def _entry(connection: Connection, name: str, version: str, *, quarantined: bool) -> CatalogEntry | None:
    query = select(dataset_versions).where(
        dataset_versions.c.name == name,
        dataset_versions.c.version == version,
        dataset_versions.c.quarantined == int(quarantined),
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else catalog_entry_of(row)


def _insert(connection: Connection, entry: CatalogEntry) -> None:
    row = {
        **version_row(entry.version),
        "quarantined": int(entry.quarantined),
        "position": next_number(connection, dataset_versions.c.position),
        "uri": entry.uri,
        "manifest_sha256": entry.manifest_sha256,
        "recorded_at": entry.recorded_at,
        "report_json": None if entry.report is None else json_text(entry.report),
    }
    connection.execute(insert(dataset_versions).values(row))

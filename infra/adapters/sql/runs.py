"""Runs, decisions, attempts and publications in SQL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from infra.adapters import control_rules as rules
from infra.adapters.sql.engine import Transactions, next_number
from infra.adapters.sql.rows import (
    attempt_of,
    attempt_row,
    changes_row,
    decision_of,
    json_text,
    publication_of,
    queue_entry_of,
    run_of,
)
from infra.adapters.sql.tables import attempts, decisions, publications, queue_entries, runs
from infra.core.canonical import digest
from infra.core.lifecycle import AttemptState, RunState, may_publish, require_step
from infra.core.placement.decision import Decision
from infra.core.placement.snapshot import QueueEntry, Snapshot
from infra.core.warm import TAKEN
from infra.core.workload import WorkKind, WorkloadRequest
from infra.ports import AttemptRecord, DecisionRecord, Publication, RunRecord

_NEWEST_FIRST = (runs.c.created_at.desc(), runs.c.position.desc())


class SqlRunStore:
    """A :class:`infra.ports.RunStore`; see there for what each call promises."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def open_run(self, record: RunRecord) -> RunRecord:
        with self._transactions.writing() as connection:
            before = _run(connection, record.run_id)
            if before is not None:
                return before
            row = {
                "run_id": record.run_id,
                "position": next_number(connection, runs.c.position),
                "flow_run_id": record.flow_run_id,
                "kind": record.kind.value,
                "tenant": record.tenant,
                "state": record.state.value,
                "attempt": record.attempt,
                "created_at": record.created_at,
                "detail": record.detail,
            }
            connection.execute(insert(runs).values(row))
            return record

    def run(self, run_id: str) -> RunRecord | None:
        with self._transactions.reading() as connection:
            exact = _run(connection, run_id)
            if exact is not None or len(run_id) < rules.SHORTEST_PREFIX:
                return exact
            # Not LIKE: SQLite's ignores case, and ids may hold % and _.
            query = select(runs).where(func.substr(runs.c.run_id, 1, len(run_id)) == run_id)
            row = connection.execute(query.order_by(*_NEWEST_FIRST).limit(1)).one_or_none()
            return None if row is None else run_of(row)

    def runs(self, states: Iterable[RunState] = (), limit: int = 100) -> tuple[RunRecord, ...]:
        query = select(runs).order_by(*_NEWEST_FIRST).limit(limit)
        wanted = [state.value for state in states]
        if wanted:
            query = query.where(runs.c.state.in_(wanted))
        with self._transactions.reading() as connection:
            return tuple(run_of(row) for row in connection.execute(query))

    def set_run_state(self, run_id: str, state: RunState, detail: str = "") -> RunRecord:
        with self._transactions.writing() as connection:
            rules.require_run_step(_require_run(connection, run_id), state)
            connection.execute(update(runs).where(runs.c.run_id == run_id).values(state=state.value, detail=detail))
            return _require_run(connection, run_id)

    def add_decision(
        self, run_id: str, request: WorkloadRequest, snapshot: Snapshot, decision: Decision
    ) -> DecisionRecord:
        texts = {
            "request_json": json_text(request),
            "snapshot_json": json_text(snapshot),
            "decision_json": json_text(decision),
        }
        key = digest(texts)
        with self._transactions.writing() as connection:
            _require_run(connection, run_id)
            of_run = select(decisions).where(decisions.c.run_id == run_id)
            same = connection.execute(of_run.where(decisions.c.digest == key)).one_or_none()
            if same is not None:
                return decision_of(same)
            count = select(func.count()).select_from(decisions).where(decisions.c.run_id == run_id)
            record = DecisionRecord(run_id, connection.execute(count).scalar_one() + 1, snapshot.now_at, **texts)
            row = {"run_id": run_id, "sequence": record.sequence, "decided_at": record.decided_at, "digest": key}
            connection.execute(insert(decisions).values({**row, **texts}))
            return record

    def decisions(self, run_id: str) -> tuple[DecisionRecord, ...]:
        query = select(decisions).where(decisions.c.run_id == run_id).order_by(decisions.c.sequence)
        with self._transactions.reading() as connection:
            return tuple(decision_of(row) for row in connection.execute(query))

    def work_under_way(self) -> dict[str, tuple[WorkKind, float]]:
        others = decisions.alias()
        newest = select(func.max(others.c.sequence)).where(others.c.run_id == attempts.c.run_id).scalar_subquery()
        query = (
            select(decisions.c.run_id, decisions.c.request_json)
            .join(attempts, attempts.c.run_id == decisions.c.run_id)
            .where(attempts.c.state == AttemptState.DISPATCHED.value, decisions.c.sequence == newest)
        )
        with self._transactions.reading() as connection:
            return {row.run_id: rules.work_of(row.request_json) for row in connection.execute(query)}

    def enqueue(self, run_id: str, entry: QueueEntry | None) -> None:
        with self._transactions.writing() as connection:
            _require_run(connection, run_id)
            connection.execute(delete(queue_entries).where(queue_entries.c.run_id == run_id))
            if entry is not None:
                connection.execute(insert(queue_entries).values(run_id=run_id, entry_json=json_text(entry)))

    def queue(self) -> tuple[QueueEntry, ...]:
        query = (
            select(queue_entries.c.entry_json)
            .join(runs, runs.c.run_id == queue_entries.c.run_id)
            .where(runs.c.state == RunState.WAITING.value)
            .order_by(queue_entries.c.run_id)
        )
        with self._transactions.reading() as connection:
            return tuple(queue_entry_of(row.entry_json) for row in connection.execute(query))

    def claim_attempt(self, record: AttemptRecord, capacity: int) -> AttemptRecord:
        with self._transactions.writing() as connection:
            run = _require_run(connection, record.run_id)
            same = _attempt(connection, record.run_id, record.attempt)
            if same is not None and same.permit.id == record.permit.id:
                return same
            warm = _warm(connection, record) if record.permit.cluster_lease else None
            held = select(func.coalesce(func.sum(attempts.c.devices), 0)).where(
                attempts.c.site == record.site,
                attempts.c.offer == record.offer,
                attempts.c.state.in_([state.value for state in rules.HOLDING]),
                func.coalesce(attempts.c.ending, "") != TAKEN,
            )
            devices = int(connection.execute(held).scalar_one()) - (warm.devices if warm is not None else 0)
            rules.require_claim(run, record, devices, capacity)
            if warm is not None:
                named = update(attempts).where(attempts.c.run_id == warm.run_id, attempts.c.attempt == warm.attempt)
                connection.execute(named.values(ending=TAKEN))
            # The condition on the old number is the fence: of two claims of one attempt one changes nothing.
            moved = (
                update(runs)
                .where(runs.c.run_id == run.run_id, runs.c.attempt == record.attempt - 1)
                .values(attempt=record.attempt, state=RunState.ACTIVE.value, detail="")
            )
            connection.execute(insert(attempts).values(attempt_row(record)))
            connection.execute(moved)
            return record

    def update_attempt(self, run_id: str, attempt: int, state: AttemptState, **changes: Any) -> AttemptRecord:
        rules.require_changes(changes, run_id, attempt)
        with self._transactions.writing() as connection:
            before = _require_attempt(connection, run_id, attempt)
            require_step(before.state, state, rules.attempt_name(run_id, attempt))
            changed = (
                update(attempts)
                .where(attempts.c.run_id == run_id, attempts.c.attempt == attempt)
                .values({"state": state.value, **changes_row(changes)})
            )
            connection.execute(changed)
            return _require_attempt(connection, run_id, attempt)

    def attempts(self, run_id: str) -> tuple[AttemptRecord, ...]:
        query = select(attempts).where(attempts.c.run_id == run_id).order_by(attempts.c.attempt)
        with self._transactions.reading() as connection:
            return tuple(attempt_of(row) for row in connection.execute(query))

    def open_attempts(self) -> tuple[AttemptRecord, ...]:
        query = select(attempts).where(attempts.c.state.not_in([state.value for state in rules.CLOSED]))
        with self._transactions.reading() as connection:
            found = [attempt_of(row) for row in connection.execute(query)]
        return tuple(sorted(found, key=lambda record: (record.started_at, record.run_id, record.attempt)))

    def publish(self, publication: Publication) -> Publication:
        with self._transactions.writing() as connection:
            run = _require_run(connection, publication.run_id)
            attempt = _require_attempt(connection, publication.run_id, publication.attempt)
            before = _publication(connection, publication.run_id)
            if before is not None and before.attempt == publication.attempt:
                return before
            if before is not None or not may_publish(run.state, run.attempt, publication.attempt, attempt.state):
                raise rules.fenced(run, publication, attempt.state, before)
            row = {
                "run_id": publication.run_id,
                "attempt": publication.attempt,
                "name": publication.name,
                "version": publication.version,
                "uri": publication.uri,
                "manifest_sha256": publication.manifest_sha256,
                "published_at": publication.published_at,
                "metrics_json": json_text(publication.metrics),
            }
            connection.execute(insert(publications).values(row))
            ended = update(runs).where(runs.c.run_id == run.run_id)
            connection.execute(ended.values(state=RunState.PUBLISHED.value, detail=""))
            return publication

    def publication(self, run_id: str) -> Publication | None:
        with self._transactions.reading() as connection:
            return _publication(connection, run_id)


def _run(connection: Connection, run_id: str) -> RunRecord | None:
    row = connection.execute(select(runs).where(runs.c.run_id == run_id)).one_or_none()
    return None if row is None else run_of(row)


def _require_run(connection: Connection, run_id: str) -> RunRecord:
    run = _run(connection, run_id)
    if run is None:
        raise rules.unknown_run(run_id)
    return run


def _attempt(connection: Connection, run_id: str, attempt: int) -> AttemptRecord | None:
    query = select(attempts).where(attempts.c.run_id == run_id, attempts.c.attempt == attempt)
    row = connection.execute(query).one_or_none()
    return None if row is None else attempt_of(row)


def _require_attempt(connection: Connection, run_id: str, attempt: int) -> AttemptRecord:
    record = _attempt(connection, run_id, attempt)
    if record is None:
        raise rules.unknown_attempt(run_id, attempt)
    return record


def _warm(connection: Connection, record: AttemptRecord) -> AttemptRecord | None:
    """The attempt whose warm cluster is claimed."""
    query = select(attempts).where(attempts.c.permit_id == record.permit.cluster_lease)
    row = connection.execute(query).one_or_none()
    found = None if row is None else attempt_of(row)
    run = _run(connection, found.run_id) if found is not None else None
    rules.require_warm(record, found, run.kind if run is not None else None)
    return found


def _publication(connection: Connection, run_id: str) -> Publication | None:
    row = connection.execute(select(publications).where(publications.c.run_id == run_id)).one_or_none()
    return None if row is None else publication_of(row)

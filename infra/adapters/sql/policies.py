"""The current policy and all before it, in SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, insert, select

from infra.adapters.sql.engine import Transactions, next_number
from infra.adapters.sql.rows import json_text
from infra.adapters.sql.tables import policies
from infra.core.policy_source import PolicySource
from infra.documents.records import policy_from_json
from infra.ports import PolicyChange, PolicyRecord


class SqlPolicyStore:
    """A :class:`infra.ports.PolicyStore`; see there for what each call promises."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def current(self) -> PolicyRecord | None:
        with self._transactions.reading() as connection:
            return _current(connection)

    def change(self, source: PolicySource, change: PolicyChange, why: str, at: float) -> PolicyRecord:
        with self._transactions.writing() as connection:
            current = _current(connection)
            if current is not None and current.version == source.version:
                return current
            number = next_number(connection, policies.c.sequence)
            record = PolicyRecord(number, at, change, source.version, why, source)
            row = {
                "sequence": record.sequence,
                "at": at,
                "change": change.value,
                "version": record.version,
                "why": why,
                "source_json": json_text(source),
            }
            connection.execute(insert(policies).values(row))
            return record

    def history(self, limit: int = 100) -> tuple[PolicyRecord, ...]:
        query = select(policies).order_by(policies.c.sequence.desc()).limit(limit)
        with self._transactions.reading() as connection:
            return tuple(_record_of(row) for row in connection.execute(query))


def _current(connection: Connection) -> PolicyRecord | None:
    row = connection.execute(select(policies).order_by(policies.c.sequence.desc()).limit(1)).one_or_none()
    return None if row is None else _record_of(row)


def _record_of(row: Row[Any]) -> PolicyRecord:
    source = policy_from_json(row.source_json, f"policy {row.sequence}")
    return PolicyRecord(row.sequence, row.at, PolicyChange(row.change), row.version, row.why, source)

"""The ledger in SQL.

An account's row holds the sums, the entries tell how they came about; both change in one transaction. That
``settled + reserved <= limit`` is a condition of the UPDATE that reserves, and once more a CHECK of the table, so that
neither a race nor a mistake here can overdraw an account (invariant I2). That a step happens once per attempt is a
unique key of the entries.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Update, insert, select, update

from infra.adapters import control_rules as rules
from infra.adapters.sql.engine import Transactions, next_number
from infra.adapters.sql.rows import balance_of, entry_of, optional_json
from infra.adapters.sql.tables import accounts, ledger_entries, reservations
from infra.core.budget import Balance, EntryKind
from infra.core.placement.decision import CostParts
from infra.ports import LedgerEntry

_RESERVE, _CLOSE = "reserve", "close"


class SqlLedger:
    """A :class:`infra.ports.Ledger`; see there for what each call promises."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def set_limit(self, tenant: str, period: str, limit_micro: int, at: float) -> Balance:
        rules.require_account(tenant, period)
        rules.require_micro(limit_micro, f"budget of {tenant}/{period}")
        with self._transactions.writing() as connection:
            before = _account(connection, tenant, period)
            if before is None:
                opened = insert(accounts).values(
                    tenant=tenant, period=period, limit_micro=limit_micro, reserved_micro=0, settled_micro=0
                )
                connection.execute(opened)
            elif before.limit_micro == limit_micro:
                return before
            else:
                changed = (
                    update(accounts)
                    .where(accounts.c.tenant == tenant, accounts.c.period == period)
                    .where(accounts.c.settled_micro + accounts.c.reserved_micro <= limit_micro)
                    .values(limit_micro=limit_micro)
                )
                if connection.execute(changed).rowcount != 1:
                    raise rules.limit_below_committed(before, limit_micro)
            sequence = next_number(connection, ledger_entries.c.sequence)
            _append(connection, at, EntryKind.LIMIT, tenant, period, "", 0, f"limit {sequence}", limit_micro)
            return _require_account(connection, tenant, period)

    def reserve(self, tenant: str, period: str, run_id: str, attempt: int, amount_micro: int, at: float) -> Balance:
        rules.require_micro(amount_micro, rules.attempt_name(run_id, attempt))
        with self._transactions.writing() as connection:
            before = _entry(connection, run_id, attempt, _RESERVE)
            if before is not None:
                if error := rules.already_reserved(before, tenant, period, amount_micro):
                    raise error
                return _require_account(connection, tenant, period)
            _hold(connection, tenant, period, amount_micro)
            opened = insert(reservations).values(
                run_id=run_id, attempt=attempt, tenant=tenant, period=period, reserved_micro=amount_micro
            )
            connection.execute(opened)
            _append(connection, at, EntryKind.RESERVE, tenant, period, run_id, attempt, _RESERVE, amount_micro)
            return _require_account(connection, tenant, period)

    def extend(self, run_id: str, attempt: int, extension: str, amount_micro: int, at: float) -> Balance:
        rules.require_micro(amount_micro, rules.attempt_name(run_id, attempt))
        with self._transactions.writing() as connection:
            reservation = _reservation(connection, run_id, attempt)
            tenant, period = reservation.tenant, reservation.period
            step = f"extend {extension}"
            if before := _entry(connection, run_id, attempt, step):
                if error := rules.already_extended(before, extension, amount_micro):
                    raise error
                return _require_account(connection, tenant, period)
            if before := _entry(connection, run_id, attempt, _CLOSE):
                raise rules.closed(before)
            _hold(connection, tenant, period, amount_micro)
            larger = _open_reservation(run_id, attempt).values(
                reserved_micro=reservations.c.reserved_micro + amount_micro
            )
            connection.execute(larger)
            _append(connection, at, EntryKind.EXTEND, tenant, period, run_id, attempt, step, amount_micro)
            return _require_account(connection, tenant, period)

    def settle(self, run_id: str, attempt: int, parts: CostParts, at: float) -> Balance:
        return self._close(EntryKind.SETTLE, run_id, attempt, parts, at)

    def expire(self, run_id: str, attempt: int, parts: CostParts, at: float) -> Balance:
        return self._close(EntryKind.EXPIRE, run_id, attempt, parts, at)

    def reserved_for(self, run_id: str, attempt: int) -> int:
        query = select(reservations.c.reserved_micro).where(
            reservations.c.run_id == run_id,
            reservations.c.attempt == attempt,
            reservations.c.charged_micro.is_(None),
        )
        with self._transactions.reading() as connection:
            return connection.execute(query).scalar_one_or_none() or 0

    def balance(self, tenant: str, period: str) -> Balance | None:
        with self._transactions.reading() as connection:
            return _account(connection, tenant, period)

    def balances(self, period: str | None = None) -> tuple[Balance, ...]:
        query = select(accounts)
        if period is not None:
            query = query.where(accounts.c.period == period)
        with self._transactions.reading() as connection:
            found = [balance_of(row) for row in connection.execute(query)]
        # Sorted here: databases differ in their collations.
        return tuple(sorted(found, key=lambda balance: (balance.tenant, balance.period)))

    def entries(self, tenant: str | None = None, run_id: str | None = None) -> tuple[LedgerEntry, ...]:
        query = select(ledger_entries).order_by(ledger_entries.c.sequence)
        if tenant is not None:
            query = query.where(ledger_entries.c.tenant == tenant)
        if run_id is not None:
            query = query.where(ledger_entries.c.run_id == run_id)
        with self._transactions.reading() as connection:
            return tuple(entry_of(row) for row in connection.execute(query))

    def _close(self, kind: EntryKind, run_id: str, attempt: int, parts: CostParts, at: float) -> Balance:
        rules.require_parts(parts, rules.attempt_name(run_id, attempt))
        with self._transactions.writing() as connection:
            reservation = _reservation(connection, run_id, attempt)
            tenant, period = reservation.tenant, reservation.period
            if before := _entry(connection, run_id, attempt, _CLOSE):
                if error := rules.already_closed(before, kind, parts):
                    raise error
                return _require_account(connection, tenant, period)
            rules.require_within(reservation.reserved_micro, parts, run_id, attempt)
            connection.execute(_open_reservation(run_id, attempt).values(charged_micro=parts.total_micro))
            given_back = (
                update(accounts)
                .where(accounts.c.tenant == tenant, accounts.c.period == period)
                .values(
                    reserved_micro=accounts.c.reserved_micro - reservation.reserved_micro,
                    settled_micro=accounts.c.settled_micro + parts.total_micro,
                )
            )
            connection.execute(given_back)
            _append(connection, at, kind, tenant, period, run_id, attempt, _CLOSE, parts.total_micro, parts)
            return _require_account(connection, tenant, period)


def _account(connection: Connection, tenant: str, period: str) -> Balance | None:
    query = select(accounts).where(accounts.c.tenant == tenant, accounts.c.period == period)
    row = connection.execute(query).one_or_none()
    return None if row is None else balance_of(row)


def _require_account(connection: Connection, tenant: str, period: str) -> Balance:
    account = _account(connection, tenant, period)
    if account is None:
        raise rules.unknown_tenant(tenant, period)
    return account


def _hold(connection: Connection, tenant: str, period: str, amount_micro: int) -> None:
    """Add to an account's reserved money, if it fits."""
    held = (
        update(accounts)
        .where(accounts.c.tenant == tenant, accounts.c.period == period)
        .where(accounts.c.settled_micro + accounts.c.reserved_micro + amount_micro <= accounts.c.limit_micro)
        .values(reserved_micro=accounts.c.reserved_micro + amount_micro)
    )
    if connection.execute(held).rowcount != 1:
        raise rules.over_budget(_require_account(connection, tenant, period), amount_micro)


def _reservation(connection: Connection, run_id: str, attempt: int) -> Row[Any]:
    query = select(reservations).where(reservations.c.run_id == run_id, reservations.c.attempt == attempt)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise rules.unknown_reservation(run_id, attempt)
    return row


def _open_reservation(run_id: str, attempt: int) -> Update:
    return update(reservations).where(
        reservations.c.run_id == run_id, reservations.c.attempt == attempt, reservations.c.charged_micro.is_(None)
    )


def _entry(connection: Connection, run_id: str, attempt: int, step: str) -> LedgerEntry | None:
    query = select(ledger_entries).where(
        ledger_entries.c.run_id == run_id, ledger_entries.c.attempt == attempt, ledger_entries.c.step == step
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else entry_of(row)


def _append(
    connection: Connection,
    at: float,
    kind: EntryKind,
    tenant: str,
    period: str,
    run_id: str,
    attempt: int,
    step: str,
    amount_micro: int,
    parts: CostParts | None = None,
) -> None:
    connection.execute(
        insert(ledger_entries).values(
            sequence=next_number(connection, ledger_entries.c.sequence),
            at=at,
            kind=kind.value,
            tenant=tenant,
            period=period,
            run_id=run_id,
            attempt=attempt,
            amount_micro=amount_micro,
            parts_json=optional_json(parts),
            step=step,
        )
    )

"""The ledger in memory."""

from __future__ import annotations

from dataclasses import replace

from infra.adapters import control_rules as rules
from infra.adapters.memory.state import Shelf, State
from infra.core.budget import Balance, EntryKind
from infra.core.placement.decision import CostParts
from infra.ports import LedgerEntry

RESERVED, EXTENDED, CLOSED = "reserve", "extend", "close"


class MemoryLedger:
    """A :class:`infra.ports.Ledger`; see there for what each call promises."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def set_limit(self, tenant: str, period: str, limit_micro: int, at: float) -> Balance:
        rules.require_account(tenant, period)
        rules.require_micro(limit_micro, f"budget of {tenant}/{period}")
        with self._shelf.transaction():
            state = self._shelf.state
            before = state.accounts.get((tenant, period))
            if before is not None and before.limit_micro == limit_micro:
                return before
            account = replace(before or Balance(tenant, period, limit_micro), limit_micro=limit_micro)
            if account.available_micro < 0:
                raise rules.limit_below_committed(account, limit_micro)
            state.accounts[tenant, period] = account
            _append(state, at, EntryKind.LIMIT, account, "", 0, limit_micro)
            return account

    def reserve(self, tenant: str, period: str, run_id: str, attempt: int, amount_micro: int, at: float) -> Balance:
        rules.require_micro(amount_micro, rules.attempt_name(run_id, attempt))
        with self._shelf.transaction():
            state = self._shelf.state
            before = state.entry_keys.get((RESERVED, run_id, attempt, ""))
            if before is not None:
                if error := rules.already_reserved(before, tenant, period, amount_micro):
                    raise error
                return state.accounts[tenant, period]
            account = state.accounts.get((tenant, period))
            if account is None:
                raise rules.unknown_tenant(tenant, period)
            account = _hold(state, account, amount_micro)
            state.reservations[run_id, attempt] = amount_micro
            entry = _append(state, at, EntryKind.RESERVE, account, run_id, attempt, amount_micro)
            state.entry_keys[RESERVED, run_id, attempt, ""] = entry
            return account

    def extend(self, run_id: str, attempt: int, extension: str, amount_micro: int, at: float) -> Balance:
        rules.require_micro(amount_micro, rules.attempt_name(run_id, attempt))
        with self._shelf.transaction():
            state = self._shelf.state
            account = _account_of(state, run_id, attempt)
            key = (EXTENDED, run_id, attempt, extension)
            if before := state.entry_keys.get(key):
                if error := rules.already_extended(before, extension, amount_micro):
                    raise error
                return account
            if before := state.entry_keys.get((CLOSED, run_id, attempt, "")):
                raise rules.closed(before)
            account = _hold(state, account, amount_micro)
            state.reservations[run_id, attempt] += amount_micro
            state.entry_keys[key] = _append(state, at, EntryKind.EXTEND, account, run_id, attempt, amount_micro)
            return account

    def settle(self, run_id: str, attempt: int, parts: CostParts, at: float) -> Balance:
        return self._close(EntryKind.SETTLE, run_id, attempt, parts, at)

    def expire(self, run_id: str, attempt: int, parts: CostParts, at: float) -> Balance:
        return self._close(EntryKind.EXPIRE, run_id, attempt, parts, at)

    def reserved_for(self, run_id: str, attempt: int) -> int:
        with self._shelf.looking() as state:
            return state.reservations.get((run_id, attempt), 0)

    def balance(self, tenant: str, period: str) -> Balance | None:
        with self._shelf.looking() as state:
            return state.accounts.get((tenant, period))

    def balances(self, period: str | None = None) -> tuple[Balance, ...]:
        with self._shelf.looking() as state:
            return tuple(state.accounts[key] for key in sorted(state.accounts) if period in (None, key[1]))

    def entries(self, tenant: str | None = None, run_id: str | None = None) -> tuple[LedgerEntry, ...]:
        with self._shelf.looking() as state:
            return tuple(
                entry for entry in state.entries if tenant in (None, entry.tenant) and run_id in (None, entry.run_id)
            )

    def _close(self, kind: EntryKind, run_id: str, attempt: int, parts: CostParts, at: float) -> Balance:
        rules.require_parts(parts, rules.attempt_name(run_id, attempt))
        with self._shelf.transaction():
            state = self._shelf.state
            account = _account_of(state, run_id, attempt)
            key = (CLOSED, run_id, attempt, "")
            if before := state.entry_keys.get(key):
                if error := rules.already_closed(before, kind, parts):
                    raise error
                return account
            reserved_micro = state.reservations.pop((run_id, attempt))
            rules.require_within(reserved_micro, parts, run_id, attempt)
            account = replace(
                account,
                reserved_micro=account.reserved_micro - reserved_micro,
                settled_micro=account.settled_micro + parts.total_micro,
            )
            state.accounts[account.tenant, account.period] = account
            state.entry_keys[key] = _append(state, at, kind, account, run_id, attempt, parts.total_micro, parts)
            return account


def _account_of(state: State, run_id: str, attempt: int) -> Balance:
    """The account that the attempt's money is reserved in."""
    opened = state.entry_keys.get((RESERVED, run_id, attempt, ""))
    if opened is None:
        raise rules.unknown_reservation(run_id, attempt)
    return state.accounts[opened.tenant, opened.period]


def _hold(state: State, account: Balance, amount_micro: int) -> Balance:
    if amount_micro > account.available_micro:
        raise rules.over_budget(account, amount_micro)
    held = replace(account, reserved_micro=account.reserved_micro + amount_micro)
    state.accounts[account.tenant, account.period] = held
    return held


def _append(
    state: State,
    at: float,
    kind: EntryKind,
    account: Balance,
    run_id: str,
    attempt: int,
    amount_micro: int,
    parts: CostParts | None = None,
) -> LedgerEntry:
    sequence = len(state.entries) + 1
    entry = LedgerEntry(sequence, at, kind, account.tenant, account.period, run_id, attempt, amount_micro, parts)
    state.entries.append(entry)
    return entry

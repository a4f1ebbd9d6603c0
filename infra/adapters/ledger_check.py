"""Checks a ledger against itself: its lines, added up from the first, must give the balances that it shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from infra.core.budget import Balance, EntryKind
from infra.ports import ControlStore, LedgerEntry


def added_up(entries: Iterable[LedgerEntry]) -> tuple[dict[tuple[str, str], Balance], list[str]]:
    """Balances by (tenant, period) that the lines amount to, and what is wrong with the lines themselves.

    Wrong is: a gap in the sequence, a step of an attempt that was not reserved or is closed, a charge above the
    reservation, and any line after which settled + reserved exceed the limit.
    """
    accounts: dict[tuple[str, str], Balance] = {}
    reserved: dict[tuple[str, int], int] = {}
    problems: list[str] = []
    for position, entry in enumerate(entries, start=1):
        if entry.sequence != position:
            problems.append(f"line {entry.sequence} stands at position {position}")
        key, attempt = (entry.tenant, entry.period), (entry.run_id, entry.attempt)
        account = accounts.get(key, Balance(entry.tenant, entry.period, 0))
        if entry.kind is EntryKind.LIMIT:
            account = replace(account, limit_micro=entry.amount_micro)
        elif entry.kind is EntryKind.RESERVE and attempt in reserved:
            problems.append(f"line {entry.sequence} reserves a second time")
        elif entry.kind is not EntryKind.RESERVE and attempt not in reserved:
            problems.append(f"line {entry.sequence} concerns an attempt without an open reservation")
        elif entry.kind in (EntryKind.RESERVE, EntryKind.EXTEND):
            reserved[attempt] = reserved.get(attempt, 0) + entry.amount_micro
            account = replace(account, reserved_micro=account.reserved_micro + entry.amount_micro)
        else:
            held_micro = reserved.pop(attempt)
            if entry.amount_micro > held_micro or entry.parts is None or entry.parts.total_micro != entry.amount_micro:
                problems.append(f"line {entry.sequence} charges more than was reserved, or not the sum of its parts")
            account = replace(
                account,
                reserved_micro=account.reserved_micro - held_micro,
                settled_micro=account.settled_micro + entry.amount_micro,
            )
        if account.available_micro < 0:
            problems.append(f"after line {entry.sequence} more is settled and reserved than the limit")
        accounts[key] = account
    return accounts, problems


def problems_of(store: ControlStore) -> list[str]:
    """What is wrong with a ledger, in words; empty when everything agrees."""
    with store.reading():
        entries, shown = store.ledger.entries(), store.ledger.balances()
    accounts, problems = added_up(entries)
    for balance in shown:
        expected = accounts.pop((balance.tenant, balance.period), None)
        if expected != balance:
            problems.append(f"account {balance.tenant}/{balance.period} shows {balance}, its lines give {expected}")
    problems += [f"account {tenant}/{period} is missing" for tenant, period in accounts]
    return problems

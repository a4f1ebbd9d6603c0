"""Accounts of money, and the clock that everything goes by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from infra.core.budget import Balance, EntryKind
from infra.core.placement.decision import CostParts


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch, UTC."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line of the ledger.

    Attributes:
        sequence: Position, increasing from 1, without gaps that could hide a line.
        amount_micro: For RESERVE and EXTEND what is added to reserved; for SETTLE what is charged; for EXPIRE what is
            charged (often 0); SETTLE and EXPIRE give the attempt's whole reservation back. For LIMIT the new limit.
        parts: For SETTLE and EXPIRE, the charge by part.
    """

    sequence: int
    at: float
    kind: EntryKind
    tenant: str
    period: str
    run_id: str
    attempt: int
    amount_micro: int
    parts: CostParts | None = None


class Ledger(Protocol):
    """Append-only accounts. Every call is one atomic transaction and idempotent for its (run, attempt)."""

    def set_limit(self, tenant: str, period: str, limit_micro: int, at: float) -> Balance:
        """Open or change an account. Refuses (BudgetError LIMIT_BELOW_COMMITTED) a limit below settled + reserved."""

    def reserve(self, tenant: str, period: str, run_id: str, attempt: int, amount_micro: int, at: float) -> Balance:
        """Reserve money. BudgetError BUDGET_EXCEEDED when it does not fit; InputError UNKNOWN_TENANT without account.

        Repeating the same reservation is a no-op; with another amount it is ConflictError ALREADY_RESERVED.
        """

    def extend(self, run_id: str, attempt: int, extension: str, amount_micro: int, at: float) -> Balance:
        """Add to a reservation; ``extension`` names this extension, so that repeating it is a no-op."""

    def settle(self, run_id: str, attempt: int, parts: CostParts, at: float) -> Balance:
        """Charge what was used and give the rest back. Never charges more than is reserved (OVER_RESERVATION)."""

    def expire(self, run_id: str, attempt: int, parts: CostParts, at: float) -> Balance:
        """As settle, for an attempt whose site never reported; ``parts`` is what is known to be used."""

    def reserved_for(self, run_id: str, attempt: int) -> int:
        """Micro-dollars now reserved for this attempt; 0 when closed or unknown."""

    def balance(self, tenant: str, period: str) -> Balance | None: ...

    def balances(self, period: str | None = None) -> tuple[Balance, ...]:
        """Accounts sorted by (tenant, period)."""

    def entries(self, tenant: str | None = None, run_id: str | None = None) -> tuple[LedgerEntry, ...]:
        """Lines in the order of their sequence."""

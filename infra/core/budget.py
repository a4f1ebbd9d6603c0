"""Budgets: what a tenant may still spend in a period, and the arithmetic of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from infra.core.units import require_number


class EntryKind(StrEnum):
    """Kinds of ledger entry. ``LIMIT`` sets a budget; the others move money for one attempt of one run."""

    LIMIT = "limit"
    RESERVE = "reserve"
    EXTEND = "extend"
    SETTLE = "settle"
    EXPIRE = "expire"


@dataclass(frozen=True, slots=True)
class Balance:
    """A tenant's account in one period, all in micro-dollars.

    Invariant I2: ``settled + reserved <= limit``.
    """

    tenant: str
    period: str
    limit_micro: int
    reserved_micro: int = 0
    settled_micro: int = 0

    def __post_init__(self) -> None:
        for name in ("limit_micro", "reserved_micro", "settled_micro"):
            require_number(getattr(self, name), f"balance of {self.tenant}: {name}")

    @property
    def available_micro(self) -> int:
        return self.limit_micro - self.reserved_micro - self.settled_micro

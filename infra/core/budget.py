"""Budgets: what a tenant may still spend in a period, and the arithmetic of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from infra.core.units import require_number

EXTENDABLE = 3
"""An attempt's cap may be raised to this multiple of what was reserved for it at first."""

STEPS = 4
"""In steps of this part of it: what is reserved and not used is money that others have to do without."""


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


def most_for(cap_micro: int, budget_micro: int | None) -> int:
    """How far an attempt's cap may be raised while it runs.

    Args:
        cap_micro: What is reserved for it at first.
        budget_micro: What its run may still cost; ``None`` when only its tenant's budget limits it.
    """
    most = EXTENDABLE * cap_micro
    return most if budget_micro is None else max(cap_micro, min(most, budget_micro))


def next_cap(first_micro: int, now_micro: int, most_micro: int) -> int:
    """The next larger cap; the present one when there is no room."""
    return max(now_micro, min(most_micro, now_micro + -(-first_micro // STEPS)))

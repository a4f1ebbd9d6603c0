"""The current policy and all before it, in memory."""

from __future__ import annotations

from infra.adapters.memory.state import Shelf
from infra.core.policy_source import PolicySource
from infra.ports import PolicyChange, PolicyRecord


class MemoryPolicyStore:
    """A :class:`infra.ports.PolicyStore`; see there for what each call promises."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def current(self) -> PolicyRecord | None:
        with self._shelf.looking() as state:
            return state.policies[-1] if state.policies else None

    def change(self, source: PolicySource, change: PolicyChange, why: str, at: float) -> PolicyRecord:
        with self._shelf.transaction():
            kept = self._shelf.state.policies
            if kept and kept[-1].version == source.version:
                return kept[-1]
            kept.append(PolicyRecord(len(kept) + 1, at, change, source.version, why, source))
            return kept[-1]

    def history(self, limit: int = 100) -> tuple[PolicyRecord, ...]:
        with self._shelf.looking() as state:
            return tuple(state.policies[::-1][:limit])

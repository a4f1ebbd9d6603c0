"""The ports in memory: fakes that keep every promise of the real adapters but outlive nothing."""

from __future__ import annotations

from infra.adapters.memory.catalog import MemoryCatalog, MemoryHistory, MemorySpotStore
from infra.adapters.memory.clock import FixedClock
from infra.adapters.memory.ledger import MemoryLedger
from infra.adapters.memory.policies import MemoryPolicyStore
from infra.adapters.memory.runs import MemoryRunStore
from infra.adapters.memory.state import Shelf
from infra.ports import Clock


class MemoryDatabase(Shelf):
    """A :class:`infra.ports.ControlStore` in this process's memory."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self.clock: Clock = clock or FixedClock()
        self.ledger = MemoryLedger(self)
        self.runs = MemoryRunStore(self)
        self.catalog = MemoryCatalog(self)
        self.history = MemoryHistory(self)
        self.policies = MemoryPolicyStore(self)
        self.spot = MemorySpotStore(self)

    def close(self) -> None:
        """Nothing to close; the content stays as long as the object."""


__all__ = [
    "FixedClock",
    "MemoryCatalog",
    "MemoryDatabase",
    "MemoryHistory",
    "MemoryLedger",
    "MemoryPolicyStore",
    "MemoryRunStore",
    "MemorySpotStore",
]

"""What the in-memory stores keep, and transactions over it: a copy at the start, put back when the block fails.

Everything kept is immutable, so a shallow copy is a whole snapshot. One reentrant lock makes the transactions of
threads one after the other, as the real databases do.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

from infra.core.budget import Balance
from infra.core.placement.snapshot import QueueEntry
from infra.core.spot.sightings import Sighting, SpotSighting
from infra.ports import (
    AttemptRecord,
    CatalogEntry,
    DecisionRecord,
    LedgerEntry,
    Observation,
    PolicyRecord,
    Publication,
    RunRecord,
)


@dataclass
class State:
    """All content. Dictionaries keep the order of insertion, which breaks ties of time."""

    accounts: dict[tuple[str, str], Balance] = field(default_factory=dict)
    entries: list[LedgerEntry] = field(default_factory=list)
    entry_keys: dict[tuple[str, str, int, str], LedgerEntry] = field(default_factory=dict)
    reservations: dict[tuple[str, int], int] = field(default_factory=dict)
    runs: dict[str, RunRecord] = field(default_factory=dict)
    decisions: dict[str, tuple[DecisionRecord, ...]] = field(default_factory=dict)
    queue: dict[str, QueueEntry] = field(default_factory=dict)
    attempts: dict[tuple[str, int], AttemptRecord] = field(default_factory=dict)
    publications: dict[str, Publication] = field(default_factory=dict)
    accepted: dict[tuple[str, str], CatalogEntry] = field(default_factory=dict)
    quarantined: dict[tuple[str, str], CatalogEntry] = field(default_factory=dict)
    arrivals: dict[tuple[str, str, str], str] = field(default_factory=dict)
    observations: dict[tuple[str, int], Observation] = field(default_factory=dict)
    policies: list[PolicyRecord] = field(default_factory=list)
    sightings: dict[tuple[str, int, Sighting], SpotSighting] = field(default_factory=dict)

    def copy(self) -> State:
        return State(**{part.name: getattr(self, part.name).copy() for part in fields(self)})


class Shelf:
    """Holds the state and its lock."""

    def __init__(self) -> None:
        self.state = State()
        self._lock = threading.RLock()
        self._readers = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes of the block, or none; nested blocks and single calls undo their own when they fail."""
        with self._lock:
            if self._readers:
                raise RuntimeError("a write inside reading(): use transaction()")
            before = self.state.copy()
            try:
                yield
            except BaseException:
                self.state = before
                raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Reads of the block see one state; others wait for its end."""
        with self._lock:
            self._readers += 1
            try:
                yield
            finally:
                self._readers -= 1

    @contextmanager
    def looking(self) -> Iterator[State]:
        """The state for one read, in whatever block it is called."""
        with self._lock:
            yield self.state

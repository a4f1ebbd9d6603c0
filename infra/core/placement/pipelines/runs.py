"""What stages cost and take at an option with their inputs at given places, as far as it was asked: a table that compiled code
looks up.

A run depends on the places of all inputs of a stage, so there are far too many to work all of them out ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from infra.core.placement.pipelines.arrays import INNER, Floats, Whole
from infra.core.placement.pipelines.columns import Facts, Path
from infra.core.placement.pipelines.hashing import hash_of
from infra.core.placement.pipelines.problem import OUTSIDE, Run

COMPILED_WITH = {
    "infra.core.placement.pipelines.columns": "5822dc01e928",
    "infra.core.placement.pipelines.hashing": "718b5f15ba0e",
}
"""Digests of the compiled modules that this one calls: a change of theirs must change this file, and with it its cache."""

_FIRST = 256


class Runs(NamedTuple):
    """Runs that are known.

    Attributes:
        slots: Rows of the others by their hash, or ``OUTSIDE``.
        keys: Stage, option, and places of the stage's inputs, ``OUTSIDE`` for other stages: ``[runs, 2 + stages]``.
        high_s, cost_micro, needed_micro: The last two are those of a price without windows: ``[runs]``.
        counts: How many were written, and how many of them have a slot.
    """

    slots: Whole
    keys: Whole
    high_s: Floats
    cost_micro: Whole
    needed_micro: Whole
    counts: Whole


class RunTable:
    """The runs of one problem, as they come to be known."""

    def __init__(self, stages: int) -> None:
        self.runs = _room_for(_FIRST, stages)

    def add(self, stage: int, choice: int, parents: Sequence[int], places: Sequence[int], run: Run | None) -> None:
        """Keep a run; ``None`` when it would take too long."""
        row = int(self.runs.counts[0])
        if row == len(self.runs.keys):
            self._grow()
        runs = self.runs
        runs.keys[row, 0], runs.keys[row, 1] = stage, choice
        for parent, place in zip(parents, places, strict=True):
            runs.keys[row, 2 + parent] = place
        runs.high_s[row] = np.inf if run is None else run.high_s
        if run is not None:
            runs.cost_micro[row], runs.needed_micro[row] = run.cost_micro, run.needed_micro
        runs.counts[0] += 1

    def _grow(self) -> None:
        before = self.runs
        count, width = before.keys.shape
        self.runs = _room_for(2 * count, width - 2)
        for old, new in zip(before[1:-1], self.runs[1:-1], strict=True):
            new[:count] = old
        self.runs.counts[0] = count


def _room_for(most: int, stages: int) -> Runs:
    return Runs(
        slots=np.full(2 * most, OUTSIDE),
        keys=np.full((most, 2 + stages), OUTSIDE),
        high_s=np.zeros(most),
        cost_micro=np.zeros(most, dtype=np.int64),
        needed_micro=np.zeros(most, dtype=np.int64),
        counts=np.zeros(2, dtype=np.int64),
    )


@njit(**INNER)
def _slot_of(runs: Runs, key: Whole) -> int:
    """The slot where a run is, or the empty one where it belongs."""
    slot = hash_of(key, 0) % runs.slots.size
    while runs.slots[slot] != OUTSIDE and not (runs.keys[runs.slots[slot]] == key).all():
        slot = (slot + 1) % runs.slots.size
    return slot


@njit(**INNER)
def enter(runs: Runs) -> None:
    """Give slots to those that were written since."""
    for row in range(runs.counts[1], runs.counts[0]):
        runs.slots[_slot_of(runs, runs.keys[row])] = row
    runs.counts[1] = runs.counts[0]


@njit(**INNER)
def find_run(facts: Facts, runs: Runs, stage: int, choice: int, path: Path, key: Whole) -> int:
    """The row of a run with its inputs where a path has them, or ``OUTSIDE`` when it is not known.

    Args:
        key: Is overwritten: ``[2 + stages]``.
    """
    key[:] = OUTSIDE
    key[0], key[1] = stage, choice
    for parent in range(stage):
        if facts.forest.waits[stage, parent]:
            key[2 + parent] = path.place[parent]
    return runs.slots[_slot_of(runs, key)]

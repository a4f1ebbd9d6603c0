"""Labels that cannot lead to anything better than another one, so that they need not be taken up; compiled."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from infra.core.placement.pipelines.arrays import INNER, Flags, Floats
from infra.core.placement.pipelines.columns import Facts, Outlook, Path
from infra.core.placement.pipelines.hashing import hash_of
from infra.core.placement.pipelines.labels import Labels, ready_at_of, unroll
from infra.core.placement.pipelines.problem import OUTSIDE

COMPILED_WITH = {
    "infra.core.placement.pipelines.columns": "5822dc01e928",
    "infra.core.placement.pipelines.hashing": "718b5f15ba0e",
    "infra.core.placement.pipelines.labels": "ece0a99e8ac1",
}
"""Digests of the compiled modules that this one calls: a change of theirs must change this file, and with it its cache."""


@njit(**INNER)
def dominated(facts: Facts, outlook: Outlook, labels: Labels, label: int, path: Path, other_path: Path) -> bool:
    """Whether a label that was taken up with its results at the same places is no dearer and no later; else this one is kept.

    Args:
        path: The label, unrolled.
        other_path: Is overwritten.
    """
    depth = labels.depth[label]
    stages = path.choice.size
    tied, other_tied = np.zeros(stages, dtype=np.bool_), np.zeros(stages, dtype=np.bool_)
    shared, other_shared = np.empty((4, stages)), np.empty((4, stages))
    times, other_times = np.empty((2, stages)), np.empty((2, stages))
    trace = _shared_of(facts, outlook, depth, path, tied, shared)
    _times_of(facts, depth, path, tied, times)
    bucket = trace % labels.heads.size
    other = labels.heads[bucket]
    while other != OUTSIDE:
        compares = (
            labels.trace[other] == trace
            and labels.cost_micro[other] <= labels.cost_micro[label]
            and labels.needed_micro[other] <= labels.needed_micro[label]
            and labels.end_at[other] <= labels.end_at[label]
            and labels.depth[other] == depth
        )
        if compares:
            unroll(facts, labels, other, other_path)
            _shared_of(facts, outlook, depth, other_path, other_tied, other_shared)
            _times_of(facts, depth, other_path, other_tied, other_times)
            if (other_shared == shared).all() and (other_times <= times).all():
                less = _missed_micro(outlook, depth, (times - other_times).max())
                if (
                    labels.cost_micro[other] + less <= labels.cost_micro[label]
                    and labels.needed_micro[other] + 2 * less <= labels.needed_micro[label]
                ):
                    return True
        other = labels.next_seen[other]
    labels.trace[label], labels.next_seen[label] = trace, labels.heads[bucket]
    labels.heads[bucket] = label
    return False


@njit(**INNER)
def _missed_micro(outlook: Outlook, depth: int, earlier_s: float) -> int:
    """By how much what comes earlier may be dearer, because it may miss a cheaper window."""
    if outlook.windowed[depth] == 0 or earlier_s == 0.0:
        return 0
    return math.ceil(outlook.slope_micro[depth] * earlier_s) + outlook.windowed[depth]


@njit(**INNER)
def _shared_of(facts: Facts, outlook: Outlook, depth: int, path: Path, tied: Flags, shared: Floats) -> int:
    """What labels have in common that compare: the places of what is still to be read, and all that decides on tied stages.

    Returns:
        A trace of it: what differs in that differs.
    """
    _tie(facts, outlook, depth, path, tied)
    shared[:] = OUTSIDE
    for index in range(depth):
        if facts.groups[depth, index] != OUTSIDE:
            shared[0, index] = path.place[index]
        if not tied[index]:
            continue
        shared[1, index] = path.choice[index]
        for parent in range(index):
            if facts.forest.waits[index, parent]:
                shared[0, parent] = path.place[parent]
        if facts.windowed[index, path.choice[index]]:
            shared[2, index], shared[3, index] = path.start_at[index], ready_at_of(facts, depth, index, path)
    return hash_of(shared.ravel().view(np.int64), depth)


@njit(**INNER)
def _times_of(facts: Facts, depth: int, path: Path, tied: Flags, times: Floats) -> None:
    """Write the starts of tied stages, and when the last of the others that the same stages wait for ends; else nothing."""
    times[:] = 0.0
    for index in range(depth):
        if tied[index]:
            times[0, index] = path.start_at[index]
        elif facts.groups[depth, index] != OUTSIDE:
            group = facts.groups[depth, index]
            times[1, group] = max(times[1, group], path.finish_at[index])


@njit(**INNER)
def _tie(facts: Facts, outlook: Outlook, depth: int, path: Path, tied: Flags) -> None:
    """Mark placed stages that may yet have to start later because of others that want their devices, or because they come
    after one that may."""
    stages = path.choice.size
    for index in range(depth):
        tied[index] = path.loose[index]
        if outlook.scarce[index, path.choice[index]]:
            row, wanted = path.row[index], 0
            for other in range(stages):
                wants = path.row[other] == row if other < depth else outlook.wants[other, row]
                if wants and facts.rivals[index, other]:
                    wanted += facts.devices[other]
            tied[index] |= wanted > 0 and facts.devices[index] + wanted > facts.free[row]
        for parent in range(index):
            tied[index] |= tied[parent] and facts.forest.waits[index, parent]

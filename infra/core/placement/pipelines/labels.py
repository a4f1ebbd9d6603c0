"""Labels: plans of the first stages of a pipeline, compiled. They are a tree, and those that may still be taken up a heap."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numba import njit

from infra.core.placement.pipelines.arrays import INNER, Flags, Floats, Whole
from infra.core.placement.pipelines.columns import Facts, Path
from infra.core.placement.pipelines.problem import OUTSIDE

COMPILED_WITH = {
    "infra.core.placement.pipelines.columns": "5822dc01e928",
}
"""Digests of the compiled modules that this one calls: a change of theirs must change this file, and with it its cache."""

FRESH = -1
"""Instead of a position: of a label that was not taken up yet."""

MADE, HEAPED, TAKEN = 0, 1, 2
"""Places of the counts: labels that were made, that are in the heap, and that were taken up."""

_BUCKETS = 1024


class Labels(NamedTuple):
    """Each label is another one with one more stage at an option and a start; the first one has no stage. All ``[labels]``.

    Attributes:
        before: The label that it was made from.
        depth: How many stages it has.
        choice, start_at, finish_at: Of its last stage, at the high estimate.
        slips: Whether that may have to start later, because others may want its devices or because it comes after one that may.
        loose: Whether it may slip and its price has windows: cost and need are the least of all later starts then.
        cost_micro, needed_micro, end_at: Of all its stages.
        first, second: The least that it can come to.
        position: Of the first option of its next stage that was not tried, or ``FRESH``.
        heap: Labels in the order of a binary heap.
        trace, next_seen: Of those that were taken up: what those share that compare, and the one seen before it.
        heads: The last one seen, by trace: ``[buckets]``.
        counts: ``[3]``.
    """

    before: Whole
    depth: Whole
    choice: Whole
    start_at: Floats
    finish_at: Floats
    slips: Flags
    loose: Flags
    cost_micro: Whole
    needed_micro: Whole
    end_at: Floats
    first: Floats
    second: Floats
    position: Whole
    heap: Whole
    trace: Whole
    next_seen: Whole
    heads: Whole
    counts: Whole


def first_label(now_at: float, most: int) -> Labels:
    """The label without stages, and room for others."""
    whole, floats, flags = (partial(np.zeros, most, dtype=kind) for kind in (np.int64, np.float64, np.bool_))
    labels = Labels(
        before=whole(),
        depth=whole(),
        choice=whole(),
        start_at=floats(),
        finish_at=floats(),
        slips=flags(),
        loose=flags(),
        cost_micro=whole(),
        needed_micro=whole(),
        end_at=floats(),
        first=floats(),
        second=floats(),
        position=whole(),
        heap=whole(),
        trace=whole(),
        next_seen=whole(),
        heads=np.full(_BUCKETS, OUTSIDE),
        counts=np.array([1, 1, 0]),
    )
    labels.before[0], labels.end_at[0], labels.position[0] = OUTSIDE, now_at, FRESH
    return labels


def with_more_room(labels: Labels) -> Labels:
    """The same labels, and room for as many again."""
    grown = [np.concatenate((column, np.zeros_like(column))) for column in labels[:-2]]
    return Labels(*grown, labels.heads, labels.counts)


@njit(**INNER)
def unroll(facts: Facts, labels: Labels, label: int, path: Path) -> None:
    """Write a label's stages to a path."""
    for index in range(labels.depth[label] - 1, -1, -1):
        choice = labels.choice[label]
        path.choice[index] = choice
        path.place[index], path.row[index] = facts.forest.kept[index, choice], facts.rows[index, choice]
        path.start_at[index], path.finish_at[index] = labels.start_at[label], labels.finish_at[label]
        path.slips[index], path.loose[index] = labels.slips[label], labels.loose[label]
        label = labels.before[label]


@njit(**INNER)
def ready_at_of(facts: Facts, depth: int, index: int, path: Path) -> float:
    """When those inputs of a stage are there whose stages have their place."""
    ready_at = facts.now_at
    for source in range(min(depth, index)):
        if facts.forest.waits[index, source]:
            ready_at = max(ready_at, path.finish_at[source])
    return ready_at


@njit(**INNER)
def _is_before(labels: Labels, one: int, other: int) -> bool:
    """Whether a label is taken up before another one: by what it can come to, the deeper, then by its options and its starts."""
    if labels.first[one] != labels.first[other]:
        return labels.first[one] < labels.first[other]
    if labels.second[one] != labels.second[other]:
        return labels.second[one] < labels.second[other]
    if labels.depth[one] != labels.depth[other]:
        return labels.depth[one] > labels.depth[other]
    choices, starts = 0, 0.0
    while one != other:  # the earliest stage at which they differ is the last one met
        if labels.choice[one] != labels.choice[other]:
            choices = labels.choice[one] - labels.choice[other]
        if labels.start_at[one] != labels.start_at[other]:
            starts = labels.start_at[one] - labels.start_at[other]
        one, other = labels.before[one], labels.before[other]
    return choices < 0 or (choices == 0 and starts < 0.0)


@njit(**INNER)
def push(labels: Labels, label: int) -> None:
    """Put a label into the heap."""
    heap, place = labels.heap, labels.counts[HEAPED]
    labels.counts[HEAPED] += 1
    while place and _is_before(labels, label, heap[(place - 1) // 2]):
        heap[place] = heap[(place - 1) // 2]
        place = (place - 1) // 2
    heap[place] = label


@njit(**INNER)
def pop(labels: Labels) -> None:
    """Take the first label out of the heap."""
    labels.counts[HEAPED] -= 1
    heap, count, place = labels.heap, labels.counts[HEAPED], 0
    last = heap[count]
    while 2 * place + 1 < count:
        below = 2 * place + 1
        if below + 1 < count and _is_before(labels, heap[below + 1], heap[below]):
            below += 1
        if not _is_before(labels, heap[below], last):
            break
        heap[place] = heap[below]
        place = below
    heap[place] = last

"""The order in which stages get the devices that they want from each other, compiled, where only the end of the last one counts.

That is so at prices without windows: what a stage costs does not depend on its start then. Each stage starts as soon as its
turn lets it, and every order is tried, as long as it may end earlier than the best so far.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from infra.core.placement.pipelines.arrays import Flags, Floats, Whole
from infra.core.placement.pipelines.hashing import hash_of

COMPILED_WITH = {
    "infra.core.placement.pipelines.hashing": "718b5f15ba0e",
}
"""Digests of the compiled modules that this one calls: a change of theirs must change this file, and with it its cache."""

_MOST_SEEN = 2048
"""States that are remembered, so that what is reached in several orders is looked at once. More cost only time."""

NOBODY = -1
"""Instead of an offer: one that has enough devices for all who may want them."""


class Claims(NamedTuple):
    """What the stages want and what the offers have that are wanted by too many.

    Attributes:
        free_at: From when on enough devices are free of the runs that are there already: ``[stages]``.
        seconds: That a stage takes at the high estimate: ``[stages]``.
        after_s: From the end of a stage to the end of the pipeline at least: ``[stages]``.
        latest_at: By when a stage has to end: ``[stages]``.
        punctual: Whether a stage has to start now or not at all: ``[stages]``.
        devices: That a stage wants: ``[stages]``.
        waits: Whether a stage (first index) has another one (second index) as an input: ``[stages, stages]``.
        offer: The offer that a stage wants them from, of those that too many want, or ``-1``: ``[stages]``.
        capacity: Of these offers: ``[offers]``.
        held, held_until_at: Devices that runs have that are there already, and until when: ``[offers, runs]``, padded with 0.
    """

    free_at: Floats
    seconds: Floats
    after_s: Floats
    latest_at: Floats
    punctual: Flags
    devices: Whole
    waits: Flags
    offer: Whole
    capacity: Whole
    held: Whole
    held_until_at: Floats


class Placed(NamedTuple):
    """The stages that have had their turn: whether, and from when until when, each ``[stages]``."""

    yes: Flags
    start_at: Floats
    finish_at: Floats


def nobody(stages: int) -> Placed:
    """Of so many stages none has had its turn."""
    return Placed(np.zeros(stages, dtype=np.bool_), np.zeros(stages), np.zeros(stages))


@njit(cache=True)
def _turn_at(claims: Claims, placed: Placed, offer: int, at: float) -> float:
    """The first instant from ``at`` on that is not before the start of anybody who had a turn at this offer."""
    for stage in range(placed.yes.size):
        if placed.yes[stage] and claims.offer[stage] == offer and placed.start_at[stage] > at:
            at = placed.start_at[stage]
    return at


@njit(cache=True)
def _taken(claims: Claims, placed: Placed, offer: int, at: float) -> tuple[int, float]:
    """Devices that are held after an instant, and the first instant at which some of them are given back."""
    count, back_at = 0, np.inf
    for run in range(claims.held.shape[1]):
        until_at = claims.held_until_at[offer, run]
        if claims.held[offer, run] and until_at > at:
            count += claims.held[offer, run]
            back_at = min(back_at, until_at)
    for stage in range(placed.yes.size):
        if placed.yes[stage] and claims.offer[stage] == offer and placed.finish_at[stage] > at:
            count += claims.devices[stage]
            back_at = min(back_at, placed.finish_at[stage])
    return count, back_at


@njit(cache=True)
def next_at(claims: Claims, placed: Placed, stage: int, ready_at: float) -> float:
    """When a stage gets its devices after all that had their turn before it."""
    offer = claims.offer[stage]
    at = _turn_at(claims, placed, offer, ready_at)
    taken, back_at = _taken(claims, placed, offer, at)
    while claims.capacity[offer] - taken < claims.devices[stage] and back_at < np.inf:
        at = back_at
        taken, back_at = _taken(claims, placed, offer, at)
    return at


@njit(cache=True)
def _done_at(claims: Claims, placed: Placed, offer: int, ready_at: float, work: float) -> float:
    """When stages that are still to come can have done so many device-seconds at the earliest."""
    at = _turn_at(claims, placed, offer, ready_at)
    while True:
        taken, back_at = _taken(claims, placed, offer, at)
        free = max(0, claims.capacity[offer] - taken)
        if back_at == np.inf or free * (back_at - at) >= work:
            return at + work / free if work > 0.0 else at
        work -= free * (back_at - at)
        at = back_at


@njit(cache=True)
def earliest_end(claims: Claims, placed: Placed, now_at: float, begins_at: Floats, ends_at: Floats) -> float:
    """When all ends at the earliest, by the inputs and by the devices that what is left needs for so long.

    Args:
        begins_at, ends_at: Are overwritten with when what is left can start and end, by its inputs.
    """
    stages, end_at = placed.yes.size, 0.0
    for stage in range(stages):
        if placed.yes[stage]:
            ends_at[stage] = placed.finish_at[stage]
            end_at = max(end_at, ends_at[stage])
            continue
        begin_at = max(now_at, claims.free_at[stage])
        for parent in range(stage):
            if claims.waits[stage, parent]:
                begin_at = max(begin_at, ends_at[parent])
        begins_at[stage], ends_at[stage] = begin_at, begin_at + claims.seconds[stage]
        end_at = max(end_at, ends_at[stage] + claims.after_s[stage])
    for offer in range(claims.capacity.size):
        for first in range(stages):
            if placed.yes[first] or claims.offer[first] != offer:
                continue
            # All that can start no earlier than this one.
            work, after_s, count = 0.0, np.inf, 0
            for stage in range(stages):
                left = not placed.yes[stage] and claims.offer[stage] == offer
                if left and begins_at[stage] >= begins_at[first]:
                    work += claims.devices[stage] * claims.seconds[stage]
                    after_s = min(after_s, claims.after_s[stage])
                    count += 1
            if count > 1:
                end_at = max(end_at, _done_at(claims, placed, offer, begins_at[first], work) + after_s)
    return end_at


@njit(cache=True)
def _is_new(placed: Placed, seen: Floats, slots: Whole, count: int) -> bool:
    """Whether this state was not seen before; it is written down then, at ``seen[count]``, as long as there is room."""
    stages = placed.yes.size
    for stage in range(stages):
        seen[count, stage] = placed.start_at[stage] if placed.yes[stage] else -np.inf
    slot = hash_of(seen[count].view(np.int64), 0) % slots.size
    while slots[slot] != NOBODY:
        if (seen[slots[slot]] == seen[count]).all():
            return False
        slot = (slot + 1) % slots.size
    if count + 1 < seen.shape[0]:
        slots[slot] = count
    return True


@njit(cache=True)
def _next_turns(claims: Claims, placed: Placed, turns: Whole) -> int:
    """Who may have the next turn, the longest first, and how many these are. Whoever shares no devices is in nobody's way: its
    turn makes no difference, and it is the only one then."""
    stages, count = placed.yes.size, 0
    for stage in range(stages):
        ready = not placed.yes[stage]
        for parent in range(stage):
            ready = ready and (placed.yes[parent] or not claims.waits[stage, parent])
        if not ready:
            continue
        if claims.offer[stage] == NOBODY:
            turns[0] = stage
            return 1
        length, place = claims.seconds[stage] + claims.after_s[stage], count
        while place and claims.seconds[turns[place - 1]] + claims.after_s[turns[place - 1]] < length:
            turns[place] = turns[place - 1]
            place -= 1
        turns[place] = stage
        count += 1
    return count


@njit(cache=True)
def _is_before(one: Floats, other: Floats) -> bool:
    """Whether the first instants that differ are earlier."""
    for place in range(one.size):
        if one[place] != other[place]:
            return one[place] < other[place]
    return False


@njit(cache=True)
def best_order(claims: Claims, now_at: float, latest_at: float, trace_s: float, most: int) -> tuple[Floats, int]:
    """The starts with which the last stage ends first, ``[stages]``, empty when it cannot end in time; and how many turns were
    tried: when that is as many as may be, others might be better.

    Args:
        latest_at: By when all has to have ended.
        trace_s: Ends that differ by less count as equal.
        most: Turns that may be tried.
    """
    stages = claims.seconds.size
    placed = Placed(np.zeros(stages, dtype=np.bool_), np.zeros(stages), np.zeros(stages))
    begins_at, ends_at = np.zeros(stages), np.zeros(stages)
    turns, counts, tried_of = (
        np.zeros((stages + 1, stages), dtype=np.int64),
        np.zeros(stages + 1, dtype=np.int64),
        np.zeros(stages + 1, dtype=np.int64),
    )
    seen, known = np.empty((_MOST_SEEN, stages)), 0
    slots = np.full(2 * _MOST_SEEN, NOBODY, dtype=np.int64)
    best, best_at = np.empty(0), np.inf
    depth, tried, entering = 0, 0, True
    while depth >= 0 and tried < most:
        if entering:
            counts[depth] = tried_of[depth] = 0
            if depth == stages:
                end_at = placed.finish_at.max()
                if end_at < best_at or (end_at == best_at and _is_before(placed.start_at, best)):
                    best, best_at = placed.start_at.copy(), end_at
            elif _is_new(placed, seen, slots, known):
                known = min(known + 1, _MOST_SEEN - 1)
                end_at = earliest_end(claims, placed, now_at, begins_at, ends_at)
                if end_at - trace_s <= latest_at and end_at < best_at - trace_s:
                    counts[depth] = _next_turns(claims, placed, turns[depth])
        entering = False
        if tried_of[depth] == counts[depth]:
            depth -= 1
            if depth >= 0:
                placed.yes[turns[depth, tried_of[depth] - 1]] = False
            continue
        stage = turns[depth, tried_of[depth]]
        tried_of[depth] += 1
        ready_at = now_at
        for parent in range(stage):
            if claims.waits[stage, parent]:
                ready_at = max(ready_at, placed.finish_at[parent])
        start_at = max(ready_at, claims.free_at[stage])
        if claims.offer[stage] != NOBODY:
            start_at = max(start_at, next_at(claims, placed, stage, ready_at))
        finish_at = start_at + claims.seconds[stage]
        if finish_at > claims.latest_at[stage] or (claims.punctual[stage] and start_at > now_at):
            continue
        placed.yes[stage], placed.start_at[stage], placed.finish_at[stage] = True, start_at, finish_at
        tried += 1
        depth += 1
        entering = True
    return best, tried

"""Where devices are free and from when: the compiled book-keeping that a plan writes its reservations into.

A *stretch* is a set of devices of one node, each free from its own instant, all of them until one common end. A node begins as
one stretch without an end. Reserving devices of a stretch moves their instants to the end of the reservation, and the time
before it, during which they would stand idle, becomes a stretch of its own that ends where the reservation begins. A
job that fits into such a gap can therefore never delay a reservation made earlier: that is the whole of backfilling.

Times are floats in one unit (the caller's), devices are counts. Everything here is compiled by numba at first use and
cached beside this file.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

NEVER = np.inf
_SLACK = 1e-9
"""Rounding allowed when a job ends where a stretch ends, in time units."""


class Stretches(NamedTuple):
    """All stretches of a cluster; place ``i`` of each array is one. Only the first ``used`` count.

    Attributes:
        node: Its node. [rows] int64
        until: The end by which its devices must be given back, infinity for none. [rows] float64
        devices: How many devices it has. [rows] int64
        free_at: From when each of them is free, ascending, then infinity. Stretches stand in columns, so that looking for
            one runs through memory in order. [per_node, rows] float64
    """

    node: np.ndarray
    until: np.ndarray
    devices: np.ndarray
    free_at: np.ndarray


def room_for(nodes: int, per_node: int) -> Stretches:
    """Empty stretches with room for the nodes and for the gaps that reservations leave."""
    rows = 2 * nodes + 400
    return Stretches(
        np.zeros(rows, np.int64), np.full(rows, NEVER), np.zeros(rows, np.int64), np.full((per_node, rows), NEVER)
    )


@njit(cache=True)
def open_nodes(stretches: Stretches, device_free_at: np.ndarray) -> int:
    """Begin with one endless stretch per node.

    Args:
        stretches: Written.
        device_free_at: From when each device is free, in any order. [nodes, per_node] float64

    Returns:
        How many rows are used.
    """
    nodes, per_node = device_free_at.shape
    for node in range(nodes):
        for device in range(per_node):
            at = device_free_at[node, device]
            place = device
            while place > 0 and stretches.free_at[place - 1, node] > at:
                stretches.free_at[place, node] = stretches.free_at[place - 1, node]
                place -= 1
            stretches.free_at[place, node] = at
        stretches.node[node] = node
        stretches.until[node] = NEVER
        stretches.devices[node] = per_node
    return nodes


@njit(cache=True)
def copy_into(target: Stretches, source: Stretches, used: int) -> None:
    """Copy the first ``used`` rows."""
    for row in range(used):
        target.node[row] = source.node[row]
        target.until[row] = source.until[row]
        target.devices[row] = source.devices[row]
    for device in range(source.free_at.shape[0]):
        for row in range(used):
            target.free_at[device, row] = source.free_at[device, row]


@njit(cache=True)
def earliest_on_one_node(
    stretches: Stretches, used: int, devices: int, runtime: float, now: float
) -> tuple[float, int]:
    """Earliest start of a job that needs one node, and the stretch to take.

    Of equally early ones a gap is taken before open time, which it would not spoil, and then the stretch that is left
    with the fewest free devices: whole nodes stay whole for jobs that need them.

    Returns:
        Start and row; infinity and -1 when no stretch ever has enough devices.
    """
    best_at, best_row, best_left = NEVER, -1, 0
    if devices > stretches.free_at.shape[0]:
        return best_at, best_row
    # First the instant, in a loop without branches that the processor does several rows at a time, then the row.
    free_at = stretches.free_at[devices - 1]
    until = stretches.until
    for row in range(used):
        at = max(now, free_at[row])
        best_at = min(best_at, at if at + runtime <= until[row] + _SLACK else NEVER)
    if best_at == NEVER:
        return best_at, best_row
    for row in range(used):
        if free_at[row] > best_at or best_at + runtime > until[row] + _SLACK:
            continue
        left = 0
        while devices + left < stretches.devices[row] and stretches.free_at[devices + left, row] <= best_at:
            left += 1
        if until[row] < NEVER:
            left -= stretches.free_at.shape[0] + 1
        if best_row < 0 or left < best_left:
            best_row, best_left = row, left
    return best_at, best_row


@njit(cache=True)
def earliest_on_whole_nodes(
    stretches: Stretches, used: int, nodes: int, per_node: int, runtime: float, now: float
) -> float:
    """Earliest instant at which so many nodes are wholly free for the job's whole run; infinity when never.

    At most one stretch of a node can hold the job at any instant: gaps end where the reservation after them begins.
    """
    begins, closes = np.empty(used), np.empty(used)
    count, closing = 0, 0
    for row in range(used):
        if stretches.devices[row] == per_node:
            at = max(now, stretches.free_at[per_node - 1, row])
            closes_at = stretches.until[row] + _SLACK - runtime
            if at <= closes_at:
                begins[count] = at
                count += 1
                if closes_at < NEVER:
                    closes[closing] = closes_at
                    closing += 1
    if count < nodes:
        return NEVER
    begins = np.sort(begins[:count])
    closes = np.sort(closes[:closing])
    closed = 0
    for place in range(count):
        at = begins[place]
        while closed < closing and closes[closed] < at:
            closed += 1
        if place + 1 - closed >= nodes:
            return at
    return NEVER


@njit(cache=True)
def tightest_whole_node(stretches: Stretches, used: int, per_node: int, runtime: float, at: float) -> int:
    """Of the whole nodes that are free for the run: a gap before open time, then the one that was free the shortest."""
    best_row = -1
    for row in range(used):
        if not _holds_node(stretches, row, per_node, runtime, at):
            continue
        gap = stretches.until[row] < NEVER
        if best_row >= 0:
            best_gap = stretches.until[best_row] < NEVER
            if best_gap and not gap:
                continue
            if best_gap == gap and stretches.free_at[per_node - 1, row] <= stretches.free_at[per_node - 1, best_row]:
                continue
        best_row = row
    return best_row


@njit(cache=True)
def _holds_node(stretches: Stretches, row: int, per_node: int, runtime: float, at: float) -> bool:
    return (
        stretches.devices[row] == per_node
        and stretches.free_at[per_node - 1, row] <= at
        and at <= stretches.until[row] + _SLACK - runtime
    )


@njit(cache=True)
def reserve(stretches: Stretches, used: int, row: int, devices: int, start: float, end: float, now: float) -> int:
    """Take the devices of a stretch that came free last before ``start``; what they leave idle becomes a gap.

    A gap is forgotten when there is no more room for it: the plan then backfills less, and is still correct.

    Returns:
        How many rows are used now.
    """
    free_at = stretches.free_at
    count = stretches.devices[row]
    ready = 0
    while ready < count and free_at[ready, row] <= start:
        ready += 1
    first = ready - devices
    if start > now and free_at[first, row] < start and used < stretches.node.size:
        idle = 0
        for place in range(first, ready):
            if free_at[place, row] < start:
                free_at[idle, used] = free_at[place, row]
                idle += 1
        for place in range(idle, free_at.shape[0]):
            free_at[place, used] = NEVER
        stretches.devices[used] = idle
        stretches.until[used] = start
        stretches.node[used] = stretches.node[row]
        used += 1
    for place in range(first, count - devices):
        free_at[place, row] = free_at[place + devices, row]
    place = count - devices - 1
    while place >= 0 and free_at[place, row] > end:
        free_at[place + devices, row] = free_at[place, row]
        place -= 1
    for taken in range(place + 1, place + 1 + devices):
        free_at[taken, row] = end
    if free_at[0, row] >= stretches.until[row]:
        used = _forget(stretches, used, row)
    return used


@njit(cache=True)
def _forget(stretches: Stretches, used: int, row: int) -> int:
    """Drop a gap that is used up: the last row takes its place."""
    last = used - 1
    stretches.node[row] = stretches.node[last]
    stretches.until[row] = stretches.until[last]
    stretches.devices[row] = stretches.devices[last]
    for place in range(stretches.free_at.shape[0]):
        stretches.free_at[place, row] = stretches.free_at[place, last]
    return last

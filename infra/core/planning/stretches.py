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
    """All stretches of a cluster; row ``i`` of each array is one. Only the first ``used`` rows count.

    Attributes:
        node: Its node. [rows] int64
        until: The end by which its devices must be given back, infinity for none. [rows] float64
        devices: How many devices it has. [rows] int64
        free_at: From when each of them is free, ascending; entries from ``devices`` on mean nothing. [rows, per_node] float64
    """

    node: np.ndarray
    until: np.ndarray
    devices: np.ndarray
    free_at: np.ndarray


def room_for(nodes: int, per_node: int) -> Stretches:
    """Empty stretches with room for the nodes and for the gaps that reservations leave."""
    rows = 2 * nodes + 400
    return Stretches(
        np.zeros(rows, np.int64), np.full(rows, NEVER), np.zeros(rows, np.int64), np.zeros((rows, per_node), np.float64)
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
            while place > 0 and stretches.free_at[node, place - 1] > at:
                stretches.free_at[node, place] = stretches.free_at[node, place - 1]
                place -= 1
            stretches.free_at[node, place] = at
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
        target.free_at[row, :] = source.free_at[row, :]


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
    for row in range(used):
        count = stretches.devices[row]
        if count < devices:
            continue
        at = max(now, stretches.free_at[row, devices - 1])
        if at > best_at or at + runtime > stretches.until[row] + _SLACK:
            continue
        left = 0
        while devices + left < count and stretches.free_at[row, devices + left] <= at:
            left += 1
        if stretches.until[row] < NEVER:
            left -= count + 1
        if at < best_at or left < best_left:
            best_at, best_row, best_left = at, row, left
    return best_at, best_row


@njit(cache=True)
def earliest_on_whole_nodes(
    stretches: Stretches, used: int, nodes: int, per_node: int, runtime: float, now: float
) -> float:
    """Earliest instant at which so many nodes are wholly free for the job's whole run; infinity when never.

    At most one stretch of a node can hold the job at any instant: gaps end where the reservation after them begins.
    """
    instants = np.empty(used)
    count = 0
    for row in range(used):
        if stretches.devices[row] == per_node:
            at = max(now, stretches.free_at[row, per_node - 1])
            if at + runtime <= stretches.until[row] + _SLACK:
                instants[count] = at
                count += 1
    if count < nodes:
        return NEVER
    instants = np.sort(instants[:count])
    for place in range(nodes - 1, count):
        at = instants[place]
        if place + 1 < count and instants[place + 1] == at:
            continue
        found = 0
        for row in range(used):
            found += _holds_node(stretches, row, per_node, runtime, at)
        if found >= nodes:
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
            if best_gap == gap and stretches.free_at[row, per_node - 1] <= stretches.free_at[best_row, per_node - 1]:
                continue
        best_row = row
    return best_row


@njit(cache=True)
def _holds_node(stretches: Stretches, row: int, per_node: int, runtime: float, at: float) -> bool:
    return (
        stretches.devices[row] == per_node
        and stretches.free_at[row, per_node - 1] <= at
        and at + runtime <= stretches.until[row] + _SLACK
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
    while ready < count and free_at[row, ready] <= start:
        ready += 1
    first = ready - devices
    if start > now and free_at[row, first] < start and used < stretches.node.size:
        idle = 0
        for place in range(first, ready):
            if free_at[row, place] < start:
                free_at[used, idle] = free_at[row, place]
                idle += 1
        stretches.devices[used] = idle
        stretches.until[used] = start
        stretches.node[used] = stretches.node[row]
        used += 1
    for place in range(first, count - devices):
        free_at[row, place] = free_at[row, place + devices]
    place = count - devices - 1
    while place >= 0 and free_at[row, place] > end:
        free_at[row, place + devices] = free_at[row, place]
        place -= 1
    for taken in range(place + 1, place + 1 + devices):
        free_at[row, taken] = end
    return used

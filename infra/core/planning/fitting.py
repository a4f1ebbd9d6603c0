"""Starting what fits, without a plan: the simplest manner of the planner."""

from __future__ import annotations

import numpy as np
from numba import njit

from infra.core.planning.columns import BURST, NOT_PLANNED, SHORTEST, Jobs, Plan, Scratch
from infra.core.planning.stretches import NEVER, Stretches, copy_into, reserve

COMPILED_WITH = {
    "infra.core.planning.columns": "9d67b7a25c73",
    "infra.core.planning.stretches": "d2981b2ed2ea",
}
"""Digests of the compiled modules that this one calls: a change of theirs must change this file, and with it its cache."""


@njit(cache=True)
def start_or_leave(
    now: float,
    used: int,
    per_node: int,
    queue: np.ndarray,
    count: int,
    jobs: Jobs,
    scratch: Scratch,
    plan: Plan,
    first_fit: bool,
) -> float:
    """Start what fits, in rank order, and burst what has reached its latest start; nothing is reserved.

    With latest starts in proportion to the price of the burst this is the rule of Starburst (Luo et al., ATC 2024). It
    is the planner's simplest manner, worth having where wide jobs make every reservation drain most of the nodes.

    Returns:
        Cost of the bursts.
    """
    stretches = scratch.plan
    copy_into(stretches, scratch.opened, used)
    cost = 0.0
    for place in range(count):
        job = queue[place]
        devices = jobs.devices[job]
        runtime = max(jobs.runtime[job], SHORTEST)
        whole = 0 if devices <= per_node else (devices + per_node - 1) // per_node
        plan.late[job] = False
        if whole == 0:
            row = _node_with_room(stretches, used, devices, now, first_fit)
            if row >= 0:
                plan.start[job] = now
                plan.nodes[job, 0] = stretches.node[row]
                used = reserve(stretches, used, row, devices, now, now + runtime, now)
                continue
        elif _free_nodes(stretches, used, per_node, now) >= whole:
            plan.start[job] = now
            for part in range(whole):
                row = _node_with_room(stretches, used, per_node, now, True)
                plan.nodes[job, part] = stretches.node[row]
                used = reserve(stretches, used, row, per_node, now, now + runtime, now)
            continue
        if now >= jobs.latest[job] and jobs.burst[job] < NEVER:
            plan.start[job] = BURST
            cost += jobs.burst[job]
        else:
            plan.start[job] = NOT_PLANNED
    return cost


@njit(cache=True)
def _node_with_room(stretches: Stretches, used: int, devices: int, now: float, first_fit: bool) -> int:
    best, best_left = -1, 0
    for row in range(used):
        if stretches.free_at[devices - 1, row] > now:
            continue
        if first_fit:
            return row
        left = 0
        while devices + left < stretches.devices[row] and stretches.free_at[devices + left, row] <= now:
            left += 1
        if best < 0 or left < best_left:
            best, best_left = row, left
    return best


@njit(cache=True)
def _free_nodes(stretches: Stretches, used: int, per_node: int, now: float) -> int:
    free = 0
    for row in range(used):
        if stretches.free_at[per_node - 1, row] <= now:
            free += 1
    return free

"""The compiled event loop that drives the planner through a trace: arrivals and ends, in order, nothing else.

At each event the devices' expected ends become stretches, `plan_jobs` decides, and what starts now is started. The planner sees
`Jobs.runtime`, its estimate; the trace's own run time only makes the end event. A job that runs longer than estimated is
expected to go on for half as long as it has run.
"""

from __future__ import annotations

import heapq

import numpy as np
from numba import njit

from infra.core.planning.columns import BURST, Jobs, Manner, Plan, Scratch
from infra.core.planning.kernel import plan_jobs, sort_by_rank
from infra.core.planning.stretches import NEVER, open_nodes

COMPILED_WITH = {
    "infra.core.planning.columns": "9d67b7a25c73",
    "infra.core.planning.kernel": "4ab5415add61",
    "infra.core.planning.stretches": "d2981b2ed2ea",
}
"""Digests of the compiled modules that this one calls: a change of theirs must change this file, and with it its cache."""

OVERRUN = 0.5
"""An overdue job is expected to need this much of its run so far on top."""

_SOON = 1e-4
"""At least so many hours from now does an overdue job end."""


@njit(cache=True)
def replay(
    jobs: Jobs,
    runtime: np.ndarray,
    nodes: int,
    per_node: int,
    manner: Manner,
    scratch: Scratch,
    plan: Plan,
    until: int,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Run a trace through the planner.

    Args:
        jobs: What the planner knows, by job in order of arrival.
        runtime: How long each job really runs, in hours. [jobs] float64
        nodes: Nodes of the cluster.
        per_node: Devices of a node.
        manner: As for `plan_jobs`.
        scratch: Working memory for these jobs.
        plan: Likewise.
        until: Jobs from this row on are left out.

    Returns:
        Start of each job in hours, whether it ran in the cloud, and the mean length of the queue over plans. A job that
        never starts has the start -1.
    """
    count = until
    start = np.full(count, -1.0)
    cloud = np.zeros(count, np.bool_)
    holder = np.full((nodes, per_node), -1, np.int64)
    expected = np.full((nodes, per_node), -1.0)
    free_at = np.empty((nodes, per_node))
    ends = [(0.0, 0)]
    ends.pop()
    queue = np.empty(count, np.int64)
    waiting, coming, plans, planned, last = 0, 0, 0, 0, -NEVER
    quiet = Manner(0, 0, manner.congestion, manner.ahead, manner.first_fit)
    free = np.full(nodes, per_node, np.int64)
    while coming < count or waiting > 0:
        now = NEVER
        if coming < count:
            now = jobs.arrival[coming]
        if len(ends) > 0:
            now = min(now, ends[0][0])
        if not manner.ahead:
            for place in range(waiting):
                leaves = jobs.latest[queue[place]]
                now = min(now, leaves) if leaves > last else now
        if now == NEVER:
            break
        last = now
        while len(ends) > 0 and ends[0][0] <= now:
            ended = heapq.heappop(ends)[1]
            _give_back(holder, expected, free, plan, ended)
        arrived = False
        while coming < count and jobs.arrival[coming] <= now:
            queue[waiting] = coming
            waiting += 1
            coming += 1
            arrived = True
        if waiting == 0 or (manner.ahead and not arrived and not _one_fits(free, queue, waiting, jobs, per_node)):
            continue
        for node in range(nodes):
            for device in range(per_node):
                end = expected[node, device]
                if holder[node, device] >= 0 and end <= now:
                    end = now + max(_SOON, OVERRUN * (now - start[holder[node, device]]))
                free_at[node, device] = end
        if arrived:
            sort_by_rank(queue, waiting, jobs, scratch)
        used = open_nodes(scratch.opened, free_at)
        # Without an arrival nothing is burst for the others' sake: that was weighed when the last job came.
        plan_jobs(now, used, per_node, queue, waiting, jobs, scratch, plan, manner if arrived else quiet)
        plans += 1
        planned += waiting
        waiting = _carry_out(now, queue, waiting, jobs, runtime, plan, start, cloud, holder, expected, free, ends)
    return start, cloud, planned / max(1, plans)


@njit(cache=True)
def _one_fits(free: np.ndarray, queue: np.ndarray, waiting: int, jobs: Jobs, per_node: int) -> bool:
    """Whether a waiting job could start on what is free now; if none can, the end of a job changes nothing now."""
    most, whole = 0, 0
    for node in range(free.size):
        most = max(most, free[node])
        if free[node] == per_node:
            whole += 1
    for place in range(waiting):
        devices = jobs.devices[queue[place]]
        if devices <= most or (devices > per_node and (devices + per_node - 1) // per_node <= whole):
            return True
    return False


@njit(cache=True)
def _give_back(holder: np.ndarray, expected: np.ndarray, free: np.ndarray, plan: Plan, job: int) -> None:
    for part in range(plan.nodes.shape[1]):
        node = plan.nodes[job, part]
        if node < 0:
            break
        for device in range(holder.shape[1]):
            if holder[node, device] == job:
                holder[node, device] = -1
                free[node] += 1
                expected[node, device] = -1.0


@njit(cache=True)
def _carry_out(now, queue, waiting, jobs, runtime, plan, start, cloud, holder, expected, free, ends):
    """Start and burst what the plan says and keep the rest, in rank order; returns how many still wait."""
    per_node = holder.shape[1]
    kept = 0
    for place in range(waiting):
        job = queue[place]
        at = plan.start[job]
        if at == BURST:
            start[job] = now + jobs.boot[job]
            cloud[job] = True
        elif 0 <= at <= now:
            start[job] = now
            heapq.heappush(ends, (now + runtime[job], job))
            for part in range(plan.nodes.shape[1]):
                node = plan.nodes[job, part]
                left = min(per_node, jobs.devices[job] - part * per_node)
                if left <= 0:
                    plan.nodes[job, part] = -1
                    break
                if part > 0 or jobs.devices[job] > per_node:
                    left = per_node
                for device in range(per_node):
                    if left > 0 and holder[node, device] < 0:
                        holder[node, device] = job
                        free[node] -= 1
                        expected[node, device] = now + jobs.runtime[job]
                        left -= 1
        else:
            queue[kept] = job
            kept += 1
    return kept

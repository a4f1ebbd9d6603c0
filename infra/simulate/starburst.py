"""The published baselines, written anew: no waiting, a constant longest wait, and Starburst (Luo et al., ATC'24).

A job waits at most so long for free GPUs and goes to the cloud then. The queue is served in order of arrival: Starburst
starts any job that fits (out of order), the constant policy stops at the first that does not. Nothing is reserved. A job's
longest wait is, for Starburst, proportional to its GPU-hours: ``budget x mean run time / mean GPU-hours x GPU-hours``.
"""

from __future__ import annotations

import heapq

import numpy as np
from numba import njit


def longest_waits(policy: str, runtime_h: np.ndarray, gpus: np.ndarray, budget: float) -> np.ndarray:
    """How long each job may wait, in hours. [jobs] float64

    Args:
        policy: ``no-wait``, ``constant`` or ``starburst``.
        runtime_h: Run times as the policy knows them. [jobs]
        gpus: GPUs of each job. [jobs]
        budget: The mean of the longest waits as a multiple of the mean run time.
    """
    if policy == "no-wait":
        return np.zeros(runtime_h.size)
    mean_h = float(runtime_h.mean())
    if policy == "constant":
        return np.full(runtime_h.size, budget * mean_h)
    gpu_hours = gpus * runtime_h
    return budget * mean_h / max(float(gpu_hours.mean()), 1e-300) * gpu_hours


@njit(cache=True)
def replay_waits(
    arrival: np.ndarray,
    runtime: np.ndarray,
    gpus: np.ndarray,
    longest: np.ndarray,
    nodes: int,
    per_node: int,
    best_fit: bool,
    in_order: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Run a trace under longest waits.

    Args:
        arrival: Arrivals in order, hours. [jobs] float64
        runtime: Run times, hours. [jobs] float64
        gpus: GPUs of each job. [jobs] int64
        longest: Longest wait of each job, hours. [jobs] float64
        nodes: Nodes of the cluster.
        per_node: GPUs of a node.
        best_fit: Take the node with the fewest free GPUs that are enough; else the first with enough.
        in_order: Stop at the first job that does not fit.

    Returns:
        When each job leaves the queue, in hours (-1 for a job that never does), and whether to the cloud.
    """
    count = arrival.size
    widest = 1
    for job in range(count):
        widest = max(widest, (gpus[job] + per_node - 1) // per_node)
    free = np.full(nodes, per_node, np.int64)
    taken = np.full((count, widest), -1, np.int64)
    start = np.full(count, -1.0)
    cloud = np.zeros(count, np.bool_)
    ends = [(0.0, 0)]
    ends.pop()
    queue = np.empty(count, np.int64)
    waiting, coming = 0, 0
    while coming < count or waiting > 0:
        now = np.inf
        if coming < count:
            now = arrival[coming]
        if len(ends) > 0:
            now = min(now, ends[0][0])
        for place in range(waiting):
            now = min(now, arrival[queue[place]] + longest[queue[place]])
        if now == np.inf:
            break
        while len(ends) > 0 and ends[0][0] <= now:
            job = heapq.heappop(ends)[1]
            for part in range(widest):
                if taken[job, part] >= 0:
                    free[taken[job, part]] += per_node if gpus[job] > per_node else gpus[job]
        while coming < count and arrival[coming] <= now:
            queue[waiting] = coming
            waiting += 1
            coming += 1
        kept = 0
        blocked = False
        for place in range(waiting):
            job = queue[place]
            if not blocked and _take(free, taken, job, gpus[job], per_node, best_fit):
                start[job] = now
                heapq.heappush(ends, (now + runtime[job], job))
            elif now >= arrival[job] + longest[job]:
                start[job] = now
                cloud[job] = True
            else:
                queue[kept] = job
                kept += 1
                blocked = in_order
        waiting = kept
    return start, cloud


@njit(cache=True)
def _take(free: np.ndarray, taken: np.ndarray, job: int, gpus: int, per_node: int, best_fit: bool) -> bool:
    """Give the job its GPUs now, if they are free."""
    if gpus > per_node:
        whole = (gpus + per_node - 1) // per_node
        if (free == per_node).sum() < whole:
            return False
        part = 0
        for node in range(free.size):
            if free[node] == per_node and part < whole:
                free[node] = 0
                taken[job, part] = node
                part += 1
        return True
    chosen = -1
    for node in range(free.size):
        if free[node] >= gpus and (chosen < 0 or free[node] < free[chosen]):
            chosen = node
            if not best_fit:
                break
    if chosen < 0:
        return False
    free[chosen] -= gpus
    taken[job, 0] = chosen
    return True

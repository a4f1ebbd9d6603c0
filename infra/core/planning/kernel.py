"""The compiled plan of a queue: reserve in order, burst what does not pay to wait, keep latest starts.

`plan_jobs` is the decision. It minimises, over the jobs that it can see,

    sum of (price of waiting x planned wait) over jobs kept + sum of cloud prices over jobs burst

by list scheduling with a local search over the set of jobs to burst. A job pays for its own wait, and for the waits of the
jobs behind it: one that would rather wait (its own wait costs less than the cloud) is burst all the same when
that shortens the others' waits by more than the difference. Pricing a queue by its external cost follows Naor, "The
regulation of queue size by levying tolls", Econometrica 1969; ordering by work over price of waiting is Smith's rule
(Naval Research Logistics Quarterly, 1956), bounded here by arrival so that nobody is overtaken for ever.

Times are in one unit, money in another, prices in money per time unit; infinity stands for "never" and "may not".
"""

from __future__ import annotations

import numpy as np
from numba import njit

from infra.core.planning.columns import BURST, NOT_PLANNED, SHORTEST, Jobs, Manner, Plan, Scratch
from infra.core.planning.fitting import start_or_leave
from infra.core.planning.stretches import (
    NEVER,
    copy_into,
    earliest_on_one_node,
    earliest_on_whole_nodes,
    reserve,
    tightest_whole_node,
)

COMPILED_WITH = {
    "infra.core.planning.columns": "9d67b7a25c73",
    "infra.core.planning.fitting": "b25a8cc3d561",
    "infra.core.planning.stretches": "d2981b2ed2ea",
}
"""Digests of the compiled modules that this one calls: a change of theirs must change this file, and with it its cache."""

DEEP = 2000
"""From so many jobs on, late ones are put first once and not twice: the others have their turn at the next event."""


@njit(cache=True)
def sort_by_rank(queue: np.ndarray, count: int, jobs: Jobs, scratch: Scratch) -> None:
    """Insertion sort of the queue: jobs put first by their latest start, then rank, arrival and row."""
    for place in range(1, count):
        job = queue[place]
        back = place - 1
        while back >= 0 and _before(job, queue[back], jobs, scratch.first):
            queue[back + 1] = queue[back]
            back -= 1
        queue[back + 1] = job


@njit(cache=True)
def _before(one: int, other: int, jobs: Jobs, first: np.ndarray) -> bool:
    if first[one] != first[other]:
        return first[one]
    if first[one] and jobs.latest[one] != jobs.latest[other]:
        return jobs.latest[one] < jobs.latest[other]
    if jobs.rank[one] != jobs.rank[other]:
        return jobs.rank[one] < jobs.rank[other]
    if jobs.arrival[one] != jobs.arrival[other]:
        return jobs.arrival[one] < jobs.arrival[other]
    return one < other


@njit(cache=True)
def reserve_in_order(
    now: float,
    used: int,
    per_node: int,
    queue: np.ndarray,
    count: int,
    jobs: Jobs,
    scratch: Scratch,
    plan: Plan,
    give_up: float,
    weight: float,
) -> float:
    """Reserve the earliest start for each job in turn; burst those for which waiting costs more than the cloud.

    Args:
        now: The instant of planning.
        used: Rows in use of ``scratch.opened``.
        per_node: Devices of a node.
        queue: Rows of jobs in order; the first ``count`` are planned.
        count: How many.
        jobs: The jobs.
        scratch: ``scratch.burst`` marks jobs that are burst whatever their wait.
        plan: Written.
        give_up: Stop as soon as the cost exceeds this.
        weight: What the waits count in the cost that is returned; it decides about no job.

    Returns:
        Cost of all waits, times the weight, and of all bursts; above ``give_up`` it is a lower bound.
    """
    stretches = scratch.plan
    copy_into(stretches, scratch.opened, used)
    cost = 0.0
    for place in range(count):
        job = queue[place]
        cloud = jobs.burst[job] + jobs.wait_price[job] * jobs.boot[job]
        if scratch.burst[job]:
            plan.late[job] = False
            plan.start[job] = BURST
            cost += cloud
        else:
            devices = jobs.devices[job]
            runtime = max(jobs.runtime[job], SHORTEST)
            row, whole = -1, 0
            if devices <= per_node:
                at, row = earliest_on_one_node(stretches, used, devices, runtime, now)
            else:
                whole = (devices + per_node - 1) // per_node
                at = earliest_on_whole_nodes(stretches, used, whole, per_node, runtime, now)
            dear = at == NEVER or jobs.wait_price[job] * (at - now) > cloud
            plan.late[job] = not dear and at > jobs.latest[job] and at > now
            if cloud < NEVER and (dear or plan.late[job]):
                plan.start[job] = BURST
                cost += cloud
            elif at == NEVER:
                plan.start[job] = NOT_PLANNED
            else:
                plan.start[job] = at
                cost += weight * jobs.wait_price[job] * (at - now)
                if whole == 0:
                    plan.nodes[job, 0] = stretches.node[row]
                    used = reserve(stretches, used, row, devices, at, at + runtime, now)
                for part in range(whole):
                    row = tightest_whole_node(stretches, used, per_node, runtime, at)
                    plan.nodes[job, part] = stretches.node[row]
                    used = reserve(stretches, used, row, per_node, at, at + runtime, now)
        if cost > give_up:
            break
    return cost


@njit(cache=True)
def plan_jobs(
    now: float,
    used: int,
    per_node: int,
    queue: np.ndarray,
    count: int,
    jobs: Jobs,
    scratch: Scratch,
    plan: Plan,
    manner: Manner,
) -> float:
    """Plan the queue: the decision of production and of the simulation.

    1. In rank order, reserve for each job its earliest start that delays none before it, or burst it.
    2. Jobs that this starts after their latest start are put first and the plan is made again.
    3. Of the foremost ``search`` jobs, burst the one that lowers the cost of all of them most, as long as one does.

    Args:
        now: The instant of planning.
        used: Rows in use of ``scratch.opened``, which holds when devices come free.
        per_node: Devices of a node.
        queue: Rows of the waiting jobs in rank order; reordered by step 2.
        count: How many wait.
        jobs: The jobs.
        scratch: Working memory. `scratch.first` is read and written: a job once put first stays first.
        plan: Written for every queued job.
        manner: How much step 3 looks at, and whether there is a plan at all; see `start_or_leave`.

    Returns:
        The cost of the plan.
    """
    for place in range(count):
        scratch.burst[queue[place]] = False
    if not manner.ahead:
        return start_or_leave(now, used, per_node, queue, count, jobs, scratch, plan, manner.first_fit)
    congestion = manner.congestion
    cost = reserve_in_order(now, used, per_node, queue, count, jobs, scratch, plan, NEVER, congestion)
    seen = min(count, manner.search)
    deep = count > DEEP
    whole = True
    for _ in range(1 if deep else 2):
        if not _put_late_first(queue, count, jobs, scratch, plan):
            break
        whole = not deep
        cost = reserve_in_order(
            now, used, per_node, queue, seen if deep else count, jobs, scratch, plan, NEVER, congestion
        )
    found = False
    for _ in range(manner.rounds if seen > 1 else 0):
        worst = _worst_for_others(now, used, per_node, queue, seen, jobs, scratch, plan, congestion)
        if worst < 0:
            break
        scratch.burst[worst] = True
        found = True
        cost = reserve_in_order(now, used, per_node, queue, seen, jobs, scratch, plan, NEVER, congestion)
    if not whole or (found and seen < count):
        cost = reserve_in_order(now, used, per_node, queue, count, jobs, scratch, plan, NEVER, congestion)
    return cost


@njit(cache=True)
def _put_late_first(queue: np.ndarray, count: int, jobs: Jobs, scratch: Scratch, plan: Plan) -> bool:
    """Move jobs that are late to the front, by latest start; the others keep their order. Whether one was found."""
    found = False
    for place in range(count):
        job = queue[place]
        if plan.late[job] and not scratch.first[job]:
            scratch.first[job] = True
            found = True
    if not found:
        return False
    others = np.empty(count, np.int64)
    first, rest = 0, 0
    for place in range(count):
        job = queue[place]
        if scratch.first[job]:
            queue[first] = job
            first += 1
        else:
            others[rest] = job
            rest += 1
    sort_by_rank(queue, first, jobs, scratch)
    for place in range(rest):
        queue[first + place] = others[place]
    return True


@njit(cache=True)
def _worst_for_others(
    now: float,
    used: int,
    per_node: int,
    queue: np.ndarray,
    count: int,
    jobs: Jobs,
    scratch: Scratch,
    plan: Plan,
    congestion: float,
) -> int:
    """The job whose burst lowers the cost of the foremost ``count`` jobs most; -1 when none does.

    A burst cannot save more than the waits of the job and of those behind it, so most candidates need no trial.
    """
    cost, wait = 0.0, 0.0
    for place in range(count - 1, -1, -1):
        job = queue[place]
        if plan.start[job] == BURST:
            cost += jobs.burst[job] + jobs.wait_price[job] * jobs.boot[job]
        elif plan.start[job] >= 0:
            wait += congestion * jobs.wait_price[job] * (plan.start[job] - now)
        scratch.behind[place] = wait
    cost += wait
    best, best_cost = -1, cost - 1e-9 * max(1.0, cost)
    for place in range(count):
        job = queue[place]
        cloud = jobs.burst[job] + jobs.wait_price[job] * jobs.boot[job]
        if plan.start[job] < 0 or plan.start[job] == BURST or scratch.behind[place] <= cloud:
            continue
        scratch.burst[job] = True
        trial = reserve_in_order(now, used, per_node, queue, count, jobs, scratch, scratch.trial, best_cost, congestion)
        scratch.burst[job] = False
        if trial < best_cost:
            best, best_cost = job, trial
    return best

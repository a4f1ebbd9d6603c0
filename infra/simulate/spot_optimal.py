"""The offline optimum: the least cost of a job by whoever knew the whole trace, by dynamic programming.

A run of ``n`` ticks does ``n`` ticks of work less one overhead, so with ``s`` starts the job is done after
``ceil((work + s · overhead) / tick)`` ticks of running, whatever lies between them. What is left to choose is which of them
are on-demand: the state is (what runs, starts, idle ticks), its value the fewest on-demand ticks. A run that ends before it
has paid its overhead would do less harm than is counted here, and no optimum has one: leaving it out is never dearer.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

NEVER = 1_000_000


def optimal_cost(
    available: np.ndarray,
    total_h: float,
    deadline_h: float,
    overhead_h: float,
    tick_h: float,
    spot: float,
    on_demand: float,
) -> tuple[float, int, int, int, int]:
    """Least cost, spot, on-demand and idle ticks, and starts, of a job that begins with the array's first tick.

    Args:
        available: ``[ticks] int8``, 1 where spot can be had; at least the ticks before the deadline.
        total_h: Hours of work.
        deadline_h: Hours until it must be done.
        overhead_h: Hours that each start costs.
        tick_h: Hours of a tick.
        spot: Price of an hour of spot, at most that of on-demand.
        on_demand: Price of an hour of on-demand.
    """
    ticks = math.floor(deadline_h / tick_h + 1e-9)
    window = np.ascontiguousarray(available[:ticks], np.int8)
    idle = ticks - math.ceil((total_h + overhead_h) / tick_h - 1e-9)
    if idle < 0:
        return math.inf, 0, 0, 0, 0
    spells = int(window[0]) + int(np.count_nonzero(np.diff(window) > 0)) if ticks else 0
    # No spell of spot needs more than one start, and no stretch around spells more than one start of on-demand.
    starts = 2 * spells + 1
    if overhead_h > 0.0:
        starts = min(starts, math.floor((ticks * tick_h - total_h) / overhead_h + 1e-9))
    needs = np.array([math.ceil((total_h + count * overhead_h) / tick_h - 1e-9) for count in range(starts + 1)])
    return _search(window, needs, idle, spot * tick_h, on_demand * tick_h)


@njit(cache=True)
def _search(available, needs, most_idle, spot, on_demand):
    starts = len(needs) - 1
    ticks = len(available)
    fewest = np.full((3, starts + 1, most_idle + 1), NEVER, np.int32)
    after = np.full_like(fewest, NEVER)
    fewest[0, 0, 0] = 0
    best, best_spot, best_on_demand, best_idle, best_starts = np.inf, 0, 0, 0, 0
    for tick in range(ticks + 1):
        for count in range(1, starts + 1):
            idle = tick - needs[count]
            if 0 <= idle <= most_idle:
                paid = min(fewest[1, count, idle], fewest[2, count, idle])
                if paid < NEVER:
                    cost = paid * on_demand + (needs[count] - paid) * spot
                    if cost < best:
                        best, best_spot, best_on_demand = cost, needs[count] - paid, paid
                        best_idle, best_starts = idle, count
        if tick == ticks:
            break
        for count in range(min(starts, tick + 1) + 1):
            for idle in range(min(most_idle, tick + 1) + 1):
                rest = NEVER
                if idle > 0:
                    rest = min(fewest[0, count, idle - 1], fewest[1, count, idle - 1], fewest[2, count, idle - 1])
                on_spot, dear = fewest[1, count, idle], fewest[2, count, idle]
                if count > 0:
                    paused = fewest[0, count - 1, idle]
                    on_spot = min(on_spot, paused, fewest[2, count - 1, idle])
                    dear = min(dear, paused, fewest[1, count - 1, idle])
                after[0, count, idle] = rest
                after[1, count, idle] = on_spot if available[tick] else NEVER
                after[2, count, idle] = dear + 1 if dear < NEVER else NEVER
        fewest, after = after, fewest
    return best, best_spot, best_on_demand, best_idle, best_starts

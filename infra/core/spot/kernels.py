"""The numerical loops of the spot policy, compiled by numba: backward induction, and reading its table.

Arrays of states are indexed by *class*: ``((available · A + age) · L + up) · L + down`` with ``A`` nodes of age and ``L``
nodes of each running mean. Rows of a table are what runs: 0 nothing, 1 on-demand, ``1 + k`` spot after ``k`` steps, the
last of them without pending overhead.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

FAR = np.float32(1e6)
"""Dearer than anything: stands for what is not possible."""


@njit(cache=True)
def induct(successors, weights, step_h, kept_needs, kept_slacks, work_h, overhead_h, price):
    """Least expected cost to go, by backward induction over the time left.

    In steps of ``step_h``: a start pays the overhead first; spot capacity may be gone at the next step, and what was
    pending then is void. *Slack* is the time left less work, pending overhead and, but for on-demand, one overhead for
    the start that is needed after a loss or a pause; *need* is the time left less the slack.

    Args:
        successors: ``[classes, 4] int32``, the classes that may follow: two of the same kind, two of the other.
        weights: ``[classes, 4] float32``, their probabilities.
        step_h: Length of a step in hours.
        kept_needs: ``[needs] int64``, ascending from 0, the needs in steps that are kept.
        kept_slacks: ``[slacks] int64``, ascending, the slacks in steps that are kept; the last is the largest computed.
        work_h: The most hours of work that will be asked for.
        overhead_h: Hours of overhead of a start.
        price: Price of spot relative to on-demand.

    Returns:
        ``[rows, kept needs, slacks, classes] float32``, in hours of on-demand capacity.
    """
    classes = successors.shape[0]
    half = classes // 2
    ages = max(1, math.ceil(overhead_h / step_h - 1e-9))
    rows = 2 + ages
    slacks = kept_slacks[-1] + 1
    cost = np.zeros((rows, slacks, classes), np.float32)
    after = np.zeros((rows, slacks, classes), np.float32)
    kept = np.zeros((rows, len(kept_needs), len(kept_slacks), classes), np.float32)
    place = np.full(kept_needs[-1] + 1, -1)
    place[kept_needs] = np.arange(len(kept_needs))
    pending = np.zeros(ages + 1)
    for age in range(1, ages + 1):
        pending[age] = max(0.0, overhead_h - age * step_h) / step_h
    spot_step = np.float32(price * step_h)
    step = np.float32(step_h)
    nothing = np.float32(0)
    for layer in range(1, len(place) + slacks - 1):
        time_h = layer * step_h
        # Below the first slack more work would be left than there ever is; above the last, none is.
        first = min(slacks, max(0, math.floor((time_h - work_h - 4.0 * overhead_h) / step_h) - 2))
        last = min(slacks, math.ceil(time_h / step_h) + 1)
        for slack in range(first, last):
            _expect(cost[0, slack], cost[0, slack], cost[0, slack], nothing, successors, weights, 0, after[0, slack])
            _expect(cost[1, slack], cost[1, slack], cost[1, slack], nothing, successors, weights, 0, after[1, slack])
            for row in range(2, rows):
                # A preemption voids the pending overhead: the slack is larger by it.
                low, share = _between(slack + pending[row - 1], slacks)
                high = min(low + 1, slacks - 1)
                _expect(
                    cost[row, slack], cost[0, low], cost[0, high], share, successors, weights, half, after[row, slack]
                )
        for slack in range(first):
            cost[:, slack] = FAR
            after[:, slack] = FAR
        for slack in range(first, last):
            work_idle_h = time_h - slack * step_h - overhead_h
            work_on_demand_h = time_h - slack * step_h
            once, once_share = _below(slack - overhead_h / step_h)
            twice, twice_share = _below(slack - 2.0 * overhead_h / step_h)
            billed = np.float32(min(step_h, max(0.0, work_on_demand_h)))
            for state in range(classes):
                best = step + after[1, slack, state]
                if slack >= 1:
                    best = min(best, after[0, slack - 1, state])
                if state >= half and once >= 0:
                    best = min(best, spot_step + _mix(after[2], once, once_share, state))
                cost[0, slack, state] = best if work_idle_h > 1e-9 else nothing
                best = billed + after[1, slack, state]
                if once >= 1:
                    best = min(best, _mix(after[0], once - 1, once_share, state))
                if state >= half and twice >= 0:
                    best = min(best, spot_step + _mix(after[2], twice, twice_share, state))
                cost[1, slack, state] = best if work_on_demand_h > 1e-9 else nothing
        for age in range(1, ages + 1):
            older = min(age + 1, ages)
            for slack in range(first, last):
                left_h = time_h - slack * step_h - overhead_h
                left = min(int(slack + pending[age]), slacks - 1)
                billed = np.float32(price * min(step_h, max(0.0, left_h)))
                for state in range(half, classes):
                    stay = billed + after[1 + older, slack, state]
                    cost[1 + age, slack, state] = min(stay, cost[0, left, state]) if left_h > 1e-9 else nothing
        for index in range(len(kept_slacks)):
            need = layer - kept_slacks[index]
            if 0 < need < len(place) and place[need] >= 0:
                for row in range(rows):
                    kept[row, place[need], index] = cost[row, kept_slacks[index]]
    return kept


@njit(cache=True, fastmath=True)
def _expect(same, low, high, share, successors, weights, first, out):
    """Expected cost of the next layer per class from ``first`` on; the other kind's is between two slacks."""
    for state in range(first, len(out)):
        total = weights[state, 0] * same[successors[state, 0]] + weights[state, 1] * same[successors[state, 1]]
        for other in range(2, 4):
            target = successors[state, other]
            total += weights[state, other] * ((np.float32(1) - share) * low[target] + share * high[target])
        out[state] = total


@njit(cache=True)
def _between(position, size):
    """The node at or below a position of at least 0, and the share of the next one."""
    low = min(int(position + 1e-9), size - 1)
    return low, np.float32(min(1.0, max(0.0, position - low)))


@njit(cache=True)
def _below(position):
    """The same for a position that may be negative: then the node is negative too."""
    low = math.floor(position + 1e-9)
    return low, np.float32(max(0.0, position - low))


@njit(cache=True)
def _mix(values, low, share, state):
    return (np.float32(1) - share) * values[low, state] + share * values[min(low + 1, values.shape[0] - 1), state]


@njit(cache=True)
def _node(nodes, value):
    """Index and share for linear interpolation between ascending nodes; the ends are held."""
    last = len(nodes) - 1
    if value <= nodes[0]:
        return 0, 0.0
    if value >= nodes[last]:
        return last - 1, 1.0
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        if nodes[middle] <= value:
            low = middle
        else:
            high = middle
    return low, (value - nodes[low]) / (nodes[low + 1] - nodes[low])


@njit(cache=True)
def _read(table, row, need_nodes, slack_nodes, age_nodes, log_nodes, need_h, slack_h, spell):
    """A table's value between its nodes. ``spell`` is (available, age in hours, running means up, down)."""
    need, need_share = _node(need_nodes, need_h)
    slack, slack_share = _node(slack_nodes, slack_h)
    available, age_h, up, down = spell
    age, age_share = _node(age_nodes, age_h)
    first, first_share = _node(log_nodes, up)
    second, second_share = _node(log_nodes, down)
    total = 0.0
    for corner in range(8):
        a, b, c = corner & 1, (corner >> 1) & 1, corner >> 2
        weight = (age_share if a else 1.0 - age_share) * (first_share if b else 1.0 - first_share)
        weight *= second_share if c else 1.0 - second_share
        if weight < 1e-9:
            continue
        state = ((available * len(age_nodes) + age + a) * len(log_nodes) + first + b) * len(log_nodes) + second + c
        less = (1.0 - slack_share) * table[row, need, slack, state] + slack_share * table[row, need, slack + 1, state]
        more = (1.0 - slack_share) * table[row, need + 1, slack, state]
        more += slack_share * table[row, need + 1, slack + 1, state]
        total += weight * ((1.0 - need_share) * less + need_share * more)
    return total


@njit(cache=True)
def costs_to_go(
    table,
    step_h,
    need_nodes,
    slack_nodes,
    age_nodes,
    log_nodes,
    lasts,
    ends,
    end,
    tick_h,
    overhead_h,
    left_h,
    work_h,
    on_demand_pending_h,
    spot_pending_h,
):
    """Expected cost after this tick of pausing, of on-demand and of spot in it, in hours of on-demand capacity.

    Args:
        table: What :func:`induct` returned.
        step_h: Its step.
        need_nodes: ``[needs] float64``, hours.
        slack_nodes: ``[slacks] float64``, hours.
        age_nodes: ``[ages] float64``, hours.
        log_nodes: ``[logs] float64``, logarithms of hours.
        lasts: The zone's spell in the next tick when it lasts: (available, age in hours, running means up, down).
        ends: The same when it ends.
        end: Chance that it ends.
        tick_h: Length of a tick in hours.
        overhead_h: Overhead of a start in hours.
        left_h: Hours to the deadline, of whole ticks.
        work_h: Hours of work left.
        on_demand_pending_h: Overhead that on-demand has to pay first, in hours.
        spot_pending_h: The same for spot.
    """
    grid = (need_nodes, slack_nodes, age_nodes, log_nodes)
    need_h = work_h + overhead_h
    slack_h = left_h - tick_h - need_h
    pause = (1.0 - end) * _read(table, 0, *grid, need_h, slack_h, lasts)
    pause += end * _read(table, 0, *grid, need_h, slack_h, ends)
    need_h = work_h + on_demand_pending_h - tick_h
    slack_h = left_h - tick_h - need_h
    on_demand = 0.0
    if need_h > 0.0:
        on_demand += (1.0 - end) * _read(table, 1, *grid, need_h, slack_h, lasts)
        on_demand += end * _read(table, 1, *grid, need_h, slack_h, ends)
    if not lasts[0]:
        return pause, on_demand, np.inf
    work_after_h = work_h - max(0.0, tick_h - spot_pending_h)
    if work_after_h <= 0.0:
        return pause, on_demand, 0.0
    pending_h = max(0.0, spot_pending_h - tick_h)
    paid = table.shape[0] - 2.0
    if pending_h > 1e-9:
        paid = min(paid, max(1.0, (overhead_h - pending_h) / step_h))
    row = int(paid)
    share = paid - row
    need_h = work_after_h + pending_h + overhead_h
    slack_h = left_h - tick_h - need_h
    stays = (1.0 - share) * _read(table, 1 + row, *grid, need_h, slack_h, lasts)
    if share > 1e-9:
        stays += share * _read(table, 2 + row, *grid, need_h, slack_h, lasts)
    need_h = work_after_h + overhead_h
    slack_h = left_h - tick_h - need_h
    lost = _read(table, 0, *grid, need_h, slack_h, ends)
    return pause, on_demand, (1.0 - end) * stays + end * lost

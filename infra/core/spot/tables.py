"""Tables of the least expected cost to go, built when they are first needed and shared by all jobs that they fit.

A table depends on the model of availability, the overhead, the ratio of prices and the step, not on what has been
observed: learning moves the place at which it is read. It is as fine as a bounded effort allows.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from infra.core.spot.availability import Spell, SpellModel, end_chance
from infra.core.spot.guard import Job

AGE_NODES_H = (1 / 6, 1 / 3, 2 / 3, 4 / 3, 8 / 3, 16 / 3, 32 / 3, 64 / 3)
"""Ages of a spell, in hours, that the tables distinguish; between them they interpolate."""

LOG_NODES = (-1.4, -0.1, 1.2, 2.5)
"""Running means of the logarithm of lengths of spells in hours: 15 minutes to 12 hours."""

EFFORT = 4e8
"""The most values computed for a table: about a second on one core."""

FINEST_STEP_H = 0.05

NEED_STEP_H = 0.5
MOST_NEEDS = 200
"""Needs are kept at one distance: uneven ones would favour what ends near a node. Longer jobs get a larger distance."""

FURTHEST_H = 1.0
"""The most hours between two slacks that are kept."""


MOST_SLACK_H = 100.0
"""Slack beyond this is worth no more than this."""

KEPT_BYTES = 760_000_000
"""Tables beyond this are forgotten, the longest unused first; a job needs one of 1 to 50 MB."""

_tables: OrderedDict[tuple[Any, ...], Table] = OrderedDict()
_lock = Lock()


@dataclass(frozen=True, slots=True)
class Table:
    """Expected costs to go in hours of on-demand capacity, and the nodes between which they are read."""

    costs: np.ndarray
    step_h: float
    need_nodes: np.ndarray
    slack_nodes: np.ndarray
    age_nodes: np.ndarray
    log_nodes: np.ndarray


def table_for(model: SpellModel, job: Job, price: float) -> Table:
    """The table for a job, at the price of spot relative to on-demand; the second call for a like job costs nothing."""
    slack_h = math.ceil(min(MOST_SLACK_H, max(0.0, job.deadline_h - job.total_h)))
    work_h = math.ceil(job.total_h)
    ticks = choose_step(job, slack_h)
    key = (model, round(price, 3), job.overhead_h, job.tick_h, job.unit_h, ticks, slack_h, work_h)
    with _lock:
        found = _tables.get(key)
        if found is not None:
            _tables.move_to_end(key)
            return found
        found = _build(model, job, ticks, slack_h, work_h, round(price, 3))
        _tables[key] = found
        while len(_tables) > 1 and sum(table.costs.nbytes for table in _tables.values()) > KEPT_BYTES:
            _tables.popitem(last=False)
        return found


def choose_step(job: Job, slack_h: float) -> int:
    """Ticks in a step: as few as the effort allows, one for all but long jobs with much slack and short ticks."""
    ticks = max(1, math.ceil(FINEST_STEP_H / job.tick_h - 1e-9))
    while effort(job, slack_h, ticks) > EFFORT:
        ticks += 1
    return ticks


def effort(job: Job, slack_h: float, ticks: int) -> float:
    """Values that a table with steps of this many ticks takes to compute."""
    step_h = ticks * job.tick_h
    rows = 2 + max(1, math.ceil(job.overhead_h / step_h - 1e-9))
    classes = 2 * len(AGE_NODES_H) * len(LOG_NODES) ** 2
    band = (job.total_h + 5.0 * job.overhead_h) / step_h + 3.0
    return rows * classes * band * (slack_h / step_h + 2.0)


def _build(model: SpellModel, job: Job, ticks: int, slack_h: float, work_h: float, price: float) -> Table:
    # The compiled loops are imported here: whatever decides without spot does not pay for them.
    from infra.core.spot.kernels import induct

    step_h = ticks * job.tick_h
    most_h = work_h + 3.0 * job.overhead_h
    every = max(1, round(max(NEED_STEP_H, most_h / MOST_NEEDS) / step_h))
    needs = every * np.arange(math.ceil(most_h / (every * step_h)) + 2)
    slacks = _slacks(slack_h + 2.0 * step_h, step_h)
    successors, weights = _chain(model, step_h * job.unit_h)
    costs = induct(successors, weights, step_h, needs, slacks, float(work_h), job.overhead_h, price)
    return Table(costs, step_h, needs * step_h, slacks * step_h, np.array(AGE_NODES_H), np.array(LOG_NODES))


def _slacks(most_h: float, step_h: float) -> np.ndarray:
    """Slacks in steps that are kept: each up to 2 h, then fewer the further, where cost bends less."""
    nodes, at = [], 0
    while at * step_h < most_h:
        nodes.append(at)
        at += max(1, min(at // 12, round(FURTHEST_H / step_h))) if at * step_h >= 2.0 else 1
    return np.array([*nodes, at], np.int64)


def _chain(model: SpellModel, step_h: float) -> tuple[np.ndarray, np.ndarray]:
    """The classes of spells as a Markov chain: for each class four that may follow, and their probabilities.

    What lies between two nodes goes to both, so that the mean is right.
    """
    ages, logs = len(AGE_NODES_H), len(LOG_NODES)
    classes = 2 * ages * logs * logs
    successors = np.zeros((classes, 4), np.int32)
    weights = np.zeros((classes, 4), np.float32)

    def number(available: bool, age: int, up: int, down: int) -> int:
        return ((available * ages + age) * logs + up) * logs + down

    for state in range(classes):
        rest, down = divmod(state, logs)
        rest, up = divmod(rest, logs)
        available, age = bool(rest // ages), rest % ages
        end = end_chance(model, Spell(available, AGE_NODES_H[age], LOG_NODES[up], LOG_NODES[down]), step_h)
        older = min(age + 1, ages - 1)
        aged = min(1.0, step_h / (AGE_NODES_H[older] - AGE_NODES_H[age])) if older > age else 0.0
        mean = model.memory * LOG_NODES[up if available else down] + (1.0 - model.memory) * math.log(AGE_NODES_H[age])
        low = min(max(0, int(np.searchsorted(LOG_NODES, mean, side="right")) - 1), logs - 2)
        share = min(1.0, max(0.0, (mean - LOG_NODES[low]) / (LOG_NODES[low + 1] - LOG_NODES[low])))
        successors[state, :2] = state, number(available, older, up, down)
        weights[state, :2] = (1.0 - end) * (1.0 - aged), (1.0 - end) * aged
        for column, (node, part) in enumerate(((low, 1.0 - share), (low + 1, share)), start=2):
            successors[state, column] = number(not available, 0, *((node, down) if available else (up, node)))
            weights[state, column] = end * part
    return successors, weights

"""What compiled planning reads and writes, by column: jobs, the manner of planning, the plan, and working memory.

Times are in one unit, money in another, prices in money per time unit; infinity stands for "never" and "may not".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from infra.core.planning.stretches import Stretches, room_for

COMPILED_WITH = {"infra.core.planning.stretches": "d2981b2ed2ea"}
"""Digests of the compiled modules whose types stand here: a change of theirs must change this file as well."""

BURST = np.inf
"""As a planned start: not here, burst now."""


NOT_PLANNED = -1.0
"""As a planned start: none is known."""

SHORTEST = 1e-6
"""No job is planned for less time than this: two that take none must not share devices at one instant."""


class Jobs(NamedTuple):
    """Jobs by column; row ``i`` of each array is one job.

    Attributes:
        arrival: When it came. [jobs] float64
        devices: How many devices it needs at once. [jobs] int64
        runtime: How long it is expected to run. [jobs] float64
        burst: The cloud's price for the whole job, infinity when it may not burst. [jobs] float64
        boot: How much later a burst job starts. [jobs] float64
        wait_price: Price of one time unit of waiting. [jobs] float64
        latest: Latest start, infinity for none. [jobs] float64
        rank: The order of planning, lowest first: arrival plus what may overtake it. [jobs] float64
    """

    arrival: np.ndarray
    devices: np.ndarray
    runtime: np.ndarray
    burst: np.ndarray
    boot: np.ndarray
    wait_price: np.ndarray
    latest: np.ndarray
    rank: np.ndarray


class Manner(NamedTuple):
    """How to plan, in numbers that compiled code can read.

    Attributes:
        search: How many of the foremost jobs are weighed against each other for a burst; 0 leaves it out.
        rounds: At most so many of them are burst for the others' sake, in one plan.
        congestion: What waits count when they are weighed, as a multiple of their price: a job that delays those that are
            here delays those that are still to come as well.
        ahead: Whether to plan ahead at all; if not, what fits starts, and a job bursts at its latest start.
        first_fit: Without planning ahead: take the first node with enough devices, not the one with fewest to spare.
    """

    search: int = 24
    rounds: int = 4
    congestion: float = 1.0
    ahead: bool = True
    first_fit: bool = False


class Plan(NamedTuple):
    """What a plan says, by row of the jobs it was made for.

    Attributes:
        start: Planned start here, or ``BURST``; -1 for a job that fits nowhere and may not burst. [jobs] float64
        nodes: The nodes of the start here, -1 after the last. [jobs, widest] int64
        late: Whether it would start too late here, and for no other reason burst. [jobs] bool
    """

    start: np.ndarray
    nodes: np.ndarray
    late: np.ndarray


class Scratch(NamedTuple):
    """Working memory, reused from plan to plan.

    Attributes:
        opened: The stretches as they are before any reservation.
        plan: The same with the reservations of the plan being made.
        trial: The plans of the search.
        burst: Jobs to burst whatever their wait. [jobs] bool
        first: Jobs put first for their latest start, in this plan or an earlier one. [jobs] bool
        behind: Price of the waits of the job at a place of the queue and of all behind it. [jobs] float64
    """

    opened: Stretches
    plan: Stretches
    trial: Plan
    burst: np.ndarray
    first: np.ndarray
    behind: np.ndarray


def scratch_for(nodes: int, per_node: int, jobs: int, widest: int) -> Scratch:
    """Working memory for so many nodes and jobs, the widest of which takes ``widest`` nodes."""
    flags = (np.zeros(jobs, np.bool_), np.zeros(jobs, np.bool_))
    stretches = (room_for(nodes, per_node), room_for(nodes, per_node))
    return Scratch(*stretches, plan_for(jobs, widest), *flags, np.zeros(jobs))


def plan_for(jobs: int, widest: int) -> Plan:
    """An empty plan."""
    return Plan(np.full(jobs, -1.0), np.full((jobs, widest), -1, np.int64), np.zeros(jobs, np.bool_))

"""Planning a queue: waiting jobs, a cluster and an instant in, one decision per job out.

The dataclasses here are what production and tests read and write; the work is done by the compiled `kernel`. It is imported
when a queue is planned and not before, so that deciding about a single request does not pay for it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from infra.core.errors import InputError
from infra.core.units import (
    MAX_INSTANT_AT,
    MAX_NUMBER,
    MICRO_PER_USD,
    SECONDS_PER_HOUR,
    require_instant,
    require_number,
)

if TYPE_CHECKING:
    from infra.core.planning.columns import Jobs, Plan, Scratch

OVERDUE_GRACE_S = 60.0
"""A job that should have ended goes on for at least this long."""

OVERRUN = 0.5
"""And it is expected to need this share of its run so far on top."""


class Action(StrEnum):
    """What to do with a waiting job."""

    START = "start"
    RESERVE = "reserve"
    BURST = "burst"
    WAIT = "wait"


class Why(StrEnum):
    """The reason that decided it."""

    FREE_NOW = "FREE_NOW"
    CHEAPER_THAN_CLOUD = "CHEAPER_THAN_CLOUD"
    LATEST_START_KEPT = "LATEST_START_KEPT"
    LATEST_START_MISSED = "LATEST_START_MISSED"
    CANNOT_BURST = "CANNOT_BURST"
    WAIT_COSTS_MORE = "WAIT_COSTS_MORE"
    DELAYS_OTHERS = "DELAYS_OTHERS"
    LATEST_START_NEEDS_CLOUD = "LATEST_START_NEEDS_CLOUD"
    TOO_WIDE = "TOO_WIDE"


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that holds devices.

    Attributes:
        id: Its name.
        tenant: Whose it is.
        devices_on: Devices by node, as (node, devices).
        started_at: When it began.
        expected_end_at: When it is expected to end; in the past for one that takes longer than expected.
    """

    id: str
    tenant: str
    devices_on: tuple[tuple[int, int], ...]
    started_at: float
    expected_end_at: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """Equal nodes. A job of no more devices than a node has needs one node, a wider one whole nodes.

    A pool whose devices are all alike and may serve any job together is one node with all of them.
    """

    nodes: int
    devices_per_node: int
    running: tuple[RunningJob, ...] = ()


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job in the queue.

    Attributes:
        id: Its name, unlike all others'.
        tenant: Whose it is.
        arrival_at: When it came.
        devices: How many it needs at once.
        runtime_s: How long it is expected to run here.
        burst_micro: What it would cost more in the cloud than here, in micro-dollars; ``None`` when it may not burst.
        wait_micro_per_hour: Price of an hour of its waiting.
        boot_s: How much later it would start in the cloud.
        latest_start_at: Latest start, here or there, to keep its deadline; ``None`` for none.
        promised: An earlier plan put it first for its latest start, and said so in `PlannedJob.promised`.
    """

    id: str
    tenant: str
    arrival_at: float
    devices: int
    runtime_s: float
    burst_micro: int | None
    wait_micro_per_hour: int
    boot_s: float = 0.0
    latest_start_at: float | None = None
    promised: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """How the queue is ordered and how hard the planner looks.

    Attributes:
        overtaking: A job may be overtaken by those that come up to this share of its patience later; its patience is how
            long it may wait until that costs as much as the cloud.
        longest_overtaking_s: And by none that comes later than this: no job waits for ever.
        fairness: How much of the time that a tenant's work ahead would take on an equal share of the devices its next
            job stands back; 0 leaves tenants out.
        device_micro_per_hour: What a device is worth, for the patience of jobs that may not burst.
        search: How many of the foremost jobs are weighed against each other for a burst.
        rounds: How many of them are burst at most, in one plan, for the others' sake.
        congestion: What waits count there, as a multiple of their price: jobs still to come are delayed as well.
        ahead: Whether to plan ahead; if not, what fits starts, a job bursts at its latest start, and the others wait.
    """

    overtaking: float = 0.5
    longest_overtaking_s: float = 7 * 86_400.0
    fairness: float = 1.0
    device_micro_per_hour: int = 5 * MICRO_PER_USD // 2
    search: int = 48
    rounds: int = 4
    congestion: float = 1.0
    ahead: bool = True


class PlannedJob(NamedTuple):
    """The decision about one job. A named tuple, because thousands are made in each plan.

    Attributes:
        id: Its name.
        action: ``start`` here now, ``reserve`` a start here, ``burst`` now, or ``wait`` for more devices than there are.
        why: The reason.
        start_at: When it starts: now, the reserved instant, or after the cloud's boot; ``None`` for ``wait``.
        nodes: The nodes of a start here.
        promised: It stands first for its latest start; to be handed back in `WaitingJob.promised`.
    """

    id: str
    action: Action
    why: Why
    start_at: float | None
    nodes: tuple[int, ...] = ()
    promised: bool = False


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """The plan of a queue.

    Attributes:
        now_at: The instant it was made for.
        jobs: One decision per waiting job, in the order in which they were planned.
        cost_micro: Price of all planned waits and bursts, in micro-dollars.
    """

    now_at: float
    jobs: tuple[PlannedJob, ...]
    cost_micro: float


def plan_queue(cluster: Cluster, waiting: Iterable[WaitingJob], now_at: float, rules: Rules | None = None) -> QueuePlan:
    """Plan all waiting jobs. The same input gives the same plan, in whatever order it lists things.

    Raises:
        InputError: ``BAD_NUMBER`` or ``BAD_TIME`` for a value out of its range, ``DUPLICATE_VALUE`` for an id that stands
            twice, ``UNKNOWN_NODE`` for a node that the cluster does not have.
    """
    from infra.core.planning.columns import Jobs, Manner, plan_for, scratch_for
    from infra.core.planning.kernel import plan_jobs
    from infra.core.planning.stretches import open_nodes

    rules = rules or Rules()
    require_instant(now_at, "now_at")
    ordered = sorted(waiting, key=attrgetter("arrival_at", "id"))
    _check(cluster, ordered)
    if not ordered:
        return QueuePlan(now_at, (), 0.0)
    per_node = cluster.devices_per_node
    arrival = np.array([job.arrival_at for job in ordered], np.float64) - now_at
    prices = np.array([job.wait_micro_per_hour for job in ordered], np.float64)
    jobs = Jobs(
        arrival=arrival,
        devices=np.array([job.devices for job in ordered], np.int64),
        runtime=np.array([job.runtime_s for job in ordered], np.float64),
        burst=np.array([math.inf if job.burst_micro is None else job.burst_micro for job in ordered], np.float64),
        boot=np.array([job.boot_s for job in ordered], np.float64),
        wait_price=prices / SECONDS_PER_HOUR,
        latest=np.array([math.inf if job.latest_start_at is None else job.latest_start_at - now_at for job in ordered]),
        rank=arrival,
    )
    jobs = jobs._replace(rank=_ranks(cluster, ordered, jobs, now_at, rules))
    widest = -(-int(jobs.devices.max()) // per_node)
    scratch, plan = scratch_for(cluster.nodes, per_node, len(ordered), widest), plan_for(len(ordered), widest)
    scratch.first[:] = [job.promised and job.latest_start_at is not None for job in ordered]
    before = np.where(scratch.first, jobs.latest, 0.0)
    queue = np.lexsort((jobs.arrival, jobs.rank, before, ~scratch.first))
    used = open_nodes(scratch.opened, _free_at(cluster, now_at))
    manner = Manner(rules.search, rules.rounds, float(rules.congestion), rules.ahead)
    cost = plan_jobs(0.0, used, per_node, queue, len(ordered), jobs, scratch, plan, manner)
    return QueuePlan(now_at, _told_in_order(queue, ordered, scratch, plan, now_at), float(cost))


def _told_in_order(
    queue: np.ndarray, ordered: list[WaitingJob], scratch: Scratch, plan: Plan, now_at: float
) -> tuple[PlannedJob, ...]:
    """The decisions, in the order of planning."""
    width = (plan.nodes[queue] >= 0).sum(axis=1).tolist()
    lowest = plan.nodes[queue, 0].tolist()
    here = [
        (node,) if wide < 2 else tuple(sorted(plan.nodes[row, :wide].tolist()))
        for row, wide, node in zip(queue.tolist(), width, lowest, strict=True)
    ]
    columns = (plan.start, scratch.first, scratch.burst, plan.late)
    jobs = map(ordered.__getitem__, queue.tolist())
    return tuple(map(partial(_told, now_at), jobs, here, *(column[queue].tolist() for column in columns)))


def _told(
    now_at: float, job: WaitingJob, here: tuple[int, ...], start: float, promised: bool, for_others: bool, late: bool
) -> PlannedJob:
    if start == math.inf:
        why = Why.DELAYS_OTHERS if for_others else Why.LATEST_START_NEEDS_CLOUD if late else Why.WAIT_COSTS_MORE
        return PlannedJob(job.id, Action.BURST, why, now_at + job.boot_s)
    if start < 0:
        return PlannedJob(job.id, Action.WAIT, Why.TOO_WIDE, None)
    if start == 0:
        return PlannedJob(job.id, Action.START, Why.FREE_NOW, now_at, here, promised)
    why = Why.CANNOT_BURST if job.burst_micro is None else Why.CHEAPER_THAN_CLOUD
    if late:
        why = Why.LATEST_START_MISSED
    elif promised:
        why = Why.LATEST_START_KEPT
    return PlannedJob(job.id, Action.RESERVE, why, now_at + start, here, promised)


def _ranks(cluster: Cluster, ordered: list[WaitingJob], jobs: Jobs, now_at: float, rules: Rules) -> np.ndarray:
    """Arrival, plus what a job may be overtaken by: its patience, and its tenant's work ahead of it. [jobs] seconds"""
    own = jobs.devices * jobs.runtime
    worth = np.where(np.isfinite(jobs.burst), jobs.burst, own * (rules.device_micro_per_hour / SECONDS_PER_HOUR))
    free = rules.longest_overtaking_s if rules.overtaking > 0 else 0.0
    behind = np.full(own.size, free)
    np.divide(rules.overtaking * worth, jobs.wait_price, out=behind, where=jobs.wait_price > 0)
    np.minimum(behind, rules.longest_overtaking_s, out=behind)
    ahead = _running_work(cluster, now_at)
    tenants = set(ahead)
    tenants.update(job.tenant for job in ordered)
    if len(tenants) > 1 and rules.fairness > 0:
        share = cluster.nodes * cluster.devices_per_node / len(tenants)
        numbers = {tenant: number for number, tenant in enumerate(sorted(tenants))}
        tenant_of = np.array([numbers[job.tenant] for job in ordered])
        turn = np.lexsort((jobs.arrival + behind, tenant_of))
        before = np.cumsum(own[turn]) - own[turn]
        for tenant, number in numbers.items():
            first, last = np.searchsorted(tenant_of[turn], (number, number + 1))
            if first < last:
                work = before[first:last] - before[first] + ahead.get(tenant, 0.0)
                rows = turn[first:last]
                behind[rows] = np.minimum(behind[rows] + rules.fairness * work / share, rules.longest_overtaking_s)
    return jobs.arrival + behind


def _running_work(cluster: Cluster, now_at: float) -> dict[str, float]:
    """Device-seconds that each tenant's running jobs still hold."""
    work: dict[str, float] = {}
    by_tenant = sorted(cluster.running, key=lambda job: (job.tenant, job.id))
    for tenant, jobs in groupby(by_tenant, key=lambda job: job.tenant):
        left = ((_end_s(job, now_at), sum(devices for _, devices in job.devices_on)) for job in jobs)
        work[tenant] = math.fsum(end * devices for end, devices in left)
    return work


def _end_s(job: RunningJob, now_at: float) -> float:
    if job.expected_end_at > now_at:
        return job.expected_end_at - now_at
    return max(OVERDUE_GRACE_S, OVERRUN * (now_at - job.started_at))


def _free_at(cluster: Cluster, now_at: float) -> np.ndarray:
    """From when each device is free, in seconds from now. [nodes, devices_per_node]

    Where more devices are held than the node has (its capacity was lowered), the first to come back free nothing.
    """
    held: dict[int, list[float]] = {}
    for job in cluster.running:
        for node, devices in job.devices_on:
            held.setdefault(node, []).extend([_end_s(job, now_at)] * devices)
    free_at = np.full((cluster.nodes, cluster.devices_per_node), -1.0)
    for node, ends in held.items():
        last = sorted(ends)[-cluster.devices_per_node :]
        free_at[node, : len(last)] = last
    return free_at


def _check(cluster: Cluster, ordered: list[WaitingJob]) -> None:
    require_number(cluster.nodes, "cluster.nodes", minimum=1)
    require_number(cluster.devices_per_node, "cluster.devices_per_node", minimum=1)
    if len({job.id for job in ordered}) < len(ordered):
        twice = [name for name, count in Counter(job.id for job in ordered).items() if count > 1]
        raise InputError("DUPLICATE_VALUE", f"the id {twice[0]!r} stands twice", "waiting", "name each job once")
    for running in cluster.running:
        for node, devices in running.devices_on:
            require_number(devices, f"running.{running.id}.devices", minimum=1)
            if not 0 <= node < cluster.nodes:
                remedy = f"use 0 to {cluster.nodes - 1}"
                raise InputError("UNKNOWN_NODE", f"there is no node {node}", f"running.{running.id}", remedy)
    for job in ordered:
        # One comparison chain for what is in order, as almost all are: naming the field is left to those that are not.
        if not (
            1 <= job.devices <= MAX_NUMBER
            and 0 <= job.runtime_s <= MAX_NUMBER
            and 0 <= job.wait_micro_per_hour <= MAX_NUMBER
            and 0 <= job.boot_s <= MAX_NUMBER
            and 0 <= job.arrival_at <= MAX_INSTANT_AT
            and (job.burst_micro is None or 0 <= job.burst_micro <= MAX_NUMBER)
            and (job.latest_start_at is None or 0 <= job.latest_start_at <= MAX_INSTANT_AT)
        ):
            _refuse(job)


def _refuse(job: WaitingJob) -> None:
    where = f"waiting.{job.id}"
    require_number(job.devices, f"{where}.devices", minimum=1)
    require_number(job.runtime_s, f"{where}.runtime_s")
    require_number(job.wait_micro_per_hour, f"{where}.wait_micro_per_hour")
    require_number(job.boot_s, f"{where}.boot_s")
    require_instant(job.arrival_at, f"{where}.arrival_at")
    if job.burst_micro is not None:
        require_number(job.burst_micro, f"{where}.burst_micro")
    if job.latest_start_at is not None:
        require_instant(job.latest_start_at, f"{where}.latest_start_at")

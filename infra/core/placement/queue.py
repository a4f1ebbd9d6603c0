"""The queue: runs that wait for devices, each with the start that is kept for it.

A decision looks at one run and treats the starts of all others as taken: it may use devices before and between them, but
never delays one. The order of the queue itself is planned for all of its runs together, on every event, by
:mod:`infra.core.planning`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from infra.core.inventory import Site
from infra.core.placement.decision import Candidate, Decision, Outcome
from infra.core.placement.fitting import back_at
from infra.core.placement.snapshot import OfferLoad, QueueEntry, Snapshot
from infra.core.planning.queue import Action, Cluster, Rules, RunningJob, WaitingJob, plan_queue
from infra.core.units import MICRO_PER_USD
from infra.core.workload import WorkloadRequest

ORDER_MICRO_PER_HOUR = MICRO_PER_USD
"""Price of waiting that orders runs of priority 50 whose tenants name none; it never makes a run burst."""

PRIORITY_STEP = 10.0
"""Ten points of priority double the price of waiting."""

DECIDING_S = 10.0
"""A run that is woken has decided by then."""

PLANNING = Rules(rounds=0)
"""No run is sent away for the others' sake: each decides for itself whether its own wait is worth the cloud's price."""


@dataclass(frozen=True, slots=True)
class Replanned:
    """A new plan of the queue.

    Attributes:
        entries: All entries, sorted by run, with their new starts.
        due: Runs that should decide now: their devices are free, or waiting costs more than the cloud.
    """

    entries: tuple[QueueEntry, ...]
    due: tuple[str, ...]


def wait_price(micro_per_hour: int, priority: int) -> int:
    """Price of an hour's wait at a priority, from that at priority 50."""
    return round(micro_per_hour * 2.0 ** ((priority - 50) / PRIORITY_STEP))


def entry_of(
    run_id: str, arrived_at: float, request: WorkloadRequest, snapshot: Snapshot, decision: Decision
) -> QueueEntry | None:
    """The place in the queue of a run that was decided to wait; ``None`` when it does not wait for devices.

    A run that waits for a cheaper hour while devices are free keeps no devices from others.
    """
    chosen = decision.chosen
    if decision.outcome is not Outcome.WAIT or chosen is None or chosen.start_at is None or chosen.finish_at is None:
        return None
    where = chosen.site, chosen.offer
    in_use = any((load.site, load.offer) == where and load.releases for load in snapshot.loads)
    if not in_use and not any((entry.site, entry.offer) == where for entry in snapshot.queue):
        return None
    others = [each for each in decision.candidates[1:] if each.feasible and each.start_at == snapshot.now_at]
    burst = min(others, key=lambda each: each.cost.total_micro, default=None)
    latest_at = None
    if request.deadline_at is not None and chosen.finish_high_at is not None:
        latest_at = request.deadline_at - (chosen.finish_high_at - chosen.start_at) + _delay_s(chosen)
    return QueueEntry(
        run_id=run_id,
        tenant=request.tenant,
        site=chosen.site,
        offer=chosen.offer,
        devices=chosen.devices,
        arrived_at=arrived_at,
        runtime_s=chosen.finish_at - chosen.start_at,
        start_at=chosen.start_at,
        priority=request.priority,
        wait_micro_per_hour=request.wait_micro_per_hour or 0,
        burst_micro=None if burst is None else max(0, burst.cost.total_micro - chosen.cost.total_micro),
        boot_s=0.0 if burst is None else burst.time.boot_s,
        latest_start_at=latest_at,
        decide_by_at=_decide_by(request, others),
        position=1
        + max((entry.position for entry in snapshot.queue if (entry.site, entry.offer) == where), default=-1),
    )


def _decide_by(request: WorkloadRequest, others: Iterable[Candidate]) -> float | None:
    """The latest start at one of these that keeps the deadline with the required probability."""
    if request.deadline_at is None:
        return None
    high_s = [each.finish_high_at - each.start_at for each in others if each.start_at and each.finish_high_at]
    return request.deadline_at - min(high_s) if high_s else None


def last_look_at(entry: QueueEntry) -> float | None:
    """When a run that waits has to be asked once more, because soon nothing but its wait would be left."""
    return None if entry.decide_by_at is None else entry.decide_by_at - DECIDING_S


def _delay_s(chosen: Candidate) -> float:
    """By how much the finish at the required probability is later because the start is not certain: once the run has
    started, it is no more.

    Start and durations are independent, so that what both add to the finish are sides of a right angle.
    """
    assert chosen.finish_at is not None
    assert chosen.finish_high_at is not None
    both_s, wait_s = chosen.finish_high_at - chosen.finish_at, chosen.time_high.wait_s - chosen.time.wait_s
    return both_s - math.sqrt(max(0.0, both_s**2 - wait_s**2)) if wait_s > 0.0 else 0.0


def to_respect(queue: Iterable[QueueEntry], run_id: str) -> tuple[QueueEntry, ...]:
    """The kept starts that a run must not delay: all others', but not of those that stand behind it in its own queue.

    They were planned around its start, and are planned anew when it comes a moment later than planned.
    """
    entries = tuple(queue)
    own = next((entry for entry in entries if entry.run_id == run_id), None)
    if own is None:
        return entries

    def behind(entry: QueueEntry) -> bool:
        return (entry.site, entry.offer) == (own.site, own.offer) and entry.position >= own.position

    return tuple(entry for entry in entries if not behind(entry))


def replan(
    entries: Iterable[QueueEntry], loads: Iterable[OfferLoad], sites: Iterable[Site], now_at: float
) -> Replanned:
    """Plan every offer's queue anew. A pure function; the order of its arguments' items does not matter."""
    in_use = {(load.site, load.offer): load for load in loads}
    capacity = {
        (site.name, offer.name): offer.capacity for site in sites for pool in site.pools for offer in pool.offers
    }
    planned: list[QueueEntry] = []
    due: list[str] = []

    def place(entry: QueueEntry) -> tuple[str, str]:
        return entry.site, entry.offer

    for where, group in groupby(sorted(entries, key=lambda entry: (*place(entry), entry.run_id)), key=place):
        waiting = list(group)
        if capacity.get(where, 0) < 1:  # nothing is sold there any more: each decides where else to go
            planned += waiting
            due += [entry.run_id for entry in waiting]
            continue
        load = in_use.get(where)
        cluster = Cluster(1, capacity[where], _running(load, now_at) if load else ())
        jobs = plan_queue(cluster, map(_job, waiting), now_at, PLANNING).jobs
        told = {job.id: (position, job) for position, job in enumerate(jobs)}
        for entry in waiting:
            position, job = told[entry.run_id]
            last_at = last_look_at(entry)
            if job.action is not Action.RESERVE or (last_at is not None and last_at <= now_at < last_at + DECIDING_S):
                due.append(entry.run_id)
            start_at = entry.start_at if job.start_at is None or job.action is Action.BURST else job.start_at
            planned.append(
                replace(entry, start_at=start_at, why=job.why.value, promised=job.promised, position=position)
            )
    return Replanned(tuple(sorted(planned, key=lambda entry: entry.run_id)), tuple(sorted(due)))


def _job(entry: QueueEntry) -> WaitingJob:
    priced = entry.wait_micro_per_hour > 0
    return WaitingJob(
        id=entry.run_id,
        tenant=entry.tenant,
        arrival_at=entry.arrived_at,
        devices=entry.devices,
        runtime_s=entry.runtime_s,
        burst_micro=entry.burst_micro if priced else None,
        wait_micro_per_hour=entry.wait_micro_per_hour or wait_price(ORDER_MICRO_PER_HOUR, entry.priority),
        boot_s=entry.boot_s,
        latest_start_at=entry.latest_start_at,
        promised=entry.promised,
    )


def _running(load: OfferLoad, now_at: float) -> tuple[RunningJob, ...]:
    """What holds devices; the planner asks for no names here."""
    releases = sorted((back_at(release.at, now_at), release.devices) for release in load.releases)
    return tuple(
        RunningJob(f"running-{index}", "", ((0, devices),), now_at, at) for index, (at, devices) in enumerate(releases)
    )

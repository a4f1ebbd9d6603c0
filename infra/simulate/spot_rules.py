"""Policies to compare with: on-demand only, greedy, and Uniform Progress.

Sources: Wu et al., "Can't Be Late: Optimizing Spot Instance Savings under Deadlines", NSDI 2024, sections 3 and 5, and the
simulator that its authors published. Greedy and Uniform Progress share the paper's safety net: idle or on on-demand capacity
they do not risk spot once the work and two overheads fill the time that is left; on spot they stay while it lasts.
"""

from __future__ import annotations

import math

from infra.core.spot.guard import Choice, Job, Standing

TOLERANCE = 1e-9
"""Share of a tick, or hours, by which sums of floating-point hours may be off."""


def on_demand_only(_job: Job, _standing: Standing, _available: bool) -> Choice:
    """On-demand capacity from the start to the end."""
    return Choice.ON_DEMAND


def greedy(job: Job, standing: Standing, available: bool) -> Choice:
    """Spot whenever it can be had, else wait, until the safety net."""
    return _safe(job, standing, available, Choice.SPOT if available else Choice.PAUSE)


def uniform_progress(job: Job, standing: Standing, available: bool) -> Choice:
    """Keep the progress that a constant rate from start to deadline would have made; spot whenever it can be had.

    On-demand capacity is left for spot only with two overheads' worth of progress in hand.
    """
    rate = job.total_h / job.deadline_h
    choice = Choice.SPOT if available else Choice.PAUSE
    if not available and standing.progress_h < standing.elapsed_h * rate:
        choice = Choice.ON_DEMAND
    if standing.running is Choice.ON_DEMAND:
        behind = standing.progress_h < (standing.elapsed_h + 2.0 * job.overhead_h) * rate
        if not available or behind:
            choice = Choice.ON_DEMAND
    return _safe(job, standing, available, choice)


def _safe(job: Job, standing: Standing, available: bool, choice: Choice) -> Choice:
    left = math.floor((job.deadline_h - standing.elapsed_h) / job.tick_h + TOLERANCE)
    work_h = standing.work_left_h(job)
    if _ticks(work_h + 2.0 * job.overhead_h, job) >= left and standing.running is not Choice.SPOT:
        choice = Choice.ON_DEMAND
    if _ticks(work_h + job.overhead_h, job) >= left:
        rides = standing.running is Choice.SPOT and available and standing.pending_h <= TOLERANCE
        choice = Choice.SPOT if rides else Choice.ON_DEMAND
    return choice


def _ticks(hours: float, job: Job) -> int:
    return math.ceil(hours / job.tick_h - TOLERANCE)

"""The devices of one offer: what runs that are there already give back, and what stages of the pipeline hold.

Stages that run at the same time on one offer share its devices. Whoever has them keeps them from its start to its high
finish; a stage that finds too few waits.
"""

from __future__ import annotations

import math

from infra.core.placement.pipelines.problem import Problem


class Devices:
    """Who holds how many devices of an offer: from (minus infinity: already), until, devices."""

    def __init__(self, problem: Problem, row: int) -> None:
        self.capacity = problem.book.rows[row].offer.capacity
        self.held: list[tuple[float, float, int]] = [
            (-math.inf, until_at, devices) for until_at, devices in problem.releases(row)
        ]

    def free(self, at: float) -> int:
        return self.capacity - sum(devices for start_at, end_at, devices in self.held if start_at <= at < end_at)

    def next_at(self, ready_at: float, devices: int) -> float:
        """When a stage of the pipeline gets its devices after all that hold some already."""
        earliest_at = max([ready_at, *[start_at for start_at, _, _ in self.held]])
        left = [(end_at, count) for _, end_at, count in self.held if end_at > earliest_at]
        free = self.capacity - sum([count for _, count in left])
        if free >= devices:
            return earliest_at
        for end_at, count in sorted(left):
            free += count
            if free >= devices:
                return end_at
        raise AssertionError("an offer has as many devices as any of its stages wants")

    def done_at(self, ready_at: float, work: float) -> float:
        """When stages that are still to come can have done so many device-seconds at the earliest.

        Args:
            ready_at: Before which none of them starts. None starts before those that hold devices, either.
        """
        at = max([ready_at, *[start_at for start_at, _, _ in self.held]])
        left = sorted([(end_at, count) for _, end_at, count in self.held if end_at > at])
        free = self.capacity - sum([count for _, count in left])
        for end_at, count in left:
            done = max(0, free) * (end_at - at)
            if done >= work:
                break
            work, at = work - done, end_at
            free += count
        return at + work / free if work > 0.0 else at

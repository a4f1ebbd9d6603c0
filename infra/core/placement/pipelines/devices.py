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

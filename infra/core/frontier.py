"""Points of a cost–wait frontier: what waiting saves, and what the cloud costs that saves the waiting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """One setting, simulated.

    Attributes:
        label: Names the setting apart from its price of waiting; points with one label make a line.
        wait_usd_per_h: Price of a job's waiting one hour; ``None`` where each run keeps its own.
        cloud_usd: What the cloud cost over the whole time.
        cloud_usd_per_month, owned_usd_per_month: Cost of the cloud and of the owned nodes, for a month.
        jobs, jobs_cloud: All jobs, and those that ran in the cloud.
        nodes, usd_per_gpu_h, utilisation: Of a trace: the owned nodes, the price of the cloud, and the share of the owned
            GPU-hours at work.
    """

    label: str
    wait_usd_per_h: float | None
    mean_wait_h: float
    p99_wait_h: float
    max_wait_h: float
    cloud_gpu_h: float
    cloud_usd: float
    cloud_usd_per_month: float
    owned_usd_per_month: float
    jobs: int
    jobs_cloud: int
    nodes: int | None = None
    usd_per_gpu_h: float | None = None
    utilisation: float | None = None

    @property
    def usd_per_month(self) -> float:
        """Cloud and owned nodes together."""
        return self.cloud_usd_per_month + self.owned_usd_per_month


def lines(points: Iterable[Point]) -> dict[str, list[Point]]:
    """The points by label, each line by its mean wait."""
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(point.label, []).append(point)
    return {
        label: sorted(line, key=lambda point: (point.mean_wait_h, point.cloud_usd)) for label, line in found.items()
    }


def efficient(points: Sequence[Point]) -> list[bool]:
    """Which points no other one beats: none costs less a month and waits no longer, or waits less and costs no more."""

    def beats(other: Point, point: Point) -> bool:
        ours = point.usd_per_month, point.mean_wait_h
        theirs = other.usd_per_month, other.mean_wait_h
        return theirs != ours and theirs[0] <= ours[0] and theirs[1] <= ours[1]

    return [not any(beats(other, point) for other in points) for point in points]

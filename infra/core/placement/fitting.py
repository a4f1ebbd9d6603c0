"""When devices are free: now, when others bring theirs back, and between the starts that are kept for those who wait."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

OVERDUE_GRACE_S = 60.0
"""Devices that should be back already are still in use: they are expected this long after now."""


def back_at(expected_at: float, now_at: float) -> float:
    """When devices come back that are expected at an instant and are still in use now."""
    return expected_at if expected_at > now_at else now_at + OVERDUE_GRACE_S


def first_fit(
    free: int,
    releases: Iterable[tuple[float, int]],
    kept: Iterable[tuple[float, float, int]],
    needed: int,
    duration_s: float,
    now_at: float,
) -> float | None:
    """The first instant from which ``needed`` devices are free for ``duration_s`` on end; ``None`` when never.

    Args:
        free: Devices free now.
        releases: Devices that come back, as (instant after now, devices).
        kept: Devices that are kept for others, as (from, until, devices); a start in the past is now.
    """
    changes: dict[float, int] = {now_at: free}
    for at, devices in releases:
        changes[at] = changes.get(at, 0) + devices
    for start_at, end_at, devices in kept:
        begins_at = max(start_at, now_at)
        changes[begins_at] = changes.get(begins_at, 0) - devices
        ends_at = begins_at + (end_at - start_at)
        changes[ends_at] = changes.get(ends_at, 0) + devices
    left, since = 0, None
    for at, until in pairwise([*sorted(changes), math.inf]):
        left += changes[at]
        if left < needed:
            since = None
            continue
        since = at if since is None else since
        if until - since >= duration_s:
            return since
    return None

"""When devices are free: now, when others bring theirs back, and between the starts that are kept for those who wait."""

from __future__ import annotations

import math
from collections.abc import Iterable

from infra.core.placement.snapshot import Release
from infra.core.placement.uncertainty import HIGH, LEVELS, NORMALS, STANDARD

OVERDUE_S = 5.0
"""A run past its expected finish is expected back this much later, again and again, until it reports."""

_OVERDUE_DEVIATIONS = 7.0
"""What is overdue by more standard deviations than that is treated alike: its estimate was wrong."""

OVERDUE_GRACE_S = 60.0
"""Devices that should be back already are still in use: they are expected this long after now."""


def back_at(expected_at: float, now_at: float) -> float:
    """When devices come back that are expected at an instant and are still in use now."""
    return expected_at if expected_at > now_at else now_at + OVERDUE_GRACE_S


def release_of(expected_at: float, late_at: float | None, devices: int, now_at: float) -> Release:
    """Devices of a run that is still there.

    Args:
        expected_at: When it should be over, as far as was known when it began.
        late_at: When it should be with nine of ten, if that is known. That it is not over yet makes it later: its end is
            taken as normal, with what is past cut off.
    """
    at = max(expected_at, now_at + OVERDUE_S)
    if late_at is None or late_at <= expected_at:
        return Release(at, devices)
    deviation_s = (late_at - expected_at) / NORMALS[HIGH]
    overdue = min((now_at - expected_at) / deviation_s, _OVERDUE_DEVIATIONS)
    left = (1.0 - LEVELS[HIGH]) * STANDARD.cdf(-overdue)
    return Release(at, devices, max(at, expected_at - deviation_s * STANDARD.inv_cdf(left)))


Span = tuple[float, float]
"""From an instant until just before another one, which may be infinity."""


def free_spans(
    free: int,
    releases: Iterable[tuple[float, int]],
    kept: Iterable[tuple[float, float, int]],
    needed: int,
    now_at: float,
) -> tuple[Span, ...]:
    """When at least ``needed`` devices are free, from now on, in order and apart from each other.

    Args:
        free: Devices free now.
        releases: Devices that come back, as (instant after now, devices).
        kept: Devices that are kept for others, as (from, until, devices); one that should have begun begins now.
    """
    changes: dict[float, int] = {now_at: free}
    for at, devices in releases:
        changes[at] = changes.get(at, 0) + devices
    for start_at, end_at, devices in kept:
        begins_at = max(start_at, now_at)
        ends_at = begins_at + (end_at - start_at)
        changes[begins_at] = changes.get(begins_at, 0) - devices
        changes[ends_at] = changes.get(ends_at, 0) + devices
    left, since = 0, None
    spans: list[Span] = []
    for at in sorted(changes):
        left += changes[at]
        if left >= needed:
            since = at if since is None else since
        elif since is not None:
            spans.append((since, at))
            since = None
    if since is not None:
        spans.append((since, math.inf))
    return tuple(spans)


def fits(spans: Iterable[Span], at: float, duration_s: float) -> bool:
    """Whether devices are free from an instant for so long on end."""
    return any(since <= at and at + duration_s <= until for since, until in spans)


def first_fit(spans: Iterable[Span], duration_s: float) -> float | None:
    """The first instant from which devices are free for so long on end; ``None`` when never."""
    return next((since for since, until in spans if since + duration_s <= until), None)

"""Windows of a policy as spans of instants: days and hours in the time of a place, right when its clocks change.

A window holds at each instant at which the clocks of its zone show one of its hours. Where clocks skip its beginning or
end, that edge is the instant of the change; where they show it twice, it begins with the first and ends with the last.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from infra.core.policy import Policy, Span, Window
from infra.core.policy_source import Hours, PolicySource, WindowRule

HORIZON_S = 8 * 86_400.0
"""Spans are worked out this far ahead: a week, so that every weekly window comes by, and a day."""

_DAY_MINUTES = 1440


def policy_at(source: PolicySource, now_at: float) -> Policy:
    """The policy as a snapshot of ``now_at`` carries it."""
    return Policy(
        version=source.version,
        text=source.text,
        schema_sha256=source.schema_sha256,
        windows=windows_at(source.windows, now_at),
        tenants=source.tenants,
        bursting_stopped=source.bursting_stopped,
        stop_why=source.stop_why,
        valid_until_at=source.valid_until_at,
    )


def windows_at(rules: Iterable[WindowRule], now_at: float, horizon_s: float = HORIZON_S) -> tuple[Window, ...]:
    """Windows with the spans that touch ``[now_at, now_at + horizon_s]``."""
    until_at = now_at + horizon_s
    return tuple(Window(rule.name, _merged(_spans(rule.hours, now_at, until_at))) for rule in rules)


def _spans(hours: tuple[Hours, ...], from_at: float, until_at: float) -> Iterable[Span]:
    for each in hours:
        zone = ZoneInfo(each.zone)
        day = datetime.fromtimestamp(from_at, zone).date() - timedelta(days=2)
        last = datetime.fromtimestamp(until_at, zone).date()
        while day <= last:
            if day.weekday() in each.days:
                span = _span(each, zone, day)
                if span.start_at < span.end_at and span.end_at > from_at and span.start_at <= until_at:
                    yield span
            day += timedelta(days=1)


def _span(hours: Hours, zone: ZoneInfo, day: date) -> Span:
    after = hours.end_minute + (0 if hours.end_minute > hours.start_minute else _DAY_MINUTES)
    return Span(_edge(zone, day, hours.start_minute, last=False), _edge(zone, day, after, last=True))


def _edge(zone: ZoneInfo, day: date, minute: int, *, last: bool) -> float:
    """The instant at which the zone's clocks show this minute after the day's midnight."""
    wall = datetime(day.year, day.month, day.day) + timedelta(minutes=minute)
    first_at, second_at = (wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if first_at > second_at:  # skipped: read with the old clock it is later than with the new one
        return _change_between(zone, second_at, first_at)
    return second_at if last else first_at


@lru_cache(maxsize=1024)
def _change_between(zone: ZoneInfo, before_at: float, after_at: float) -> float:
    """The whole second at which the zone's offset changes."""
    low, high = int(before_at) - 1, int(after_at) + 1
    old = datetime.fromtimestamp(low, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if datetime.fromtimestamp(middle, zone).utcoffset() == old else (low, middle)
    return datetime.fromtimestamp(high, UTC).timestamp()


def _merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start_at):
        if merged and span.start_at <= merged[-1].end_at:
            merged[-1] = Span(merged[-1].start_at, max(merged[-1].end_at, span.end_at))
        else:
            merged.append(span)
    return tuple(merged)

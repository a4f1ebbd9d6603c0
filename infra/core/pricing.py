"""Prices of devices, with windows of the day in which they differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from infra.core.errors import InputError
from infra.core.units import SECONDS_PER_HOUR, require_number

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class PriceWindow:
    """A daily window in UTC in which the base price is multiplied.

    Attributes:
        start_minute: First minute of the day, 0 to 1439.
        end_minute: First minute after it; smaller than ``start_minute`` when the window spans midnight.
        factor: Multiplier of the base price, 0 or more.
    """

    start_minute: int
    end_minute: int
    factor: float

    def __post_init__(self) -> None:
        require_number(self.factor, "price window: factor")
        for name, minute in (("start", self.start_minute), ("end", self.end_minute)):
            if not 0 <= minute < 1440:
                raise InputError("BAD_WINDOW", f"minute {minute}", f"price window: {name}", "use 0 to 1439")
        if self.start_minute == self.end_minute:
            raise InputError("BAD_WINDOW", "the window is empty", "price window", "let it end after its start")

    def holds(self, at: float) -> bool:
        minute = (at % _DAY_S) / 60.0
        if self.start_minute < self.end_minute:
            return self.start_minute <= minute < self.end_minute
        return minute >= self.start_minute or minute < self.end_minute


@lru_cache(maxsize=4096)
def _edges_s(windows: tuple[PriceWindow, ...]) -> tuple[float, ...]:
    """Seconds from midnight to each start and end of a window, today and tomorrow, in order."""
    minutes = {minute for window in windows for minute in (window.start_minute, window.end_minute)}
    return tuple(sorted(day * _DAY_S + minute * 60.0 for minute in minutes for day in (0, 1)))


@dataclass(frozen=True, slots=True)
class Price:
    """Price of one device for one hour.

    Attributes:
        micro_per_hour: Base price in micro-dollars.
        valid_until_at: Instant after which the price is stale and must not be used, or ``None``.
        windows: Daily windows; where two overlap the first one counts.
    """

    micro_per_hour: int
    valid_until_at: float | None = None
    windows: tuple[PriceWindow, ...] = ()

    def __post_init__(self) -> None:
        require_number(self.micro_per_hour, "price")

    def factor_at(self, at: float) -> float:
        return next((window.factor for window in self.windows if window.holds(at)), 1.0)

    def next_change_at(self, at: float) -> float:
        """The first instant after ``at`` at which some window starts or ends; infinity without windows."""
        midnight = at - at % _DAY_S
        return next((midnight + edge for edge in _edges_s(self.windows) if midnight + edge > at), math.inf)

    def cost(self, start_at: float, seconds: float, devices: int) -> int:
        """Micro-dollars for ``devices`` from ``start_at`` for ``seconds``, rounded up once at the end."""
        return math.ceil(self.micro_per_hour * devices * self.base_s(start_at, seconds) / SECONDS_PER_HOUR - 1e-6)

    def base_s(self, start_at: float, seconds: float) -> float:
        """Seconds at the base price that cost as much as ``seconds`` from ``start_at`` on."""
        if not self.windows:
            return seconds
        # Windows repeat every day, so whole days all cost the same.
        days, rest_s = divmod(seconds, _DAY_S)
        priced_s = self._priced_s(start_at, rest_s)
        return priced_s + days * self._priced_s(start_at, _DAY_S) if days else priced_s

    def least_base_s(self, seconds: float, earliest_at: float, latest_at: float = math.inf) -> float:
        """The least of :meth:`base_s` over all starts between two instants.

        Between two starts at which the run begins or ends at an edge of a window it goes straight up or down.
        """
        if not self.windows:
            return seconds
        rest_s, latest_at = seconds % _DAY_S, min(latest_at, earliest_at + _DAY_S)
        starts, midnight = {earliest_at, max(earliest_at, latest_at)}, earliest_at - earliest_at % _DAY_S
        for edge in _edges_s(self.windows):
            for start_at in (midnight + edge, midnight + edge - rest_s, midnight + edge + _DAY_S - rest_s):
                if earliest_at < start_at < latest_at:
                    starts.add(start_at)
        return min(self.base_s(start_at, seconds) for start_at in starts)

    def _priced_s(self, start_at: float, seconds: float) -> float:
        total, at, end_at = 0.0, start_at, start_at + seconds
        while at < end_at:
            until_at = min(end_at, self.next_change_at(at))
            total += self.factor_at(at) * (until_at - at)
            at = until_at
        return total


FREE = Price(0)
"""For where nothing is to be paid, or nobody knows what."""

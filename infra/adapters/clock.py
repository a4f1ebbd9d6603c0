"""The real clock. Everything that needs the time is given one, so that tests can give another."""

from __future__ import annotations

import time


class SystemClock:
    """This machine's clock.

    Args:
        skew_s: How far it is ahead of the true time; other than 0 in drills only.
    """

    def __init__(self, skew_s: float = 0.0) -> None:
        self._skew_s = skew_s

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time() + self._skew_s

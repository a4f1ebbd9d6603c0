"""The real clock. Everything that needs the time is given one, so that tests can give another."""

from __future__ import annotations

import time


class SystemClock:
    """This machine's clock."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()

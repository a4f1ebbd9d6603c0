"""A clock that stands until it is moved."""

from __future__ import annotations

from infra.core.units import require_number


class FixedClock:
    """Shows the instant it was set to.

    Attributes:
        at: Seconds since the epoch; the default is 2026-11-24T12:00:00Z.
    """

    def __init__(self, at: float = 1_795_521_600.0) -> None:
        self.at = require_number(at, "clock: at")

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return self.at

    def advance(self, seconds: float) -> float:
        """Move forward and return the new instant.

        Raises:
            InputError: ``BAD_NUMBER`` for a negative step: time does not run backwards.
        """
        self.at += require_number(seconds, "clock: seconds")
        return self.at

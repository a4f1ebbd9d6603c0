"""One flow run that this worker has in hand, and the reasons for which it may have to stop."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import anyio


class StopReason(StrEnum):
    CANCELLED = "cancelled"
    CAPPED = "capped"
    LEASE_ENDED = "lease_ended"
    WORKER_STOPS = "worker_stops"
    OVER_ELSEWHERE = "over_elsewhere"
    """The server holds the run for ended while its process still runs."""

    @property
    def intent(self) -> str | None:
        """What the engine in the process is told before SIGTERM: who owns the run's next state."""
        if self is StopReason.WORKER_STOPS:
            return None
        return "cancel" if self is StopReason.CANCELLED else "relinquish"


@dataclass(slots=True)
class Running:
    """A flow run in hand.

    Attributes:
        identifier: What the run's ``infrastructure_pid`` says, once something was started for it.
        reason: The first reason for which it was asked to stop; later ones change nothing.
        over_since: When the server was first seen to hold the run for ended, on the monotonic clock.
    """

    flow_run_id: str
    identifier: str | None = None
    reason: StopReason | None = None
    message: str = ""
    over_since: float | None = None
    asked: anyio.Event = field(default_factory=anyio.Event)
    done: anyio.Event = field(default_factory=anyio.Event)

    def stop(self, reason: StopReason, message: str = "") -> None:
        """Ask the run to stop; returns at once."""
        if self.reason is None:
            self.reason, self.message = reason, message
        self.asked.set()

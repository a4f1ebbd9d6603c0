"""One flow run that this worker has in hand, the reasons for which it may have to stop, and the state it then gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import anyio
from prefect.client.schemas.objects import State, StateType
from prefect.states import Cancelled

OVER_GRACE_S = 20.0
"""How long a process may live on after the server holds its run for ended: the time to send its last logs."""


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

    def judge(self, known: bool, state: State | None, now_s: float) -> None:
        """Ask the run to stop when what the server says about it calls for that.

        Args:
            known: Whether the server still knows the flow run.
            now_s: The monotonic clock.
        """
        if not known:
            self.stop(StopReason.CANCELLED, "CANCELLED: the flow run was deleted")
        elif state is not None and (state.is_cancelling() or state.is_cancelled()):
            self.stop(StopReason.CANCELLED, "CANCELLED: somebody cancelled the run")
        elif state is not None and state.is_final():
            self.over_since = self.over_since or now_s
            if now_s - self.over_since > OVER_GRACE_S:
                self.stop(StopReason.OVER_ELSEWHERE, f"the server holds the run for {state.name}")
        else:
            self.over_since = None

    def last_state(self, message: str) -> State:
        """The state that the flow run ends in when the engine in its process did not give it one."""
        match self.reason:
            case StopReason.CANCELLED:
                return Cancelled(message=message)
            case StopReason.CAPPED:
                return State(type=StateType.FAILED, name="Capped", message=message)
            case StopReason.LEASE_ENDED:
                return State(type=StateType.FAILED, name="LeaseEnded", message=message)
            case None:
                return State(type=StateType.FAILED, name="NotStarted", message=message)
            case _:
                return State(type=StateType.CRASHED, name="Crashed", message=message)

"""A run's attempts: their states, and which of them may publish (invariant I3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from infra.core.errors import ConflictError


class RunState(StrEnum):
    WAITING = "waiting"
    ACTIVE = "active"
    PUBLISHED = "published"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INFEASIBLE = "infeasible"
    QUARANTINED = "quarantined"

    @property
    def final(self) -> bool:
        return self not in (RunState.WAITING, RunState.ACTIVE)


class AttemptState(StrEnum):
    """States of an attempt. Money is reserved until it is settled or expired."""

    RESERVED = "reserved"
    DISPATCHED = "dispatched"
    FINISHED = "finished"
    LOST = "lost"
    SETTLED = "settled"
    EXPIRED = "expired"

    @property
    def holds_devices(self) -> bool:
        return self in (AttemptState.RESERVED, AttemptState.DISPATCHED)

    @property
    def closed(self) -> bool:
        """Whether its money is settled."""
        return self in (AttemptState.SETTLED, AttemptState.EXPIRED)


_FOLLOWERS: dict[AttemptState, frozenset[AttemptState]] = {
    AttemptState.RESERVED: frozenset({AttemptState.DISPATCHED, AttemptState.LOST, AttemptState.EXPIRED}),
    AttemptState.DISPATCHED: frozenset({AttemptState.FINISHED, AttemptState.LOST, AttemptState.EXPIRED}),
    AttemptState.FINISHED: frozenset({AttemptState.SETTLED, AttemptState.EXPIRED}),
    AttemptState.LOST: frozenset({AttemptState.SETTLED, AttemptState.EXPIRED}),
    AttemptState.SETTLED: frozenset(),
    AttemptState.EXPIRED: frozenset(),
}


def require_step(before: AttemptState, after: AttemptState, where: str) -> None:
    """Refuse a step that an attempt's life does not have; staying where it is is always allowed.

    Raises:
        ConflictError: ``BAD_ATTEMPT_STEP``.
    """
    if after is not before and after not in _FOLLOWERS[before]:
        raise ConflictError("BAD_ATTEMPT_STEP", f"an attempt that is {before} cannot become {after}", where)


def may_publish(run: RunState, current_attempt: int, attempt: int, state: AttemptState) -> bool:
    """Whether this attempt may publish: the run is live, it is the newest attempt, and it has finished."""
    return not run.final and attempt == current_attempt and state is AttemptState.FINISHED


class ReapReason(StrEnum):
    """Why something was ended from outside."""

    LEASE_ENDED = "lease_ended"
    """Its hard end plus the grace period is over."""
    ORPHANED = "orphaned"
    """The process that opened the lease is gone, so nobody can use, meter or close it."""
    NO_LEASE = "no_lease"
    """Something of a lease that is closed or was never written down."""


@dataclass(frozen=True, slots=True)
class Reaped:
    """What was ended, or would be in a dry run.

    Attributes:
        processes: Identities of those that were still alive.
        workers: Workers of a standing cluster that were freed.
        overdue_s: How long the lease's hard end was over; negative before it.
        machines: Ids of a cloud's machines that were ended.
    """

    lease_id: str
    reason: ReapReason
    processes: tuple[Any, ...]
    workers: tuple[str, ...]
    overdue_s: float
    machines: tuple[str, ...] = ()

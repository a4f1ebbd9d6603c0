"""Workers of a lease that their cloud takes back soon, as they say themselves before they are gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.adapters.cloud.reclaim_notice import TOPIC
from infra.core.errors import UnavailableError

if TYPE_CHECKING:
    from distributed import Client

LEAVE_BEFORE_S = 15.0
"""A run whose last worker is taken back stops so long before, or half of a shorter notice: the time to save in."""
_HEARD_WITHIN_S = 0.05
_TRIES = 100


@dataclass(frozen=True, slots=True)
class Departure:
    """One worker's announcement, in seconds since the epoch."""

    told_at: float
    ends_at: float

    @property
    def stop_at(self) -> float:
        return self.ends_at - min(LEAVE_BEFORE_S, (self.ends_at - self.told_at) / 2)


Departures = Callable[[], Mapping[str, Departure]]
"""Announced departures by the worker's address, so far."""


def none_announced() -> Mapping[str, Departure]:
    """For clusters whose workers nobody takes back."""
    return {}


def announced_in(client: Client) -> Departures:
    """Listen to the cluster of a client from now on, and to what was said before."""
    told: dict[str, Departure] = {}
    listening = threading.Event()

    def hear(event: Any) -> None:
        message = event[1]
        if "worker" in message:
            told.setdefault(message["worker"], Departure(message["told_at"], message["ends_at"]))
        elif message["listener"] == client.id:
            listening.set()

    client.subscribe_topic(TOPIC, hear)
    # It travels apart from questions, which may overtake it. What is said before it has arrived must be asked for, so
    # one asks once one has heard oneself.
    for _ in range(_TRIES):
        client.log_event(TOPIC, {"listener": client.id})
        if listening.wait(_HEARD_WITHIN_S):
            break
    for event in client.get_events(TOPIC) or ():
        hear(event)
    return lambda: dict(told)


def last_is_leaving(workers: Collection[str], departures: Mapping[str, Departure]) -> bool:
    """Whether it is time to stop, because none of these workers stays."""
    stops = [departures[worker].stop_at for worker in workers if worker in departures]
    return len(stops) == len(workers) > 0 and time.time() >= max(stops)


def reclaimed(where: str) -> UnavailableError:
    """The error of work that has saved what it had because its last worker is taken back."""
    return UnavailableError(
        "WORKERS_LOST",
        "the cloud takes back the last of the lease's workers; a checkpoint is saved",
        where,
        "place the run again; it goes on from its last checkpoint",
    )

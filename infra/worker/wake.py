"""Wakes a worker when the Prefect server says that something happened to a run of its pool.

The server's event stream carries each state change within a fraction of a second, so a worker need not ask every
moment. Polling stays behind it as the rule that always holds; a lost stream only makes a worker slower.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import anyio
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.logging.loggers import get_logger

START_EVENTS = tuple(f"prefect.flow-run.{name}" for name in ("Scheduled", "AwaitingRetry", "Rescheduled", "Waiting"))
STOP_EVENTS = tuple(f"prefect.flow-run.{name}" for name in ("Cancelling", "Cancelled"))
_RECONNECT_S = 2.0
_logger = get_logger("headrace.wake")


async def listen(work_pool_id: UUID, on_start: Callable[[], None], on_stop: Callable[[], None]) -> None:
    """Call back for every event of the pool, reconnecting for ever. End it by cancelling its task."""
    wanted = EventFilter(
        event=EventNameFilter(name=[*START_EVENTS, *STOP_EVENTS]),
        any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{work_pool_id}"]),
    )
    while True:
        try:
            async with get_events_subscriber(filter=wanted, reconnection_attempts=0) as stream:
                # Whatever was said while nobody listened is found by looking once.
                on_start()
                on_stop()
                async for event in stream:
                    (on_stop if event.event in STOP_EVENTS else on_start)()
        except Exception as problem:
            _logger.debug("The event stream broke off: %r", problem)
        await anyio.sleep(_RECONNECT_S)

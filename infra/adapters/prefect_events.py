"""Events that the platform sends to Prefect, where triggers and people see them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.events.schemas.events import Event

from infra.core.errors import UnavailableError


def send_event(
    event_id: uuid.UUID, at: float, name: str, resource: tuple[str, str], payload: Mapping[str, Any]
) -> None:
    """Send an event and wait until the Prefect API has accepted it. Sending it again with the same id is safe.

    Args:
        at: When it happened, seconds since the epoch.
        resource: Id and name of what it happened to.

    Raises:
        UnavailableError: ``EVENT_NOT_SENT``.
    """
    event = Event.model_validate(
        {
            "id": event_id,
            "occurred": datetime.fromtimestamp(at, UTC),
            "event": name,
            "resource": {"prefect.resource.id": resource[0], "prefect.resource.name": resource[1]},
            "payload": dict(payload),
        }
    )
    try:
        with get_client(sync_client=True) as client:
            # The background emitter would not say whether the event got through.
            client.request("POST", "/events", json=[event.model_dump(mode="json")]).raise_for_status()
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise UnavailableError(
            "EVENT_NOT_SENT", problem, f"{name} of {resource[1]}", "is the Prefect server up?"
        ) from error

"""Tells, once, when a running attempt has used most of what it may cost: the event ``headrace.run.near_cap``.

The site itself stops an attempt at its cap, whoever else is alive. This is the word of warning before that.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from infra.adapters.prefect_events import send_event
from infra.core.lifecycle import AttemptState
from infra.core.units import usd, usd_float
from infra.ports import AttemptRecord
from infra.wiring import ControlPlane
from tasks.attempts import charged_parts, running_report

EVENT_NAME = "headrace.run.near_cap"
NEAR = 0.8
"""Share of the cap from which on an attempt is near it."""

_EVENT_IDS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:headrace:near-cap")

Send = Callable[[uuid.UUID, float, str, tuple[str, str], Mapping[str, Any]], None]


class CapWatch:
    """Remembers which attempts were told of."""

    def __init__(self, control: ControlPlane, send: Send = send_event) -> None:
        self._control, self._send = control, send
        self._told: set[tuple[str, int]] = set()

    def look(self) -> list[str]:
        """Look at the newest reading of every running attempt. Returns what was told, for the log."""
        running = {
            (each.run_id, each.attempt): each
            for each in self._control.database.runs.open_attempts()
            if each.state is AttemptState.DISPATCHED and each.cap_micro > 0
        }
        self._told &= running.keys()
        lines = [self._look_at(attempt) for key, attempt in running.items() if key not in self._told]
        return [line for line in lines if line]

    def _look_at(self, attempt: AttemptRecord) -> str:
        report = running_report(self._control, attempt)
        if report is None:
            return ""
        used_micro = charged_parts(self._control, attempt, report, attempt.cap_micro).total_micro
        if used_micro < NEAR * attempt.cap_micro:
            return ""
        self._send(
            uuid.uuid5(_EVENT_IDS, attempt.permit.id),
            report.ended_at,
            EVENT_NAME,
            (f"headrace.run.{attempt.run_id}", attempt.run_id),
            {
                "run_id": attempt.run_id,
                "attempt": attempt.attempt,
                "site": attempt.site,
                "offer": attempt.offer,
                "used_usd": usd_float(used_micro),
                "cap_usd": usd_float(attempt.cap_micro),
            },
        )
        self._told.add((attempt.run_id, attempt.attempt))
        return f"attempt {attempt.attempt} of {attempt.run_id} has used {usd(used_micro)} of {usd(attempt.cap_micro)}"

"""Looks after attempts that near what they may cost: raises the cap where that may be, and tells of it.

The event ``headrace.run.near_cap`` is sent once for each cap that an attempt nears. The site itself stops an attempt at
its cap, whoever else is alive.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from infra.adapters.prefect_events import send_event
from infra.core.lifecycle import AttemptState
from infra.core.units import usd, usd_float
from infra.ports import AttemptRecord
from infra.wiring import ControlPlane
from tasks.attempts import charged_parts, closing_report, running_report
from tasks.extending import Extension, extend, tell_site

EVENT_NAME = "headrace.run.near_cap"
NEAR = 0.8
"""Share of the cap from which on an attempt is near it."""

_EVENT_IDS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:headrace:near-cap")

Send = Callable[[uuid.UUID, float, str, tuple[str, str], Mapping[str, Any]], None]


class CapWatch:
    """Remembers of which attempts it told, and at which cap."""

    def __init__(self, control: ControlPlane, send: Send = send_event) -> None:
        self._control, self._send = control, send
        self._told: dict[tuple[str, int], int] = {}

    def look(self) -> list[str]:
        """Look at every running attempt that has a cap. Returns what was done, for the log."""
        running = {
            (each.run_id, each.attempt): each
            for each in self._control.database.runs.open_attempts()
            if each.state is AttemptState.DISPATCHED and each.cap_micro > 0
        }
        self._told = {key: cap for key, cap in self._told.items() if key in running}
        lines = [self._look_at(key, attempt) for key, attempt in running.items()]
        return [line for line in lines if line]

    def _look_at(self, key: tuple[str, int], attempt: AttemptRecord) -> str:
        cap_micro = self._control.database.ledger.reserved_for(*key)
        if key not in self._told:
            self._told[key] = 0
            if cap_micro > attempt.cap_micro:  # whoever raised it may have been killed before the site was told
                tell_site(self._control, attempt, cap_micro)
        report = running_report(self._control, attempt)
        if report is None:
            return ""
        # Readings are some seconds old, and the machines went on since.
        now_at = max(report.ended_at, self._control.clock.now())
        used = charged_parts(self._control, attempt, replace(report, ended_at=now_at), cap_micro)
        # Data that was read is paid; only machines go on costing money.
        machines_micro = used.boot_micro + used.compute_micro
        if machines_micro == 0 or machines_micro < NEAR * (cap_micro - used.egress_micro):
            return ""
        if closing_report(self._control, attempt) is not None:
            return ""
        # What stood in the way may be gone by the next look; the event is sent once.
        extension, used_micro, told = extend(self._control, attempt), used.total_micro, self._told[key] == cap_micro
        if not told:
            self._tell(attempt, now_at, used_micro, cap_micro, extension)
            self._told[key] = cap_micro
        elif extension.why_not is not None:
            return ""
        then = f"not extended: {extension.why_not}" if extension.why_not else f"extended to {usd(extension.cap_micro)}"
        return f"attempt {attempt.attempt} of {attempt.run_id} has used {usd(used_micro)} of {usd(cap_micro)}; {then}"

    def _tell(self, attempt: AttemptRecord, at: float, used_micro: int, cap_micro: int, extension: Extension) -> None:
        self._send(
            uuid.uuid5(_EVENT_IDS, f"{attempt.permit.id} {cap_micro}"),
            at,
            EVENT_NAME,
            (f"headrace.run.{attempt.run_id}", attempt.run_id),
            {
                "run_id": attempt.run_id,
                "attempt": attempt.attempt,
                "site": attempt.site,
                "offer": attempt.offer,
                "used_usd": usd_float(used_micro),
                "cap_usd": usd_float(cap_micro),
                "next_cap_usd": usd_float(extension.cap_micro),
                "not_extended": extension.why_not,
            },
        )

"""Wakes waiting runs when devices come free. Between two wake-ups a waiting run holds no process at all."""

from __future__ import annotations

from infra.adapters import prefect_runs
from infra.core.lifecycle import RunState
from infra.documents import request_from_json
from infra.ports import RunRecord
from infra.wiring import ControlPlane
from tasks.entry import WAITING

MOST_AT_ONCE = 8
"""Runs woken by one release: each decides again, and those that find nothing free wait on."""


class WakeUps:
    """Remembers which attempts held devices at the last look; the first look wakes everybody once."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._holding: set[tuple[str, int]] | None = None

    def look(self) -> list[str]:
        """Wake the foremost waiting runs if some attempt gave its devices back. Returns the woken run ids."""
        runs = self._control.database.runs
        holding = {(a.run_id, a.attempt) for a in runs.open_attempts() if a.state.holds_devices}
        freed = self._holding is None or bool(self._holding - holding)
        woken = self._wake(runs.runs((RunState.WAITING,))) if freed else []
        self._holding = holding
        return woken

    def _wake(self, waiting: tuple[RunRecord, ...]) -> list[str]:
        foremost = sorted(waiting, key=lambda run: (-self._priority(run), run.created_at, run.run_id))[:MOST_AT_ONCE]
        found = prefect_runs.statuses({run.flow_run_id for run in foremost})
        woken = []
        for run in foremost:
            status = found.get(run.flow_run_id)
            if status is not None and status.state_name == WAITING:
                prefect_runs.start_again(run.flow_run_id, "devices came free")
                woken.append(run.run_id)
        return woken

    def _priority(self, run: RunRecord) -> int:
        records = self._control.database.runs.decisions(run.run_id)
        return request_from_json(records[-1].request_json).priority if records else 0

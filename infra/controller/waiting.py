"""Wakes waiting runs when devices come free. Between two wake-ups a waiting run holds no process at all."""

from __future__ import annotations

from infra.adapters import prefect_runs
from infra.core.lifecycle import RunState
from infra.documents import request_from_json
from infra.ports import RunRecord
from infra.wiring import ControlPlane
from tasks.entry import WAITING

MOST_AT_ONCE = 8
"""Runs woken by one look: each decides again, and those that find nothing free wait on."""

_MOST_RUNS = 10_000


class WakeUps:
    """Remembers which attempts held devices at the last look; the first look wakes everybody once."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._holding: set[tuple[str, int]] | None = None
        self._freed_at = 0.0

    def look(self) -> list[str]:
        """Wake the foremost runs that have not decided since an attempt last gave its devices back.

        Returns:
            The woken run ids.
        """
        runs = self._control.database.runs
        holding = {(a.run_id, a.attempt) for a in runs.open_attempts() if a.state.holds_devices}
        if self._holding is None or self._holding - holding:
            self._freed_at = self._control.clock.now()
        self._holding = holding
        return self._wake(runs.runs((RunState.WAITING,), limit=_MOST_RUNS))

    def _wake(self, waiting: tuple[RunRecord, ...]) -> list[str]:
        # A run may have looked before the release and have gone to wait after it, so the time of its look counts.
        told = [(run, records[-1]) for run in waiting if (records := self._control.database.runs.decisions(run.run_id))]
        due = [(run, request_from_json(last.request_json)) for run, last in told if last.decided_at < self._freed_at]
        due.sort(key=lambda pair: (-pair[1].priority, pair[0].created_at, pair[0].run_id))
        foremost = [run for run, _ in due]
        found = prefect_runs.statuses({run.flow_run_id for run in foremost})
        woken = []
        for run in foremost:
            status = found.get(run.flow_run_id)
            if status is not None and status.state_name == WAITING:
                prefect_runs.start_again(run.flow_run_id, "devices came free")
                woken.append(run.run_id)
            if len(woken) == MOST_AT_ONCE:
                break
        return woken

"""Looks at running checkpointed work with a deadline, at every checkpoint and in every tick of the spot policy.

What spot machines show of their capacity is written down here too as soon as they are up.
"""

from __future__ import annotations

from prefect.client.schemas.objects import StateType

from infra.adapters import prefect_runs
from infra.core.errors import ConflictError
from infra.core.inventory import Purchase
from infra.core.lifecycle import AttemptState
from infra.core.metering import sighting_of
from infra.core.placement.spot_choice import Ruling
from infra.core.units import usd
from infra.ports import AttemptRecord
from infra.wiring import ControlPlane
from tasks.attempts import closing_report, running_report
from tasks.moving import MOVED, Placed, mark_moved, moves, placed, reconsider
from tasks.site_io import share_done

_Key = tuple[str, int]


class SpotWatch:
    """Remembers of each running attempt what it was placed for, how far it was, and when it is looked at next."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._placed: dict[_Key, Placed | None] = {}
        self._seen: set[_Key] = set()
        self._next: dict[_Key, tuple[float, float]] = {}

    def look(self) -> list[str]:
        """Look at every running attempt once. Returns what was done, for the log."""
        running = {
            (each.run_id, each.attempt): each
            for each in self._control.database.runs.open_attempts()
            if each.state is AttemptState.DISPATCHED and each.purchase in (Purchase.SPOT, Purchase.ON_DEMAND)
        }
        for gone in self._placed.keys() - running.keys():
            self._placed.pop(gone)
            self._next.pop(gone, None)
            self._seen.discard(gone)
        done = [self._look_at(key, attempt) for key, attempt in running.items()]
        return [line for line in done if line]

    def _look_at(self, key: _Key, attempt: AttemptRecord) -> str:
        control = self._control
        if key not in self._placed:
            self._placed[key] = placed(control, attempt)
        self._write_down(key, attempt)
        of = self._placed[key]
        if attempt.ending == MOVED:
            self._stop(attempt, "MOVED: it goes on elsewhere")
            return ""
        if of is None or not of.ruled:
            return ""
        now_at, share = control.clock.now(), share_done(control.store, attempt.run_id, of.work)
        due_at, share_before = self._next.get(key, (now_at, share))
        if now_at < due_at and share == share_before:
            return ""
        ruling = reconsider(control, attempt, of)
        self._next[key] = (now_at + (ruling.tick_s if ruling is not None else 0.0), share)
        if ruling is None or not moves(attempt, ruling) or not self._is_running(attempt):
            return ""
        told = _told(ruling)
        try:
            mark_moved(control, attempt)
        except ConflictError:
            return ""  # it has just ended by itself
        self._stop(attempt, f"MOVED: {told}")
        return f"attempt {attempt.attempt} of {attempt.run_id} moves from {attempt.site}/{attempt.offer}: {told}"

    def _write_down(self, key: _Key, attempt: AttemptRecord) -> None:
        """Keep what the site's readings show, once the machines are up."""
        if key in self._seen or attempt.purchase != Purchase.SPOT:
            return
        report = running_report(self._control, attempt)
        sighting = sighting_of(report) if report is not None else None
        if sighting is not None:
            self._control.database.spot.add(sighting)
            self._seen.add(key)

    def _is_running(self, attempt: AttemptRecord) -> bool:
        child = prefect_runs.statuses([attempt.child_run_id] if attempt.child_run_id else [])
        return any(each.state is StateType.RUNNING for each in child.values())

    def _stop(self, attempt: AttemptRecord, why: str) -> None:
        if self._is_running(attempt) and attempt.child_run_id and closing_report(self._control, attempt) is None:
            prefect_runs.cancel(attempt.child_run_id, why)


def _told(ruling: Ruling) -> str:
    where = f"{ruling.candidate.site}/{ruling.candidate.offer}"
    if ruling.wait_until_at is not None:
        return f"a pause until {where} is expected to cost {usd(ruling.expected_micro)} to the end"
    if ruling.forced:
        return f"the deadline leaves {where} only"
    return f"{where} is expected to cost {usd(ruling.expected_micro)} to the end"

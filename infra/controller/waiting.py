"""Plans the queue anew on every event and wakes the runs whose turn it is. In between a waiting run holds no process.

Events are everything that a plan depends on: runs that come, leave or end, devices, capacities, prices, the policy, sites' health,
and warm clusters that become ready. A run that is woken decides for itself, from a snapshot of its own in which the others' starts are kept.
"""

from __future__ import annotations

from collections.abc import Hashable

from infra.adapters import prefect_runs
from infra.core.lifecycle import RunState
from infra.core.placement.queue import Replanned, replan
from infra.core.placement.snapshot import QueueEntry, Snapshot
from infra.core.placement.warm import takers
from infra.ports import RunRecord
from infra.wiring import ControlPlane
from tasks.entry import WAITING
from tasks.warming import ready_clusters

MOST_AT_ONCE = 32
"""Runs woken by one look; the rest is woken by the next ones."""

PLAN_EVERY_S = 5.0
"""Between plans while nothing happened here: prices, policies and sites' health are looked at this often."""

_MOST_RUNS = 10_000


class WakeUps:
    """Remembers what the world looked like at the last plan, and whom that plan has woken."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._seen: Hashable = None
        self._planned_for: Hashable = None
        self._planned_at = 0.0
        self._woken: set[str] = set()
        self._ready: frozenset[str] = frozenset()

    def look(self) -> list[str]:
        """Plan anew when something happened or a planned start has come, and wake whose turn it is.

        Returns:
            The woken run ids.
        """
        runs, now_at = self._control.database.runs, self._control.clock.now()
        waiting = runs.runs((RunState.WAITING,), limit=_MOST_RUNS)
        holding = sorted((each.run_id, each.attempt) for each in runs.open_attempts() if each.state.holds_devices)
        seen = (tuple(holding), tuple((run.run_id, run.attempt) for run in waiting))
        if not waiting or (seen == self._seen and now_at < self._planned_at + PLAN_EVERY_S):
            return []
        self._seen, self._planned_at = seen, now_at
        snapshot = self._control.snapshot(datasets=())
        clusters = ready_clusters(self._control, now_at)
        fresh = [cluster for cluster in clusters if cluster.lease_id not in self._ready]
        self._ready = frozenset(cluster.lease_id for cluster in clusters)
        events = (seen, self._ready, _events(snapshot))
        if events != self._planned_for:
            self._planned_for, self._woken = events, set()
        plan = replan(snapshot.queue, snapshot.loads, snapshot.sites, snapshot.now_at)
        self._keep(snapshot, plan)
        # Those that are not in the queue wait for a cheaper hour or an allowed one: what happened may have changed that.
        queued = {entry.run_id for entry in snapshot.queue}
        due = [*plan.due, *takers(plan.entries, fresh), *(run.run_id for run in waiting if run.run_id not in queued)]
        return self._wake(
            {run.run_id: run for run in waiting},
            [run_id for run_id in dict.fromkeys(due) if run_id not in self._woken],
        )

    def _keep(self, snapshot: Snapshot, plan: Replanned) -> None:
        """Write the new starts down."""
        before = {entry.run_id: entry for entry in snapshot.queue}
        for entry in plan.entries:
            if _told(entry) != _told(before[entry.run_id]):
                self._control.database.runs.enqueue(entry.run_id, entry)

    def _wake(self, waiting: dict[str, RunRecord], due: list[str]) -> list[str]:
        found = prefect_runs.statuses({waiting[run_id].flow_run_id for run_id in due if run_id in waiting})
        woken = []
        for run_id in due:
            run = waiting.get(run_id)
            status = found.get(run.flow_run_id) if run is not None else None
            if run is None or status is None or status.state_name != WAITING:
                continue
            prefect_runs.start_again(run.flow_run_id, "it is its turn in the queue")
            self._woken.add(run_id)
            woken.append(run_id)
            if len(woken) == MOST_AT_ONCE:
                break
        return woken


def _told(entry: QueueEntry) -> Hashable:
    """What of a plan is worth writing down: a start that only moves along with the clock is not."""
    return entry.why, entry.promised, entry.position, round(entry.start_at)


def _events(snapshot: Snapshot) -> Hashable:
    """Equal for as long as nothing happened at the sites, to prices, budgets or the policy that could change a plan."""
    health = tuple((entry.site, entry.health) for entry in snapshot.health)
    return snapshot.sites, snapshot.policy.version, health, snapshot.balances

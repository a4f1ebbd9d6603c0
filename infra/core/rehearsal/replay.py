"""The rehearsal: recorded runs come when they came, and everything after that follows from the decisions made now.

Each decision is made by :func:`infra.core.placement.ladder.descend` on a snapshot whose sites, health, rates, boot times and
budgets are those of the newest record at that instant, changed as asked for, and whose loads, balances and queue are
those of the rehearsal. What waits is planned and woken as the controller does it. A run takes its estimate on the offer
that it gets times the ratio by which the recorded run strayed from its own.

Left out: what the re-made runs would have taught (rates are the recorded ones), and failures, which stay with the run.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from infra.core.budget import Balance, most_for
from infra.core.errors import InputError
from infra.core.inventory import Site
from infra.core.placement.decision import Candidate, Decision, Outcome
from infra.core.placement.fitting import OVERDUE_S, release_of
from infra.core.placement.ladder import descend
from infra.core.placement.queue import entry_of, last_look_at, replan, wait_price
from infra.core.placement.snapshot import OfferLoad, QueueEntry, Release, Snapshot
from infra.core.rehearsal.model import Changes, Ending, Fate, Reality, RecordedRun
from infra.core.units import period_of
from infra.core.workload import WorkloadRequest

LONGEST_WAIT_S = 30 * 86_400.0
"""A run that has not started so long after the last arrival is left waiting."""

_LOOK_AGAIN = 0.1
"""While nothing happens, a run that is due looks again after this share of its wait so far."""

_LOOKS = 64
"""At one instant the queue is looked at no oftener than this."""

_END, _ARRIVAL, _LOOK = range(3)


@dataclass(slots=True)
class _Running:
    run: RecordedRun
    chosen: Candidate
    period: str
    cost_micro: int
    reserved_micro: int


@dataclass(slots=True)
class _Waiting:
    run: RecordedRun
    decision: Decision
    decided_at: float
    entry: QueueEntry | None


@dataclass(slots=True)
class _Account:
    settled_micro: int
    reserved_micro: int = 0


@dataclass(slots=True)
class _State:
    """The rehearsal's own world; everything else is looked up in the records."""

    running: dict[str, _Running] = field(default_factory=dict)
    waiting: dict[str, _Waiting] = field(default_factory=dict)
    accounts: dict[tuple[str, str], _Account] = field(default_factory=dict)
    fates: dict[str, Fate] = field(default_factory=dict)


def rehearse(
    runs: Sequence[RecordedRun], changes: Changes | None = None, tell: Callable[[str], None] = lambda text: None
) -> dict[str, Fate]:
    """What becomes of each run, by its id. The order of ``runs`` does not matter."""
    if not runs:
        return {}
    return _Rehearsal(runs, changes or Changes(), tell).run()


class _Rehearsal:
    def __init__(self, runs: Sequence[RecordedRun], changes: Changes, tell: Callable[[str], None]) -> None:
        self._changes, self._tell = changes, tell
        self._arrivals = sorted(runs, key=lambda run: (run.decided_at, run.run_id))
        self._records = sorted((snapshot for run in runs for snapshot in run.snapshots), key=lambda seen: seen.now_at)
        self._newest = -1
        self._state = _State()
        self._events: list[tuple[float, int, int, str]] = []
        self._order = count()
        self._look_at = -math.inf
        # What others held when the record begins stays held until it was expected back.
        self._before = self._records[0].loads

    def run(self) -> dict[str, Fate]:
        by_id = {run.run_id: run for run in self._arrivals}
        for run in self._arrivals:
            self._push(run.decided_at, _ARRIVAL, run.run_id)
        end_at = self._arrivals[-1].decided_at + LONGEST_WAIT_S
        arrived = 0
        while self._events and self._events[0][0] <= end_at:
            now_at = self._events[0][0]
            coming = []
            while self._events and self._events[0][0] == now_at:
                _, kind, _, run_id = heapq.heappop(self._events)
                if kind == _END:
                    self._end(run_id, now_at)
                elif kind == _ARRIVAL:
                    coming.append(run_id)
            self._see(now_at)
            for run_id in coming:
                arrived += 1
                self._tell(f"{arrived} of {len(self._arrivals)} runs")
                self._place(by_id[run_id], now_at)
            self._look(now_at)
            self._plan_look(now_at)
        for run_id, left in self._state.waiting.items():
            self._state.fates[run_id] = self._fate(left.run, Ending.WAITING, left.decision, left.decided_at)
        return {run.run_id: self._state.fates[run.run_id] for run in self._arrivals}

    def _push(self, at: float, kind: int, run_id: str = "") -> None:
        # At one instant ends come before arrivals; within a kind the order of their making decides.
        heapq.heappush(self._events, (at, kind, next(self._order), run_id))

    def _see(self, now_at: float) -> None:
        """Go on to the newest record that is not later than now."""
        while self._newest + 1 < len(self._records) and self._records[self._newest + 1].now_at <= now_at:
            self._newest += 1
            for balance in self._records[self._newest].balances:
                # What was settled before the first record of a month was settled by nobody who is rehearsed.
                self._state.accounts.setdefault((balance.tenant, balance.period), _Account(balance.settled_micro))

    def _place(self, run: RecordedRun, now_at: float) -> bool:
        """Decide about a run and do what is decided; whether it left the queue or never was in it."""
        self._state.waiting.pop(run.run_id, None)
        asked, world = self._request(run), self._world(run, now_at)
        try:
            step = descend(asked.rungs(), world)[-1]
        except InputError as error:
            self._state.fates[run.run_id] = replace(self._fate(run, Ending.REFUSED, None, now_at), code=error.code)
            return True
        request, decision = step.request, step.decision
        chosen = decision.chosen
        if chosen is None:
            self._state.fates[run.run_id] = self._fate(run, Ending.INFEASIBLE, decision, now_at)
            return True
        if decision.outcome is Outcome.WAIT:
            entry = entry_of(run.run_id, run.fate.arrived_at, request, world, decision)
            self._state.waiting[run.run_id] = _Waiting(run, decision, now_at, entry)
            return False
        room_micro = next(
            balance.available_micro
            for balance in world.balances
            if (balance.tenant, balance.period) == (request.tenant, period_of(now_at))
        )
        self._start(run, decision, chosen, room_micro, now_at)
        return True

    def _plan_look(self, now_at: float) -> None:
        """Look again when the first of those that wait should; at most one look is added for each event."""
        looks = [
            self._again(each.run, each.entry.start_at if each.entry else each.decision.wait_until_at or now_at, now_at)
            for each in self._state.waiting.values()
        ]
        last_looks = [last_look_at(each.entry) for each in self._state.waiting.values() if each.entry is not None]
        looks += [at for at in last_looks if at is not None and at > now_at]
        if looks and not now_at < self._look_at <= min(looks):
            self._look_at = min(looks)
            self._push(self._look_at, _LOOK)

    def _again(self, run: RecordedRun, planned_at: float, now_at: float) -> float:
        """When a run that waits looks again: at its planned start, and where that only moves along, ever more rarely."""
        if planned_at > now_at + OVERDUE_S:
            return planned_at
        return now_at + max(OVERDUE_S, _LOOK_AGAIN * (now_at - run.fate.arrived_at))

    def _start(self, run: RecordedRun, decision: Decision, chosen: Candidate, room_micro: int, now_at: float) -> None:
        assert chosen.finish_at is not None, "what runs has a finish"
        reality = run.reality or Reality()
        held_s = (chosen.finish_at - now_at) * reality.time_ratio
        cost_micro = charged(chosen, reality)
        period = period_of(now_at)
        account = self._state.accounts.setdefault((run.request.tenant, period), _Account(0))
        # The site stops a run at its cap; by then that was extended as far as the budgets go.
        cost_micro = min(cost_micro, most_for(chosen.cap_micro, run.request.budget_micro), room_micro)
        reserved_micro = max(chosen.cap_micro, cost_micro)
        account.reserved_micro += reserved_micro
        self._state.running[run.run_id] = _Running(run, chosen, period, cost_micro, reserved_micro)
        self._state.fates[run.run_id] = replace(
            self._ran(self._state.running[run.run_id], now_at, now_at + held_s), decision=decision, decided_at=now_at
        )
        self._push(now_at + held_s, _END, run.run_id)

    def _end(self, run_id: str, now_at: float) -> None:
        running = self._state.running.pop(run_id)
        account = self._state.accounts[running.run.request.tenant, running.period]
        account.reserved_micro -= running.reserved_micro
        account.settled_micro += running.cost_micro

    def _look(self, now_at: float) -> None:
        """Plan the queue and let those decide whose turn it is, until nobody starts any more."""
        for _ in range(_LOOKS):
            if not self._state.waiting:
                return
            queued = [each.entry for each in self._state.waiting.values() if each.entry is not None]
            plan = replan(queued, self._loads(now_at), self._sites(), now_at)
            for entry in plan.entries:
                self._state.waiting[entry.run_id].entry = entry
            due = set(plan.due) | {name for name, each in self._state.waiting.items() if each.entry is None}
            # Those that were just decided about at this instant see the same world again.
            fresh = [name for name in sorted(due) if self._state.waiting[name].decided_at < now_at]
            gone = sum(self._place(self._state.waiting[name].run, now_at) for name in fresh)
            if not gone:
                return

    def _request(self, run: RecordedRun) -> WorkloadRequest:
        price = self._changes.wait_micro_per_hour
        if price is None:
            return run.request
        return replace(run.request, wait_micro_per_hour=wait_price(price, run.request.priority))

    def _sites(self) -> tuple[Site, ...]:
        return self._changes.changed_sites(self._records[max(0, self._newest)].sites)

    def _world(self, run: RecordedRun, now_at: float) -> Snapshot:
        # At the instant of its own first decision a run sees its own record, whatever else was recorded then.
        record = run.snapshots[0] if now_at == run.decided_at else self._records[self._newest]
        changes = self._changes
        period = period_of(now_at)
        return replace(
            record,
            now_at=now_at,
            policy=record.policy if changes.policy_at is None else changes.policy_at(now_at),
            sites=changes.changed_sites(record.sites),
            datasets=run.snapshots[0].datasets,
            balances=self._balances(record, period),
            loads=self._loads(now_at, record),
            queue=tuple(
                each.entry
                for name, each in sorted(self._state.waiting.items())
                if each.entry is not None and name != run.run_id
            ),
        )

    def _balances(self, record: Snapshot, period: str) -> tuple[Balance, ...]:
        found = []
        # A record of another month gives its limit to this one; where it has several months, this one's or the last.
        by_tenant = {
            balance.tenant: balance
            for balance in sorted(record.balances, key=lambda each: (each.period == period, each.period))
        }
        for _, balance in sorted(by_tenant.items()):
            account = self._state.accounts.get((balance.tenant, period), _Account(0))
            # As in the ledger, no limit is below what is spent or promised already: free work may go on.
            spent = account.reserved_micro + account.settled_micro
            limit = max(spent, self._changes.budgets.get(balance.tenant, balance.limit_micro))
            found.append(Balance(balance.tenant, period, limit, account.reserved_micro, account.settled_micro))
        return tuple(found)

    def _loads(self, now_at: float, record: Snapshot | None = None) -> tuple[OfferLoad, ...]:
        """What the rehearsal's runs hold, with the recorded boot times."""
        releases: dict[tuple[str, str], list[Release]] = {}
        for load in self._before:
            kept = [release for release in load.releases if release.at > now_at]
            if kept:
                releases[load.site, load.offer] = kept
        for running in self._state.running.values():
            chosen = running.chosen
            release = release_of(chosen.finish_at or now_at, chosen.finish_p90_at, chosen.devices, now_at)
            releases.setdefault((chosen.site, chosen.offer), []).append(release)
        boots = {(load.site, load.offer): load for load in (record or self._records[max(0, self._newest)]).loads}
        return tuple(
            replace(
                boots.get(where, OfferLoad(*where)),
                releases=tuple(sorted(releases.get(where, ()), key=lambda each: (each.at, each.devices))),
            )
            for where in sorted({*boots, *releases})
        )

    def _fate(self, run: RecordedRun, ending: Ending, decision: Decision | None, at: float) -> Fate:
        deadline_at = run.request.deadline_at
        return Fate(ending, run.fate.arrived_at, decision=decision, decided_at=at, deadline_at=deadline_at)

    def _ran(self, running: _Running, start_at: float, finish_at: float) -> Fate:
        chosen = running.chosen
        return replace(
            self._fate(running.run, Ending.RAN, None, start_at),
            site=chosen.site,
            offer=chosen.offer,
            purchase=chosen.purchase.value,
            devices=chosen.devices,
            start_at=start_at,
            finish_at=finish_at,
            cost_micro=running.cost_micro,
        )


def charged(chosen: Candidate, reality: Reality) -> int:
    """Micro-dollars for a run: each part as estimated, times what the record says that such a part really came to."""
    machine = chosen.cost.total_micro - chosen.cost.egress_micro
    machine_ratio = reality.time_ratio if reality.machine_ratio is None else reality.machine_ratio
    egress_ratio = 1.0 if reality.egress_ratio is None else reality.egress_ratio
    return math.ceil(machine * machine_ratio - 1e-6) + math.ceil(chosen.cost.egress_micro * egress_ratio - 1e-6)

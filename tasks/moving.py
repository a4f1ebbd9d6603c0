"""Asks the spot policy again while an attempt runs, and moves the attempt when it says so.

An attempt that is to move is told to stop at its checkpoint, as a cancelled one is; its flow then settles what it used and places
the run anew, where the same policy chooses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from infra.core.errors import InputError
from infra.core.inventory import Purchase
from infra.core.lifecycle import AttemptState
from infra.core.metering import SiteReport
from infra.core.placement.decision import Decision
from infra.core.placement.snapshot import Snapshot
from infra.core.placement.spot_choice import Ruling, Standpoint, rule
from infra.core.placement.world import World
from infra.core.spot.guard import Choice
from infra.core.units import period_of
from infra.core.workload import WorkloadRequest
from infra.documents import decision_from_json, request_from_json
from infra.ports import AttemptRecord, DecisionRecord
from infra.wiring import ControlPlane
from tasks.attempts import charged_parts, deciding_record, running_report
from tasks.run_plan import left_of_budget
from tasks.site_io import share_done

MOVED = "moved"
"""The ending of an attempt that was told to go on elsewhere."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What a running attempt was placed for.

    Attributes:
        whole_units: The whole work, on the rung that it was placed on.
    """

    request: WorkloadRequest
    decision: Decision
    whole_units: float

    @property
    def work(self) -> str:
        """Names the work that its checkpoints belong to."""
        rung = self.request.on
        return "" if rung is None else rung.work

    @property
    def ruled(self) -> bool:
        """Whether the spot policy has a say in it."""
        return self.request.checkpointed and self.request.deadline_at is not None


def placed(control: ControlPlane, attempt: AttemptRecord) -> Placed | None:
    """The decision that opened an attempt; ``None`` when it is not recorded."""
    records = control.database.runs.decisions(attempt.run_id)
    deciding = deciding_record(records, attempt)
    if deciding is None:
        return None
    request = request_from_json(deciding.request_json)
    return Placed(request, decision_from_json(deciding.decision_json), _whole_units(records, request))


def _whole_units(records: Iterable[DecisionRecord], request: WorkloadRequest) -> float:
    """The whole work of which a request may want what is left: that of its rung, or what was first asked for."""
    if request.on is not None and request.on.units is not None:
        return request.on.units
    # A run's first decision is about all of its work; where it was about the lighter work of a rung, a later one is.
    for record in records:
        first = request_from_json(record.request_json)
        if first.on is None or first.on.units is None:
            return first.units
    return request.units


def reconsider(control: ControlPlane, attempt: AttemptRecord, of: Placed) -> Ruling | None:
    """What the spot policy says of an attempt now; ``None`` where it has nothing to say."""
    report = running_report(control, attempt)
    if report is None or of.decision.chosen is None:
        return None
    now_at, boot_s = control.clock.now(), of.decision.chosen.time.boot_s
    ready_at = report.ready_at if report.ready_at is not None else report.started_at + boot_s
    units = of.whole_units * (1.0 - _done(control, attempt, of, now_at - ready_at))
    request = left_of_budget(replace(of.request, units=units), ())
    snapshot = control.snapshot(tuple((ref.name, ref.version) for ref in request.datasets), attempt.run_id)
    request, snapshot = _without(control, attempt, report, request, snapshot)
    running = Standpoint(attempt.site, attempt.offer, Purchase(attempt.purchase), max(0.0, ready_at - now_at))
    try:
        return rule(World.of(request, snapshot), running)
    except InputError:
        # The deadline is over, or what it was placed for is no more: there is nothing to choose.
        return None


def _done(control: ControlPlane, attempt: AttemptRecord, of: Placed, run_s: float) -> float:
    """The share of the whole work that is done: what the last checkpoint says.

    Before an attempt's first checkpoint: by the time that it has run, at the slow end of the estimate. What would be lost of
    that is in the overhead of a start.
    """
    share = share_done(control.store, attempt.run_id, of.work)
    before = 1.0 - of.request.units / of.whole_units if of.whole_units > 0.0 else 0.0
    high_s = of.decision.chosen.time_high.compute_s if of.decision.chosen is not None else 0.0
    if share > before + 1e-9 or high_s <= 0.0:
        return share
    return before + (1.0 - before) * min(1.0, max(0.0, run_s) / high_s)


def _without(
    control: ControlPlane, attempt: AttemptRecord, report: SiteReport, request: WorkloadRequest, snapshot: Snapshot
) -> tuple[WorkloadRequest, Snapshot]:
    """Request and snapshot as they would be once the attempt is settled: what it has used is spent, the rest is free."""
    reserved = control.database.ledger.reserved_for(attempt.run_id, attempt.attempt)
    used = charged_parts(control, attempt, report, reserved).total_micro
    period = period_of(snapshot.now_at)
    balances = tuple(
        replace(
            balance,
            reserved_micro=max(0, balance.reserved_micro - reserved),
            settled_micro=balance.settled_micro + used,
        )
        if (balance.tenant, balance.period) == (request.tenant, period)
        else balance
        for balance in snapshot.balances
    )
    if request.budget_micro is not None:
        request = replace(request, budget_micro=max(0, request.budget_micro - used))
    return request, replace(snapshot, balances=balances)


def moves(attempt: AttemptRecord, ruling: Ruling) -> bool:
    """Whether the attempt has to leave what it runs on."""
    here = (ruling.candidate.site, ruling.candidate.offer) == (attempt.site, attempt.offer)
    return ruling.choice is Choice.PAUSE or not here


def mark_moved(control: ControlPlane, attempt: AttemptRecord) -> None:
    """Write down that the attempt ends because it moves, before it is told to stop."""
    control.database.runs.update_attempt(attempt.run_id, attempt.attempt, AttemptState.DISPATCHED, ending=MOVED)

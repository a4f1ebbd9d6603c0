"""Follows an attempt from its dispatch to its settlement. Every step may be repeated after a crash.

Both the entry flow and the controller call these functions: the flow while it lives, the controller for attempts whose
flow is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from infra.adapters.reports import read_report
from infra.core.budget import EntryKind
from infra.core.errors import ConflictError, UnavailableError
from infra.core.inventory import Purchase
from infra.core.lifecycle import AttemptState, RunState
from infra.core.metering import ReportKind, ReportOutcome, SiteReport, charge_parts, machine_cost_micro, sighting_of
from infra.core.placement.decision import CostParts
from infra.core.placement.snapshot import Snapshot
from infra.core.rung import Rung
from infra.core.spot.sightings import Sighting, SpotSighting
from infra.documents import request_from_json, snapshot_from_json
from infra.ports import AttemptRecord, DecisionRecord, Observation
from infra.wiring import ControlPlane


def closing_report(control: ControlPlane, attempt: AttemptRecord) -> SiteReport | None:
    """The site's signed closing report, once it lies in the store.

    Raises:
        RefusedError: ``REPORT_FORGED`` when it is not signed by the attempt's site.
    """
    return _report(control, attempt, ReportKind.CLOSED)


def running_report(control: ControlPlane, attempt: AttemptRecord) -> SiteReport | None:
    """The site's last word on an attempt that goes on: its newest meter reading, else that it has begun."""
    return _report(control, attempt, ReportKind.METER) or _report(control, attempt, ReportKind.OPENED)


def _report(control: ControlPlane, attempt: AttemptRecord, kind: ReportKind) -> SiteReport | None:
    trusted = control.trusted_keys
    if attempt.site not in trusted:
        return None  # it is revoked: whatever lies there under its name is not believed
    return read_report(control.store, trusted, attempt.run_id, attempt.attempt, kind, attempt.site)


def conclude(control: ControlPlane, attempt: AttemptRecord, report: SiteReport | None, units: float) -> AttemptRecord:
    """Write down how the attempt ended: FINISHED when the site says so, LOST otherwise.

    A finished attempt becomes part of the history that estimates are learnt from, and what an attempt showed of its offer's
    capacity part of the sightings.
    """
    seen = sighting_of(report) if report is not None else None
    if seen is not None and seen.what is Sighting.RECLAIMED and attempt.purchase != Purchase.SPOT:
        seen = None  # other machines are lost, not taken back
    finished = report is not None and report.outcome is ReportOutcome.FINISHED
    state = AttemptState.FINISHED if finished else AttemptState.LOST
    if attempt.state.holds_devices:
        attempt = control.database.runs.update_attempt(
            attempt.run_id,
            attempt.attempt,
            state,
            finished_at=control.clock.now() if report is None else report.ended_at,
            metered={} if report is None else report.measures(),
            ending=attempt_ending(control, attempt, seen),
        )
    if seen is not None:
        control.database.spot.add(seen)
    if finished and report is not None and units > 0:
        run = control.database.runs.run(attempt.run_id)
        assert run is not None
        control.database.history.add(
            Observation(
                run_id=attempt.run_id,
                attempt=attempt.attempt,
                kind=run.kind,
                site=attempt.site,
                offer=attempt.offer,
                device=attempt.device,
                devices=attempt.devices,
                units=units,
                run_s=report.run_s,
                boot_s=report.boot_s,
                at=report.ended_at,
            )
        )
    return attempt


def attempt_ending(control: ControlPlane, attempt: AttemptRecord, seen: SpotSighting | None) -> str | None:
    """Why the attempt ends where the work is not to blame: it was told to move, or its capacity went."""
    stored = next(each for each in control.database.runs.attempts(attempt.run_id) if each.attempt == attempt.attempt)
    if stored.ending is None and seen is not None and not seen.what.obtainable:
        return seen.what.value
    return stored.ending


def settle(control: ControlPlane, attempt: AttemptRecord, report: SiteReport | None) -> AttemptRecord:
    """Charge what the site metered, never more than was reserved, and give the rest back.

    Without a report the attempt expires: nothing is known to have been used, so nothing is charged beyond the last
    meter reading that did arrive.
    """
    if attempt.state.closed:
        return attempt
    try:
        return _settle(control, attempt, report)
    except ConflictError:
        # The flow and the controller may settle at the same time; what the faster one wrote stands.
        stored = {each.attempt: each for each in control.database.runs.attempts(attempt.run_id)}[attempt.attempt]
        if not stored.state.closed:
            raise
        return stored


def _settle(control: ControlPlane, attempt: AttemptRecord, report: SiteReport | None) -> AttemptRecord:
    ledger, runs, now_at = control.database.ledger, control.database.runs, control.clock.now()
    known = report or _report(control, attempt, ReportKind.METER)
    reserved = ledger.reserved_for(attempt.run_id, attempt.attempt)
    if attempt.site in control.revoked:
        parts = _charged_unseen(control, attempt, reserved, now_at)
    else:
        parts = CostParts() if known is None else charged_parts(control, attempt, known, reserved)
    kind = EntryKind.SETTLE if report is not None else EntryKind.EXPIRE
    with control.database.transaction():
        if kind is EntryKind.SETTLE:
            ledger.settle(attempt.run_id, attempt.attempt, parts, now_at)
        else:
            ledger.expire(attempt.run_id, attempt.attempt, parts, now_at)
        closed = AttemptState.SETTLED if kind is EntryKind.SETTLE else AttemptState.EXPIRED
        return runs.update_attempt(attempt.run_id, attempt.attempt, closed, charged=parts)


def charged_parts(control: ControlPlane, attempt: AttemptRecord, report: SiteReport, limit_micro: int) -> CostParts:
    """The attempt's cost by part, at the prices of the decision that placed it."""
    snapshot = deciding_snapshot(control, attempt)
    sites = {site.name: site for site in snapshot.sites}
    egress = max((sites[name].egress_micro_per_gb for name in report.egress_sources if name in sites), default=0)
    return charge_parts(report, snapshot.offer(attempt.site, attempt.offer).price, egress, limit_micro)


def _charged_unseen(control: ControlPlane, attempt: AttemptRecord, limit_micro: int, now_at: float) -> CostParts:
    """What an attempt cost at most whose site is not believed: its machines from its start until now."""
    price = deciding_snapshot(control, attempt).offer(attempt.site, attempt.offer).price
    until_at = attempt.finished_at or now_at
    return CostParts(min(limit_micro, machine_cost_micro(price, attempt.devices, attempt.started_at, until_at)))


def deciding_record(records: Iterable[DecisionRecord], attempt: AttemptRecord) -> DecisionRecord | None:
    """Of a run's records that of the decision that opened this attempt: the last one decided not after it started."""
    return next((each for each in reversed(tuple(records)) if each.decided_at <= attempt.started_at), None)


def deciding_snapshot(control: ControlPlane, attempt: AttemptRecord) -> Snapshot:
    """The snapshot of the decision that opened this attempt."""
    return _read_once(_required_record(control, attempt).snapshot_json)


@lru_cache(maxsize=128)
def _read_once(snapshot_json: str) -> Snapshot:
    """Every running attempt's snapshot is asked for every few seconds, to see what it has cost."""
    return snapshot_from_json(snapshot_json)


def rung_of(control: ControlPlane, attempt: AttemptRecord) -> Rung | None:
    """The rung of its request's ladder that this attempt was opened on; ``None`` when it is as asked."""
    return request_from_json(_required_record(control, attempt).request_json).on


def _required_record(control: ControlPlane, attempt: AttemptRecord) -> DecisionRecord:
    record = deciding_record(control.database.runs.decisions(attempt.run_id), attempt)
    if record is None:
        raise UnavailableError(
            "NO_DECISION", "the attempt has no decision", f"run {attempt.run_id}", "see the database"
        )
    return record


def wanted_units(control: ControlPlane, run_id: str) -> float:
    """Units of work that the run's newest request asks for: of the rung that counted, where it has a ladder."""
    records = control.database.runs.decisions(run_id)
    return request_from_json(records[-1].request_json).units if records else 0.0


def end_run(control: ControlPlane, run_id: str, state: RunState, detail: str) -> None:
    """End a run that is still open; one that already ended stays as it is."""
    run = control.database.runs.run(run_id)
    if run is not None and not run.state.final:
        control.database.runs.set_run_state(run_id, state, detail)

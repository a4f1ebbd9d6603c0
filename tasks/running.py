"""One placed run, from its request to its published result: what the entry flows are chains of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefect import runtime, task

from data_contracts.layout import site_prefix
from infra import faults
from infra.core.canonical import plain
from infra.core.errors import ConflictError, HeadraceError
from infra.core.lifecycle import AttemptState, RunState
from infra.core.metering import ReportOutcome, SiteReport
from infra.core.placement.decision import Outcome
from infra.core.placement.pipelines.share import Share
from infra.core.placement.warm import Kept
from infra.core.spot.sightings import Sighting
from infra.core.units import iso, usd
from infra.core.workload import DatasetRef, WorkKind, WorkloadRequest
from infra.faults import Point
from infra.ports import AttemptRecord, Publication
from infra.wiring import ControlPlane, control_plane
from tasks import artifacts
from tasks.attempts import conclude, end_run, rung_of, settle, wanted_units
from tasks.contracts import CheckedVersion, Quarantined, check_version
from tasks.datasets.reading import load_manifest
from tasks.dispatching import await_report, dispatch
from tasks.entry import AlreadyHandledError, EndedError, WaitUntilError, flow_run_id
from tasks.moving import MOVED
from tasks.options import DatasetChoice
from tasks.placement import Placement, open_run, place
from tasks.publication import publish_result
from tasks.run_plan import RunPlan

MOST_ATTEMPTS = 4
MOST_IN_ALL = 50
"""With those that were moved or whose spot capacity went."""

_TRIED_AGAIN = (ReportOutcome.FINISHED, ReportOutcome.LOST, ReportOutcome.CAPPED, ReportOutcome.EXPIRED)
"""Ends after which the run goes on: with its result, or with another attempt from the last checkpoint."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a placed run gives to its flow.

    Attributes:
        rung: The rung of its ladder that it was done on; empty: as asked.
    """

    run_id: str
    site: str
    purchase: str
    published: DatasetRef | None
    metrics: dict[str, float]
    charged_micro: int
    rung: str = ""

    def as_dict(self) -> dict[str, Any]:
        values = plain(self)
        return {**values, "charged_usd": usd(self.charged_micro)}


class TableMovedError(Exception):
    """Another refresh of the same table was published in between; this one has to start from what that one made."""


@dataclass(frozen=True, slots=True)
class CheckedData:
    """An accepted version with its size."""

    ref: DatasetRef
    rows: int


def check_contract(choice: DatasetChoice) -> CheckedData:
    """Validate the version against its contract; a breach quarantines it and ends the run with the failing rows.

    Raises:
        AlreadyHandledError: Another run was started by the same arrival.
        EndedError: The version breaks its contract.
    """
    control = control_plane()
    if choice.arrival_sha256 and not control.database.catalog.claim_arrival(
        choice.name, choice.version, choice.arrival_sha256, str(flow_run_id())
    ):
        raise AlreadyHandledError(f"another run handles the arrival of {choice.name}@{choice.version}")
    checked = validate(choice)
    if isinstance(checked, Quarantined):
        problem = "; ".join(checked.lines)
        raise EndedError("Quarantined", "CONTRACT_BREACH", problem, checked.uri, "land a corrected version")
    version = checked.version
    manifest = load_manifest(
        control.store, site_prefix(version.copies[0], version.name, version.version), checked.manifest_sha256
    )
    return CheckedData(DatasetRef(version.name, version.version), manifest.rows)


@task(name="check contract", persist_result=False)
def validate(choice: DatasetChoice) -> CheckedVersion | Quarantined:
    """Hold the version against its contract and show what broke it."""
    control = control_plane()
    checked = check_version(
        choice.name,
        choice.version,
        store=control.store,
        catalog=control.database.catalog,
        clock=control.clock,
        control_site=control.site(control.settings.control_site),
        contracts_root=control.settings.contracts_dir,
    )
    if isinstance(checked, Quarantined):
        artifacts.quarantine(checked)
    return checked


def run_placed(
    request: WorkloadRequest,
    roles: tuple[tuple[str, DatasetRef], ...],
    parameters: dict[str, Any],
    output: str,
    stage: str = "",
    share: Share | None = None,
    kept: Kept | None = None,
) -> RunResult:
    """Place the work, have it done at the chosen site, publish its one result and settle.

    Args:
        roles: Datasets by what the work calls them.
        parameters: The kind's own parameters.
        output: Name under which the result is published.
        stage: Name of the stage when the flow places several runs.
        share: What the plan of the whole flow leaves to this run.
        kept: Of a warm run, what it keeps.

    Raises:
        WaitUntilError: The run has to wait; the flow must leave.
        EndedError: The run ended without a result.
        TableMovedError: The attempt is paid and unpublished; call again with the table's present state.
    """
    control = control_plane()
    parent = str(flow_run_id())
    request = share.narrow(request) if share is not None else request
    plan = RunPlan(_run_id(parent, stage), parent, request, roles, parameters, output, kept)
    run = open_run(control, plan)
    try:
        while True:
            attempts = control.database.runs.attempts(plan.run_id)
            live = next((attempt for attempt in attempts if not attempt.state.closed), None)
            done = control.database.runs.publication(plan.run_id)
            if live is None and done is not None:
                return _result(control, attempts[-1], done)
            if run.state.final and done is None:
                raise EndedError("Failed", "RUN_ENDED", f"it is {run.state}: {run.detail}", plan.run_id)
            if live is None:
                _require_attempt_left(plan, attempts)
                live = _place(plan)
            _advance(control, plan, live)
    except HeadraceError as error:
        if not error.retryable:
            end_run(control, plan.run_id, RunState.FAILED, str(error))
        raise


def _require_attempt_left(plan: RunPlan, attempts: tuple[AttemptRecord, ...]) -> None:
    """Refuse another attempt after too many that were lost.

    An attempt whose machines never came up is no failure of the run: its offer rests. Where the spot policy decides, one
    that was moved or whose capacity went is none either: it was reckoned with.
    """
    if plan.request.kind is WorkKind.WARM and attempts:
        raise EndedError("Failed", "WARM_CLUSTER_ENDED", "a warm cluster is not booted again", plan.run_id)
    reckoned_with = plan.request.checkpointed and plan.request.deadline_at is not None
    excused = (MOVED, Sighting.RECLAIMED.value, Sighting.REFUSED.value) if reckoned_with else (Sighting.REFUSED.value,)
    lost = [attempt for attempt in attempts if attempt.ending not in excused]
    if len(lost) >= MOST_ATTEMPTS or len(attempts) >= MOST_IN_ALL:
        raise EndedError("Failed", "ATTEMPTS_EXHAUSTED", f"lost {len(attempts)} times", plan.run_id)


def _place(plan: RunPlan) -> AttemptRecord:
    placement = place_run(plan)
    decision = placement.decision
    if decision.outcome is Outcome.WAIT:
        assert decision.chosen is not None
        assert decision.wait_until_at is not None
        where = f"{decision.chosen.site}/{decision.chosen.offer}"
        if placement.request.rung:
            where += f" on rung {placement.request.rung}"
        raise WaitUntilError(decision.wait_until_at, f"waits for {where} until {iso(decision.wait_until_at)}")
    if placement.attempt is None:
        remedies = "; ".join(artifacts.remedies(placement)) or "no change of the request would help"
        binding = artifacts.in_the_way(placement)
        raise EndedError("Infeasible", "INFEASIBLE", f"stands in the way: {binding}", plan.run_id, remedies)
    return placement.attempt


@task(name="place", persist_result=False)
def place_run(plan: RunPlan) -> Placement:
    """Decide where the run goes, take its devices and money, and show the decision in the UI."""
    placement = place(control_plane(), plan)
    artifacts.decision(plan.run_id, placement)
    return placement


def _advance(control: ControlPlane, plan: RunPlan, attempt: AttemptRecord) -> None:
    """Take the attempt through all steps that it still has to take."""
    if attempt.state is AttemptState.RESERVED:
        dispatched = dispatch(control, plan, attempt)
        if dispatched is None:
            settle(control, conclude(control, attempt, None, 0), None)
            return
        attempt = dispatched
    report = await_report(control, attempt)
    attempt = conclude(control, attempt, report, wanted_units(control, plan.run_id))
    faults.passed(Point.CONCLUDED)
    if attempt.state is AttemptState.FINISHED and report is not None:
        try:
            publish(plan, attempt, report)
            faults.passed(Point.PUBLISHED)
        except ConflictError as error:
            if error.code != "TABLE_MOVED":
                raise
            settle_attempt(plan, attempt, report)
            raise TableMovedError(str(error)) from None
    settle_attempt(plan, attempt, report)
    faults.passed(Point.SETTLED)
    if attempt.ending != MOVED:
        _stop_if_hopeless(plan, report)


@task(name="publish", persist_result=False)
def publish(plan: RunPlan, attempt: AttemptRecord, report: SiteReport) -> Publication:
    """Publish the attempt's result, once per run, and show its numbers."""
    publication, prepared = publish_result(control_plane(), plan, attempt, report)
    artifacts.result(publication, prepared.result.detail)
    return publication


@task(name="settle", persist_result=False)
def settle_attempt(plan: RunPlan, attempt: AttemptRecord, report: SiteReport | None) -> AttemptRecord:
    """Charge what was used and show it beside the estimate."""
    control = control_plane()
    settled = settle(control, attempt, report)
    artifacts.settlement(control, plan.run_id, settled)
    return settled


def _stop_if_hopeless(plan: RunPlan, report: SiteReport | None) -> None:
    """End the run when another attempt would fail in the same way."""
    if report is None or report.outcome in _TRIED_AGAIN:
        return
    if report.outcome is ReportOutcome.CANCELLED:
        end_run(control_plane(), plan.run_id, RunState.CANCELLED, report.message)
        raise EndedError("Cancelled", "CANCELLED", report.message or "the site's run was cancelled", plan.run_id)
    raise EndedError("Failed", f"SITE_{report.outcome.upper()}", report.message, f"{report.site}, run {plan.run_id}")


def started_at(first_stage: str = "") -> float:
    """When this flow run was first due: deadlines in minutes count from there, also after a wait or a restart.

    Args:
        first_stage: Of a flow that places several runs.
    """
    # Waiting moves the scheduled time, so what the flow recorded first counts once there is something.
    record = control_plane().database.runs.run(_run_id(str(flow_run_id()), first_stage))
    return record.created_at if record is not None else runtime.flow_run.get_scheduled_start_time().timestamp()


def _run_id(flow_run: str, stage: str) -> str:
    return f"{flow_run}:{stage}" if stage else flow_run


def _result(control: ControlPlane, attempt: AttemptRecord, publication: Publication) -> RunResult:
    charged = attempt.charged.total_micro if attempt.charged is not None else 0
    published = DatasetRef(publication.name, publication.version) if publication.name else None
    rung = rung_of(control, attempt)
    return RunResult(
        publication.run_id,
        attempt.site,
        attempt.purchase,
        published,
        publication.metrics,
        charged,
        "" if rung is None else rung.name,
    )

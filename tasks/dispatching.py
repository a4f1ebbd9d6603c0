"""Sends an attempt to its site and waits for what the site says: the entry flow's side of a site run."""

from __future__ import annotations

import time
from typing import Any

import httpx
from prefect import get_run_logger
from prefect.client.schemas.objects import StateType
from prefect.deployments import run_deployment

from infra import faults
from infra.adapters import prefect_runs
from infra.adapters.prefect_runs import FlowRunStatus
from infra.adapters.prefect_status import site_health
from infra.adapters.reports import read_refusal
from infra.core.canonical import digest, plain
from infra.core.errors import UnavailableError
from infra.core.lifecycle import AttemptState, RunState
from infra.core.metering import SiteReport
from infra.core.placement.snapshot import Health
from infra.faults import Point
from infra.ports import AttemptRecord
from infra.wiring import ControlPlane
from tasks import artifacts
from tasks.attempts import closing_report, conclude, deciding_snapshot, end_run, rung_of, running_report, settle
from tasks.entry import EndedError
from tasks.permits import site_work
from tasks.run_plan import RunPlan

POLL_S = 0.2
"""Time between two looks for the site's closing report."""
API_LOOK_S = 2.0
"""Time between two looks at the site's flow run, in case that no report ever comes."""
API_PATIENCE_S = 120.0
"""How long a site's flow run is tried to be created while the API does not answer."""
HEALTH_LOOK_S = 10.0
"""Time between two looks at the site's health."""
SITE_GONE_S = 120.0
"""How long a site that has taken a run may be down before the run is placed elsewhere."""
BEGUN_IN_S = 30.0
"""How long after it took a run a site may be silent about having begun it."""
REPORT_GRACE_S = 20.0
"""How long the closing report may come after the site's flow run has ended."""


def dispatch(control: ControlPlane, plan: RunPlan, attempt: AttemptRecord) -> AttemptRecord | None:
    """Create the site's flow run, linked to this one. Creating it twice gives the same flow run.

    Returns:
        ``None`` when the work is not what was permitted any more, because the flow was started again after its data
        or model had changed: this attempt never ran, and the run is to be placed anew.
    """
    rung, snapshot = rung_of(control, attempt), deciding_snapshot(control, attempt)
    work = site_work(control, plan, attempt.attempt, attempt.site, snapshot, rung)
    if digest(work) != attempt.permit.work_sha256:
        return None
    name = f"{plan.request.kind}-{plan.run_id[:8]}-a{attempt.attempt}"
    parameters = {"permit": control.signer.sign(attempt.permit), "work": plain(work)}
    child_id = _create_child(attempt, name, parameters)
    faults.passed(Point.SENT)
    get_run_logger().info("attempt %d runs at %s as flow run %s", attempt.attempt, attempt.site, child_id)
    dispatched = control.database.runs.update_attempt(
        plan.run_id, attempt.attempt, AttemptState.DISPATCHED, child_run_id=child_id
    )
    artifacts.site_link(dispatched)
    return dispatched


def _create_child(attempt: AttemptRecord, name: str, parameters: dict[str, Any]) -> str:
    """Create the site's flow run; patient while the API is away, for the same key gives the same flow run."""
    ends_at = time.monotonic() + API_PATIENCE_S
    while True:
        try:
            child = run_deployment(
                f"site-run/{attempt.site}",
                parameters=parameters,
                timeout=0,
                idempotency_key=attempt.permit.id,
                flow_run_name=name,
            )
        except httpx.TransportError as problem:
            if time.monotonic() > ends_at:
                raise UnavailableError("API_AWAY", str(problem), "Prefect API", "see `headrace status`") from problem
            time.sleep(API_LOOK_S)
        else:
            return str(child.id)  # type: ignore[union-attr]


def await_report(control: ControlPlane, attempt: AttemptRecord) -> SiteReport | None:
    """Wait for the site's closing report; ``None`` when the site's flow run or the permit ended without one.

    A site that is revoked meanwhile is told to stop, and not waited for: whatever it says is not believed. Nor is one that
    is gone: should it come back, it finds its run cancelled, and a result of it could not pass the fence.
    """
    ended_at, look_at, site = None, 0.0, _SiteWatch(attempt.site)
    while True:
        report = closing_report(control, attempt)
        if report is not None:
            return report
        now_at = control.clock.now()
        if now_at >= look_at and ended_at is None:
            look_at = now_at + API_LOOK_S
            if attempt.site in control.revoked:
                _stop_child(attempt, "its site is trusted no more")
                return None
            child = _child(attempt)
            if child is not None and child.final:
                ended_at = now_at
            elif child is not None and (site.gone(child, now_at) or _never_began(control, attempt, child, now_at)):
                _stop_child(attempt, "its site is gone, or never began it")
                return None
        if ended_at is not None:
            _require_not_refused(control, attempt)
        if (ended_at is not None and now_at - ended_at > REPORT_GRACE_S) or now_at > attempt.permit.expires_at:
            return None
        time.sleep(POLL_S)


def _require_not_refused(control: ControlPlane, attempt: AttemptRecord) -> None:
    """End the run when its site would not start it; the attempt has used nothing.

    Raises:
        EndedError: With the site's own code.
    """
    refusal = read_refusal(control.store, control.trusted_keys, attempt.site, attempt.child_run_id or "")
    if refusal is not None:
        settle(control, conclude(control, attempt, None, 0), None)
        end_run(control, attempt.run_id, RunState.FAILED, f"{refusal.code}: {refusal.message}")
        raise EndedError("Refused", refusal.code, refusal.message, f"site {attempt.site}, run {attempt.run_id}")


class _SiteWatch:
    """Whether an attempt's site is there, looked at now and then."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._look_at = 0.0
        self._down_since: float | None = None

    def gone(self, child: FlowRunStatus, now_at: float) -> bool:
        """Whether the site is down and has not taken its run yet, or has taken it and is down for long."""
        if now_at >= self._look_at:
            self._look_at = now_at + HEALTH_LOOK_S
            (found,) = site_health((self._site,), now_at)
            down = found.health is Health.DOWN
            self._down_since = (self._down_since or now_at) if down else None
        if self._down_since is None:
            return False
        return child.state is StateType.SCHEDULED or now_at - self._down_since > SITE_GONE_S


def _never_began(control: ControlPlane, attempt: AttemptRecord, child: FlowRunStatus, now_at: float) -> bool:
    """Whether a worker took the site's flow run and no attempt has begun there: it was killed in between.

    A site reports that an attempt has begun before it asks for the first machine, however long those may take.
    """
    if child.state is not StateType.PENDING or now_at - child.since < BEGUN_IN_S:
        return False
    return running_report(control, attempt) is None


def _stop_child(attempt: AttemptRecord, why: str) -> None:
    """Have the site's worker stop the run and close its cluster; an API that does not answer is tried by the controller."""
    child = _child(attempt)
    if child is None or child.final:
        return
    if child.state in (StateType.SCHEDULED, StateType.PENDING):
        prefect_runs.cancelled(child.id, why)  # nobody may have it, so that nobody else could say so
    elif child.state is not StateType.CANCELLING:
        prefect_runs.cancel(child.id, why)


def _child(attempt: AttemptRecord) -> FlowRunStatus | None:
    """The site's flow run; ``None`` while there is none, or the API does not answer and so says nothing."""
    if attempt.child_run_id is None:
        return None
    try:
        return prefect_runs.statuses([attempt.child_run_id]).get(attempt.child_run_id)
    except httpx.HTTPError:
        return None

"""Ends what its flow cannot end any more: cancelled, failed and crashed entry runs, and attempts without a report.

A flow whose process was lost is started again: every step of it finds what was done before. This holds from its first
moment to its last, so the flow runs themselves are looked at, and not only the runs that are recorded already or still.
"""

from __future__ import annotations

from prefect.client.schemas.objects import StateType

from infra.adapters import prefect_runs
from infra.adapters.prefect_runs import FlowRunStatus
from infra.core.errors import ConflictError
from infra.core.lifecycle import AttemptState, RunState
from infra.ports import AttemptRecord, RunRecord
from infra.settings import CONTROL_POOL
from infra.wiring import ControlPlane
from tasks.attempts import closing_report, conclude, end_run, settle, wanted_units

MOST_CRASHES = 5
"""A flow run that crashed this often is not started again."""

EXPIRY_GRACE_S = 60.0
"""How long after its permit's end an attempt may still report."""

REPORT_GRACE_S = 20.0
"""How long after its flow run's end a site may still report: it closes the attempt's cluster in between."""

SETTLED_IN_S = 10.0
"""So long a state is left alone: what its worker is named in it may still be that of an earlier start."""

NEVER_STARTED_S = 180.0
"""A flow run that a worker took and did not start in this time is started again."""

_MOST_RUNS = 10_000
_UNDER_WAY = (StateType.CRASHED, StateType.RUNNING, StateType.PENDING, StateType.CANCELLING)


def mend(control: ControlPlane) -> list[str]:
    """Look at everything open once and do what its flow no longer does. Returns what was done, for the log."""
    done = _start_lost_flows(control)
    runs = control.database.runs
    open_runs = runs.runs((RunState.ACTIVE, RunState.WAITING), limit=_MOST_RUNS)
    found = prefect_runs.statuses({run.flow_run_id for run in open_runs})
    for run in open_runs:
        done += _mend_run(control, run, found.get(run.flow_run_id))
    for attempt in runs.open_attempts():
        run = runs.run(attempt.run_id)
        if run is not None and _nobody_follows(run) and _close(control, attempt, flow_ended=True):
            done.append(f"attempt {attempt.attempt} of {attempt.run_id} settled: the run is {run.state}")
        elif control.clock.now() > attempt.permit.expires_at + EXPIRY_GRACE_S:
            close_attempt(control, attempt)
            done.append(f"attempt {attempt.attempt} of {attempt.run_id} expired")
    return done


def _nobody_follows(run: RunRecord) -> bool:
    """Whether a run has ended, and its flow too where the flow still had to make the result visible before it paid."""
    if run.state is not RunState.PUBLISHED:
        return run.state.final
    status = prefect_runs.statuses([run.flow_run_id]).get(run.flow_run_id)
    return status is None or (status.final and status.state is not StateType.CRASHED)


def _start_lost_flows(control: ControlPlane) -> list[str]:
    now_at = control.clock.now()
    done = []
    for status in prefect_runs.in_states(CONTROL_POOL, _UNDER_WAY):
        if status.state is not StateType.CRASHED:
            if not _is_lost(status, now_at - status.since):
                continue
            if status.state is StateType.CANCELLING:
                prefect_runs.cancelled(status.id, "cancelled by its user; its process was lost with its worker")
                continue
            prefect_runs.crash(status.id, "its process was lost with its worker")
        times = prefect_runs.crashes(status.id)
        if times >= MOST_CRASHES:
            prefect_runs.fail(status.id, f"given up: it crashed {times} times")
            done.append(f"flow run {status.id} is given up: it crashed {times} times")
        else:
            prefect_runs.start_again(status.id, "goes on after its process was lost")
            done.append(f"flow run {status.id} goes on after its process was lost")
    return done


def _is_lost(status: FlowRunStatus, age_s: float) -> bool:
    """Whether nobody works on a flow run that looks as if somebody did."""
    if status.state is StateType.PENDING and age_s > NEVER_STARTED_S:
        return True
    return age_s > SETTLED_IN_S and status.worker_gone


def _mend_run(control: ControlPlane, run: RunRecord, status: FlowRunStatus | None) -> list[str]:
    if status is None:
        return _end(control, run, RunState.CANCELLED, "its flow run was deleted")
    match status.state:
        case StateType.CANCELLED:
            return _end(control, run, RunState.CANCELLED, "cancelled by its user")
        case StateType.CANCELLING:
            waits = run.state is RunState.WAITING
            done = _end(control, run, RunState.CANCELLED, "cancelled by its user", flow_ended=waits)
            if waits:
                # No process exists that a worker could stop and then report as stopped.
                prefect_runs.cancelled(status.id, "cancelled by its user while it waited")
            return done
        case StateType.FAILED:
            return _end(control, run, RunState.FAILED, "its flow run failed")
        case StateType.COMPLETED:
            return _end(control, run, RunState.FAILED, "its flow run was ended without it")
    return []


def _end(control: ControlPlane, run: RunRecord, state: RunState, why: str, flow_ended: bool = True) -> list[str]:
    """Stop the run's attempts, settle those that have reported, and end the run once none is open."""
    still_open = [each for each in control.database.runs.attempts(run.run_id) if not each.state.closed]
    closed = [_close(control, attempt, flow_ended) for attempt in still_open]
    if not all(closed):
        return []
    before = control.database.runs.run(run.run_id)
    if before is None or before.state.final:
        return []
    end_run(control, run.run_id, state, why)
    return [f"run {run.run_id} {state}: {why}"]


def _close(control: ControlPlane, attempt: AttemptRecord, flow_ended: bool) -> bool:
    """Settle an attempt that nobody follows any more, stopping it first; False while it has to be waited for."""
    if attempt.state is AttemptState.RESERVED:
        # Its flow may have created the site's flow run and died before it wrote that down.
        child = prefect_runs.by_key(attempt.permit.id)
        if child is not None:
            attempt = control.database.runs.update_attempt(
                attempt.run_id, attempt.attempt, AttemptState.DISPATCHED, child_run_id=child.id
            )
        elif not flow_ended:
            return False
    if attempt.state is AttemptState.DISPATCHED and closing_report(control, attempt) is None:
        found = prefect_runs.statuses([attempt.child_run_id] if attempt.child_run_id else [])
        for child in found.values():
            if not child.final:
                if child.state is not StateType.CANCELLING:
                    prefect_runs.cancel(child.id, "nobody waits for its result any more")
                return False
            if child.run_count and control.clock.now() - child.since < REPORT_GRACE_S:
                return False
    close_attempt(control, attempt)
    return True


def close_attempt(control: ControlPlane, attempt: AttemptRecord) -> None:
    """Conclude and settle with whatever the site has reported. The flow may do the same at the same time."""
    report = closing_report(control, attempt)
    try:
        ended = conclude(control, attempt, report, wanted_units(control, attempt.run_id))
        settle(control, ended, report)
    except ConflictError:
        # The flow was faster; what it wrote stands.
        return

"""Ends what its flow cannot end any more: cancelled, failed and crashed entry runs, and attempts without a report."""

from __future__ import annotations

import psutil
from prefect.client.schemas.objects import StateType

from infra.adapters import prefect_runs
from infra.adapters.prefect_runs import FlowRunStatus
from infra.core.errors import ConflictError
from infra.core.lifecycle import AttemptState, RunState
from infra.ports import AttemptRecord, RunRecord
from infra.wiring import ControlPlane
from tasks.attempts import closing_report, conclude, end_run, settle, wanted_units

MOST_STARTS = 6
"""A flow run that crashed this often is not started again."""

EXPIRY_GRACE_S = 60.0
"""How long after its permit's end an attempt may still report."""


def mend(control: ControlPlane) -> list[str]:
    """Look at every open run once and do what its flow no longer does. Returns what was done, for the log."""
    done: list[str] = []
    open_runs = control.database.runs.runs((RunState.ACTIVE, RunState.WAITING), limit=1000)
    found = prefect_runs.statuses({run.flow_run_id for run in open_runs})
    for run in open_runs:
        done += _mend_run(control, run, found.get(run.flow_run_id))
    for attempt in control.database.runs.open_attempts():
        if control.clock.now() > attempt.permit.expires_at + EXPIRY_GRACE_S:
            close_attempt(control, attempt)
            done.append(f"attempt {attempt.attempt} of {attempt.run_id} expired")
    return done


def _mend_run(control: ControlPlane, run: RunRecord, status: FlowRunStatus | None) -> list[str]:
    if status is None:
        return _end(control, run, RunState.CANCELLED, "its flow run was deleted")
    if status.state in (StateType.CANCELLED, StateType.CANCELLING):
        return _end(control, run, RunState.CANCELLED, "cancelled by its user")
    if status.state is StateType.FAILED:
        return _end(control, run, RunState.FAILED, "its flow run failed")
    died = status.state is StateType.CRASHED or (status.state is StateType.RUNNING and _is_gone(status.process))
    if not died:
        return []
    if status.run_count >= MOST_STARTS:
        return _end(control, run, RunState.FAILED, f"its flow run crashed {status.run_count} times")
    prefect_runs.start_again(run.flow_run_id, "goes on after its process was lost")
    return [f"run {run.run_id} goes on after its process was lost"]


def _end(control: ControlPlane, run: RunRecord, state: RunState, why: str) -> list[str]:
    """Stop the run's attempts, settle those that have reported, and end the run once none is open."""
    still_open = [each for each in control.database.runs.attempts(run.run_id) if not each.state.closed]
    for attempt in still_open:
        if attempt.state is AttemptState.DISPATCHED and closing_report(control, attempt) is None:
            child = prefect_runs.statuses([attempt.child_run_id] if attempt.child_run_id else [])
            if any(not status.final and status.state is not StateType.CANCELLING for status in child.values()):
                prefect_runs.cancel(attempt.child_run_id or "", why)
            return []
        close_attempt(control, attempt)
    end_run(control, run.run_id, state, why)
    return [f"run {run.run_id} {state}: {why}"]


def close_attempt(control: ControlPlane, attempt: AttemptRecord) -> None:
    """Conclude and settle with whatever the site has reported. The flow may do the same at the same time."""
    report = closing_report(control, attempt)
    try:
        ended = conclude(control, attempt, report, wanted_units(control, attempt.run_id)).attempt
        settle(control, ended, report)
    except ConflictError:
        # The flow was faster; what it wrote stands.
        return


def _is_gone(process: str) -> bool:
    """Whether a process of this machine, named by its id, has ended. Anything else is not ours to judge."""
    return process.isdigit() and not psutil.pid_exists(int(process))

"""The current policy of a control plane, and the ways in which people change it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from infra.core.errors import UnavailableError
from infra.core.policy_source import PolicySource
from infra.documents.policy_check import require_sound
from infra.ports import ControlStore, PolicyChange, PolicyRecord


def current_policy(database: ControlStore) -> PolicyRecord:
    """The current policy.

    Raises:
        UnavailableError: ``NO_POLICY`` before the first one is applied.
    """
    record = database.policies.current()
    if record is None:
        raise UnavailableError(
            "NO_POLICY", "no policy was applied yet", "control-plane database", "run `headrace up`, which applies one"
        )
    return record


def seed_policy(database: ControlStore, file: Path, at: float) -> PolicyRecord:
    """Apply the policy of a file when there is none yet; one that was applied by hand stays.

    Raises:
        InputError: Something is wrong with the file.
    """
    source = require_sound(file)
    with database.transaction():
        return database.policies.current() or database.policies.change(source, PolicyChange.APPLY, "first start", at)


def apply_policy(database: ControlStore, source: PolicySource, why: str, at: float) -> PolicyRecord:
    """Make a policy the current one. An emergency stop that is on stays on."""
    with database.transaction():
        before = database.policies.current()
        if before is not None:
            stopped, stop_why = before.source.bursting_stopped, before.source.stop_why
            source = replace(source, bursting_stopped=stopped, stop_why=stop_why)
        return database.policies.change(source, PolicyChange.APPLY, why, at)


def stop_bursting(database: ControlStore, why: str, at: float) -> PolicyRecord:
    """From now on nothing is placed on bought devices, whatever the policy's text says. Running work goes on."""
    with database.transaction():
        source = replace(current_policy(database).source, bursting_stopped=True, stop_why=why)
        return database.policies.change(source, PolicyChange.STOP, why, at)


def resume_bursting(database: ControlStore, why: str, at: float) -> PolicyRecord:
    """Let the policy's text alone decide again."""
    with database.transaction():
        source = replace(current_policy(database).source, bursting_stopped=False, stop_why="")
        return database.policies.change(source, PolicyChange.RESUME, why, at)

"""Where a run's files lie in the object store: each attempt's apart, checkpoints over all attempts."""

from __future__ import annotations

from infra.core.canonical import run_key


def attempt_prefix(run_id: str, attempt: int) -> str:
    """Where an attempt's files lie."""
    return f"runs/{run_key(run_id)}/attempts/{attempt}"


def checkpoints_prefix(run_id: str, lighter: str = "") -> str:
    """Where a run's checkpoints lie: those of a lighter work apart, for they fit no other."""
    prefix = f"runs/{run_key(run_id)}/checkpoints"
    return f"{prefix}/{lighter}" if lighter else prefix

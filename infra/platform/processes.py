"""Process helpers of the platform. They stand in :mod:`infra.processes`, low enough for the adapters to use them."""

from __future__ import annotations

from infra.processes import (
    ProcessIdentity,
    adopt_orphans,
    descendants,
    die_with_parent,
    locked,
    marked,
    notify_ready,
    stop,
    tied,
    write_private,
)

__all__ = [
    "ProcessIdentity",
    "adopt_orphans",
    "descendants",
    "die_with_parent",
    "locked",
    "marked",
    "notify_ready",
    "stop",
    "tied",
    "write_private",
]

"""Play drills: a platform of its own is hurt on purpose, and what it did about it is measured and shown."""

from __future__ import annotations

from typing import Any

from tasks.drills import play_drills, require_passed, show_drills
from tasks.entry import entry_flow


@entry_flow("drills", flow_run_name="drills")
def drills(names: list[str] = ["forged-permit", "site-outage"]) -> dict[str, Any]:  # noqa: B006 (shown in the form)
    """Play the drills, show their report, and fail when an invariant did not hold.

    Args:
        names: Drills by name, as ``headrace drill --list`` tells them.
    """
    report = play_drills(names)
    show_drills(report)
    require_passed(report)
    return {"passed": report["passed"], "drills": [drill["name"] for drill in report["drills"]]}

"""The list of drills, and how one is played: on the platform that is given, and held against the invariants afterwards."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from infra.core.errors import HeadraceError
from infra.drills import outages, trust, weather
from infra.drills.clouds import Clouds, SimulatedClouds
from infra.drills.judge import judge
from infra.drills.platform import Platform
from infra.drills.report import DrillReport
from infra.drills.stage import Play, Stage

DRILLS: dict[str, Play] = {
    "cloud-outage": outages.cloud_outage,
    "site-outage": outages.site_outage,
    "partition": outages.partition,
    "spot-storm": weather.spot_storm,
    "control-plane-restart": outages.control_plane_restart,
    "capacity-drought": outages.capacity_drought,
    "price-spike": weather.price_spike,
    "clock-skew": weather.clock_skew,
    "forged-permit": trust.forged_permit,
    "credential-leak": trust.credential_leak,
}


def about(name: str) -> str:
    """What a drill does, in one line."""
    return inspect.getdoc(DRILLS[name]) or ""


def play(name: str, box: Platform, others: Iterable[Clouds] = ()) -> DrillReport:
    """Play one drill to its end and judge what it left; its troubles are over afterwards, whatever happened.

    Args:
        others: Emulated clouds of the platform besides the simulated ones.
    """
    report = DrillReport(name, about(name))
    stage = Stage(box, report, (SimulatedClouds(box), *others))
    try:
        DRILLS[name](stage)
    except (AssertionError, HeadraceError) as problem:
        report.problem = str(problem)
    finally:
        stage.clouds_heal()
    try:
        for run_id in stage.runs.values():
            box.until(lambda run_id=run_id: box.settled(run_id), f"{run_id} to be settled", 120)  # type: ignore[misc]
    except HeadraceError as problem:
        report.problem = report.problem or str(problem)
    report.runs, report.findings = judge(box, stage.runs, stage.degraded)
    report.took_s = stage.elapsed_s
    return report

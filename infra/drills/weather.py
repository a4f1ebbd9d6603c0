"""Drills in which what is bought changes under the runs: spot machines go, prices rise, clocks are wrong."""

from __future__ import annotations

from infra import faults
from infra.core.lifecycle import AttemptState, RunState
from infra.core.spot.sightings import Sighting
from infra.drills.stage import Stage

SPOT_SERVICE_S = 4.0
SKEWS_S = (3600.0, -3600.0)
DEARER = 50


def spot_storm(stage: Stage) -> None:
    """Every spot machine is taken back shortly after it began to serve, twice; then the storm is over."""
    box = stage.box
    box.land_digits()
    stage.inject(f"every spot machine is taken back after {SPOT_SERVICE_S:g} s of service")
    stage.clouds_take_back_spot(SPOT_SERVICE_S)
    run = stage.train("on spot", epochs=40, purchases=["spot"])
    box.until(lambda: _reclaims(stage, run) >= 1, "the first reclaim")
    stage.detected("the first attempt is known to be reclaimed")
    box.until(lambda: _reclaims(stage, run) >= 2, "the second reclaim")
    stage.inject("the storm is over")
    stage.clouds_heal()
    stage.recovers("on spot", 300)


def price_spike(stage: Stage) -> None:
    """All clouds become fifty times as dear while a run computes: it pays what was decided, the next one does not start."""
    box = stage.box
    before = stage.probe("placed before", 10, purchases=["on_demand"])
    box.computing(before)
    decided = box.attempt(before)
    files = [box.settings.sites_dir / f"{site}.yaml" for site in stage.cloud_sites()]
    kept = {path: path.read_text(encoding="utf-8") for path in files}
    stage.inject(f"prices are multiplied by {DEARER}")
    try:
        for path, text in kept.items():
            path.write_text(_dearer(text), encoding="utf-8")
        budget_usd = decided.cap_micro / 1e6
        after = stage.probe("placed after, same budget", 10, purchases=["on_demand"], budget_usd=budget_usd)
        stage.expect(stage.ended("placed after, same budget") == "Infeasible", "it was placed above its budget")
        stage.detected("the next decision sees the new prices and refuses, with the budget that would do")
        stage.expect(box.runs.run(after).state is RunState.INFEASIBLE, "it is not infeasible")  # type: ignore[union-attr]
    finally:
        for path, text in kept.items():
            path.write_text(text, encoding="utf-8")
    stage.completes("placed before")
    box.until(lambda: box.settled(before), "the running one to be settled")
    charged = box.attempt(before).charged
    within = charged is not None and charged.total_micro <= decided.cap_micro
    stage.recovered("the run that was under way paid the price of its decision")
    stage.went_on(within, "the run under way ended and stayed within its cap")


def clock_skew(stage: Stage) -> None:
    """A site's clock is an hour ahead, then an hour behind: it starts nothing on permits that it cannot judge."""
    box, site = stage.box, "cloud-us-east"
    codes = []
    for number, seconds in enumerate(SKEWS_S, start=1):
        stage.inject(f"the clock of {site} is wrong by {seconds:+.0f} s")
        _restart_with_skew(stage, site, seconds)
        name = f"under a wrong clock, {seconds:+.0f} s"
        run = stage.probe(name, purchases=["on_demand"])
        stage.expect(stage.ended(name) == "Refused", "it was started on a permit that the site cannot judge")
        record = box.runs.run(run)
        codes.append(record.detail.partition(":")[0] if record is not None else "")
        if number == 1:
            stage.detected("the site refused")
        stage.expect(box.attempt(run).state is AttemptState.EXPIRED, "its attempt is still open")
        stage.expect(box.attempt(run).charged.total_micro == 0, "it was charged")  # type: ignore[union-attr]
    stage.expect(codes == ["PERMIT_EXPIRED", "PERMIT_NOT_YET_VALID"], f"refused with {codes}")
    stage.inject("the clock is right again")
    _restart_with_skew(stage, site, 0.0)
    stage.probe("under the right clock", purchases=["on_demand"])
    stage.completes("under the right clock")
    stage.recovered("the site works again")


def _restart_with_skew(stage: Stage, site: str, seconds: float) -> None:
    """Restart the site's worker under that clock."""
    box = stage.box
    faults.skew(box.faults, site, seconds)
    before = box.component(f"worker-{site}")
    box.kill_components(f"worker-{site}")
    box.until(lambda: box.component(f"worker-{site}") != before, "the worker to be started again")


def _reclaims(stage: Stage, run_id: str) -> int:
    return sum(each.ending == Sighting.RECLAIMED.value for each in stage.box.runs.attempts(run_id))


def _dearer(text: str) -> str:
    """A site file with every price multiplied."""
    lines = []
    for line in text.splitlines():
        name, colon, value = line.partition("price_usd_per_hour:")
        lines.append(f"{name}{colon} {float(value) * DEARER:g}" if colon else line)
    return "\n".join(lines) + "\n"

"""Drills in which a part is gone for a while: the cloud, its capacity, a site, the way to it, the control plane."""

from __future__ import annotations

import signal

from infra.core.lifecycle import RunState
from infra.core.spot.sightings import Sighting
from infra.drills.stage import Stage

REFUSED = Sighting.REFUSED.value


def cloud_outage(stage: Stage) -> None:
    """The clouds' machines die and their APIs answer no more: local work goes on, what needs the cloud waits for it."""
    box = stage.box
    under_way = stage.probe("in the cloud when it went", 15, purchases=["on_demand"])
    note = box.computing(under_way)
    stage.inject("no cloud's API answers")
    stage.clouds_go_away()
    stage.inject(f"all machines of the run at {note.lease.site} are killed")
    stage.machines_die(under_way)
    local = stage.probe("local work", purchases=["owned"])
    box.until(lambda: box.attempt(under_way).state.closed, "the loss to be seen")
    stage.detected("the running attempt is known to be lost")
    stage.ended("local work")
    stage.went_on(box.runs.publication(local) is not None, "local work started and published during the outage")
    box.until(lambda: _refusals(stage, under_way) >= 1, "the next attempt to be refused")
    stage.see("its next attempt got no machine: that offer rests")
    stage.inject("the clouds are back")
    stage.clouds_heal()
    stage.recovers("in the cloud when it went", 400)


def capacity_drought(stage: Stage) -> None:
    """No cloud has a machine to give: each offer is tried once and rests, and the work goes to what is owned."""
    box = stage.box
    holders = [stage.probe(f"holds device {number}", 25, purchases=["owned"]) for number in (1, 2)]
    for holder in holders:
        box.computing(holder)
    stage.inject("no cloud offer has capacity")
    stage.clouds_sell_out()
    run = stage.probe("would burst", waiting_usd_per_hour=200.0)
    box.until(lambda: _refusals(stage, run) >= 1, "a refusal")
    stage.detected("an offer refused, and rests from now on")
    stage.completes("would burst", 300)
    attempts = box.runs.attempts(run)
    tried = [(each.site, each.offer) for each in attempts if each.ending == REFUSED]
    stage.expect(len(tried) == len(set(tried)), f"an offer that rests was tried again: {tried}")
    stage.expect(attempts[-1].purchase == "owned", f"it ran on {attempts[-1].purchase}")
    stage.recovered(f"{len(tried)} offers refused once each; published at {attempts[-1].site}")
    stage.clouds_heal()
    for number in (1, 2):
        stage.ended(f"holds device {number}")


def site_outage(stage: Stage) -> None:
    """``kill -9`` of a site's worker and of its standing cluster, in the middle of a run."""
    box = stage.box
    site = box.settings.control_site
    run = stage.train("at the site", epochs=12, purchases=["owned", "on_demand"])
    box.computing(run)
    stage.inject(f"kill -9 of the worker of {site} and of its standing cluster's supervisor")
    box.kill_components(f"worker-{site}", f"cluster-{site}")
    box.until(lambda: not box.attempt(run).state.holds_devices, "the loss to be seen")
    stage.detected("the attempt is known to be lost")
    stage.recovers("at the site", 300)
    stage.expect(len(box.runs.attempts(run)) >= 2, "nothing was lost, so nothing was tested")


def partition(stage: Stage) -> None:
    """A site's worker neither hears nor says anything for a while, and its work goes on; then the way is open again."""
    box = stage.box
    run = stage.probe("behind the partition", 8, purchases=["on_demand"])
    note = box.computing(run)
    site = note.lease.site
    worker = box.component(f"worker-{site}")
    stage.inject(f"the worker of {site} is cut off (stopped, so that it neither hears nor says anything)")
    worker.send(signal.SIGSTOP)
    try:
        box.until(lambda: _is_down(stage, site), "the site to count as down", 60)
        stage.detected(f"{site} counts as down: nothing new is placed there")
        stage.probe("placed meanwhile", purchases=["on_demand"])
        ended = stage.ended("placed meanwhile")
        elsewhere = [each.site for each in box.runs.attempts(stage.runs["placed meanwhile"])]
        stage.went_on(ended == "Completed" and site not in elsewhere, f"meanwhile another run was done at {elsewhere}")
    finally:
        worker.send(signal.SIGCONT)
    stage.inject("the partition heals")
    stage.recovers("behind the partition", 300)


def control_plane_restart(stage: Stage) -> None:
    """``kill -9`` of the Prefect server, the control worker and the controller while a run computes."""
    box = stage.box
    run = stage.probe("computes meanwhile", 20, purchases=["on_demand"])
    note = box.computing(run)
    stage.inject("kill -9 of the Prefect server, the control worker and the controller")
    box.kill_components("server", "worker-control", "controller")
    alive = note.process is not None and note.process.alive
    box.until(lambda: box.client.api_healthcheck() is None, "the server to come back")
    stage.detected("the server answers again")
    stage.completes("computes meanwhile", 300)
    attempts = box.runs.attempts(run)
    stage.went_on(alive and len(attempts) == 1, f"the site computed on, and {len(attempts)} attempt was enough")
    stage.recovered("settled and published after the restart")
    stage.expect(box.runs.run(run).state is RunState.PUBLISHED, "it is not published")  # type: ignore[union-attr]


def _refusals(stage: Stage, run_id: str) -> int:
    return sum(each.ending == REFUSED for each in stage.box.runs.attempts(run_id))


def _is_down(stage: Stage, site: str) -> bool:
    return any(each.site == site and each.health.value == "down" for each in stage.box.control.snapshot().health)

"""What is kept warm now, setting by setting, and what recent demand asks for."""

from __future__ import annotations

from dataclasses import dataclass

from infra.adapters import prefect_runs
from infra.adapters.prefect_runs import FlowRunStatus
from infra.core.inventory import Offer
from infra.core.placement.learning import Observation, learn_boots
from infra.core.warm import TAKEN, WarmSetting, wanted
from infra.core.workload import WorkKind
from infra.ports import AttemptRecord
from infra.wiring import ControlPlane
from tasks.warming import is_ready, warm_runs

_LOOKED_AT = 200
"""Newest flow runs of a setting that are looked at: far more than may be kept at once."""


@dataclass(frozen=True, slots=True)
class Stock:
    """The warm clusters of one setting.

    Attributes:
        wanted: How many should be idle or on their way.
        booting, ready, taken: How many are: on their way to being ready, idle, in a run's use.
        runs: Flow runs of the setting, newest first.
    """

    site: str
    setting: WarmSetting
    wanted: int
    booting: int
    ready: int
    taken: int
    runs: tuple[FlowRunStatus, ...] = ()

    @property
    def missing(self) -> int:
        return max(0, self.wanted - self.booting - self.ready)


def tag_of(site: str, setting: WarmSetting) -> str:
    """The tag of a setting's flow runs in Prefect."""
    return f"warm:{site}/{setting.offer}/{setting.devices}"


def stocks(control: ControlPlane) -> tuple[Stock, ...]:
    """The stock of every setting, in the order of the site files. Asks Prefect only when there is a setting."""
    settings = [
        (site.name, next(offer for offer in pool.offers if offer.name == setting.offer), setting)
        for site in control.sites
        for pool in site.pools
        for setting in pool.warm
    ]
    if not settings:
        return ()
    with control.database.reading():
        past = control.database.history.observations()
        warm = warm_runs(control)
        running = tuple(each for each in control.database.runs.open_attempts() if each.run_id not in warm)
    return tuple(_stock(control, site, offer, setting, past, running) for site, offer, setting in settings)


def _stock(
    control: ControlPlane,
    site: str,
    offer: Offer,
    setting: WarmSetting,
    past: tuple[Observation, ...],
    running: tuple[AttemptRecord, ...],
) -> Stock:
    key = (site, offer.name)
    boots = learn_boots((each for each in past if (each.site, each.offer) == key), {key: offer.boot_s})
    boot_s = boots[key][0] if key in boots else offer.boot_s
    found = tuple(prefect_runs.tagged(tag_of(site, setting), _LOOKED_AT))
    counts = {"booting": 0, "ready": 0, "taken": 0}
    for run in found:
        kind = None if run.final else _kind(control, run.id)
        if kind is not None:
            counts[kind] += 1
    demand = _demand(site, setting, past, running)
    return Stock(site, setting, wanted(setting, demand, boot_s, control.clock.now()), **counts, runs=found)


def _kind(control: ControlPlane, run_id: str) -> str | None:
    """What a live warm run's cluster is; ``None`` when it is gone."""
    attempts = control.database.runs.attempts(run_id)
    if not attempts:
        return "booting"
    last = attempts[-1]
    if not last.state.holds_devices:
        return None
    if last.ending == TAKEN:
        return "taken"
    return "ready" if is_ready(control, last) else "booting"


def _demand(
    site: str, setting: WarmSetting, past: tuple[Observation, ...], running: tuple[AttemptRecord, ...]
) -> tuple[float, ...]:
    """When the runs of this offer and number of devices were placed: those that finished, and those that go on."""
    placed = {
        (each.run_id, each.attempt): each.placed_at
        for each in past
        if (each.site, each.offer, each.devices) == (site, setting.offer, setting.devices)
        and each.kind is not WorkKind.WARM
        and each.placed_at is not None
    }
    placed |= {
        (each.run_id, each.attempt): each.started_at
        for each in running
        if (each.site, each.offer, each.devices) == (site, setting.offer, setting.devices)
    }
    return tuple(placed.values())

"""The world as one decision sees it. Nothing else may influence the decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from infra.core.budget import Balance
from infra.core.canonical import ADDED
from infra.core.errors import InputError
from infra.core.inventory import DatasetVersion, Offer, Site
from infra.core.placement.uncertainty import Spread, require_spread
from infra.core.policy import Policy
from infra.core.spot.sightings import SpotCapacity
from infra.core.units import require_instant, require_number
from infra.core.workload import WorkKind


class Health(StrEnum):
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Release:
    """Devices of an offer that are in use and are expected back at an instant.

    Attributes:
        late_at: When they are back with nine of ten; ``None`` where the instant is as good as certain.
    """

    at: float
    devices: int
    late_at: float | None = field(default=None, metadata=ADDED)

    def __post_init__(self) -> None:
        require_instant(self.at, "release: at")
        require_number(self.devices, "release: devices", minimum=1)
        if self.late_at is not None and require_instant(self.late_at, "release: late_at") < self.at:
            raise InputError("BAD_TIME", "nine of ten are back before half are", "release: late_at", "put it after at")


@dataclass(frozen=True, slots=True)
class OfferLoad:
    """What of one offer is in use now; an offer without a load entry is free.

    Attributes:
        releases: Devices in use and when they are expected back.
        boot_s: Boot time as measured lately; ``None`` when the site file's figure stands.
        boot_spread: How far boot times stray from it, as in :class:`Rate`; ``None`` when too little is known.
        handover_s: Time from a decision until the site asks for machines, as measured lately.
        handover_spread: How far hand-overs stray from it, likewise.
        rests_until_at: Machines did not come up there lately, so that its devices stand among the releases until then; ``None``
            for an offer that does not rest.
    """

    site: str
    offer: str
    releases: tuple[Release, ...] = ()
    boot_s: float | None = None
    boot_spread: Spread | None = None
    handover_s: float = 0.0
    handover_spread: Spread = 0.0
    rests_until_at: float | None = None

    def __post_init__(self) -> None:
        require_number(self.handover_s, f"load of {self.site}/{self.offer}: handover_s")
        require_spread(self.handover_spread, f"load of {self.site}/{self.offer}: handover_spread")
        if self.rests_until_at is not None:
            require_instant(self.rests_until_at, f"load of {self.site}/{self.offer}: rests_until_at")
        if self.boot_s is not None:
            require_number(self.boot_s, f"load of {self.site}/{self.offer}: boot_s")
        if self.boot_spread is not None:
            require_spread(self.boot_spread, f"load of {self.site}/{self.offer}: boot_spread")


@dataclass(frozen=True, slots=True)
class SiteHealth:
    site: str
    health: Health
    detail: str = ""


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A run that waits for devices of an offer, and the start that is kept for it.

    Attributes:
        arrived_at: When the run was asked for.
        runtime_s: How long it is expected to hold the devices.
        start_at: When it is planned to start.
        wait_micro_per_hour: What an hour of its waiting is worth, in micro-dollars; 0 when nobody named a price.
        burst_micro: What it would cost more where it could start at once; ``None`` when it may start nowhere else.
        boot_s: How much later it would compute there.
        latest_start_at: Its latest start here that keeps its deadline; ``None`` without a deadline.
        promised: An earlier plan put it first for its latest start, and later plans keep to that.
        why: Code of the planner's reason.
        position: In which order the offer's queue was planned: who stands behind was planned around those before.
        decide_by_at: Until when a start elsewhere, where it could have started when it was decided about, still keeps its
            deadline; ``None`` without a deadline or such a place.
    """

    run_id: str
    tenant: str
    site: str
    offer: str
    devices: int
    arrived_at: float
    runtime_s: float
    start_at: float
    priority: int = 50
    wait_micro_per_hour: int = 0
    burst_micro: int | None = None
    boot_s: float = 0.0
    latest_start_at: float | None = None
    promised: bool = False
    why: str = ""
    position: int = 0
    decide_by_at: float | None = field(default=None, metadata=ADDED)

    def __post_init__(self) -> None:
        where = f"queue: {self.run_id}"
        for name in ("runtime_s", "wait_micro_per_hour", "boot_s", "position"):
            require_number(getattr(self, name), f"{where}: {name}")
        require_number(self.devices, f"{where}: devices", minimum=1)
        for name in ("arrived_at", "start_at"):
            require_instant(getattr(self, name), f"{where}: {name}")


@dataclass(frozen=True, slots=True)
class Rate:
    """How long work takes: ``fixed_s + units × unit_s / (devices' speed-up × relative speed)``.

    Attributes:
        device: Kind of device it was measured on, or ``""`` for the reference device (relative speed 1.0).
        fixed_s: Time that does not grow with the work: process start, connection, reading.
        unit_s: Seconds for one unit on one device; for a named device already in its own speed.
        spread: How far run times stray from this estimate, which is their median. One number: nine of ten take at most
            ``1 + spread`` times as long, log-normally. Quantiles: the run time at the probabilities 0.05, 0.1, 0.25,
            0.5, 0.75, 0.9, 0.95 and 0.99, as multiples of the estimate.
        samples: How many past runs it rests on; 0 is a prior.
        noise_doubling: How the spread depends on the size: the logarithms of the ratios are this many times as large
            for a run twice the size.
        noise_units: The size that ``spread`` holds for, in units on one device; 0 when it holds for all.
    """

    kind: WorkKind
    device: str
    fixed_s: float
    unit_s: float
    spread: Spread
    samples: int = 0
    noise_doubling: float = 1.0
    noise_units: float = 0.0

    def __post_init__(self) -> None:
        where = f"rate {self.kind}/{self.device}"
        for name in ("fixed_s", "unit_s", "samples", "noise_doubling", "noise_units"):
            require_number(getattr(self, name), f"{where}: {name}")
        require_spread(self.spread, f"{where}: spread")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent look at the world.

    Attributes:
        now_at: The instant of the look; decisions have no other clock.
        health: Sites without an entry count as up.
        queue: Other runs that wait, with the starts that are kept for them; not those that stand behind this one.
        spot: What past runs say of spot offers' capacity; offers on which nothing ever ran have no entry.
    """

    now_at: float
    policy: Policy
    sites: tuple[Site, ...]
    datasets: tuple[DatasetVersion, ...]
    balances: tuple[Balance, ...]
    rates: tuple[Rate, ...]
    loads: tuple[OfferLoad, ...] = ()
    health: tuple[SiteHealth, ...] = ()
    queue: tuple[QueueEntry, ...] = ()
    spot: tuple[SpotCapacity, ...] = ()

    def __post_init__(self) -> None:
        require_instant(self.now_at, "snapshot: now_at")

    def offer(self, site: str, name: str) -> Offer:
        """The offer of that name at that site. Raises StopIteration when it is not sold there."""
        pools = next(each.pools for each in self.sites if each.name == site)
        return next(offer for pool in pools for offer in pool.offers if offer.name == name)

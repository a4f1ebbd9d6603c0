"""The world as one decision sees it. Nothing else may influence the decision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from infra.core.budget import Balance
from infra.core.inventory import DatasetVersion, Site
from infra.core.policy import Policy
from infra.core.units import require_instant, require_number
from infra.core.workload import WorkKind


class Health(StrEnum):
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Release:
    """Devices of an offer that are in use and are expected back at an instant."""

    at: float
    devices: int

    def __post_init__(self) -> None:
        require_instant(self.at, "release: at")
        require_number(self.devices, "release: devices", minimum=1)


@dataclass(frozen=True, slots=True)
class OfferLoad:
    """What of one offer is in use now; an offer without a load entry is free.

    Attributes:
        releases: Devices in use and when they are expected back.
        boot_s: Boot time as measured lately; ``None`` when the site file's figure stands.
    """

    site: str
    offer: str
    releases: tuple[Release, ...] = ()
    boot_s: float | None = None

    def __post_init__(self) -> None:
        if self.boot_s is not None:
            require_number(self.boot_s, f"load of {self.site}/{self.offer}: boot_s")


@dataclass(frozen=True, slots=True)
class SiteHealth:
    site: str
    health: Health
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Rate:
    """How long work takes: ``fixed_s + units × unit_s / (devices' speed-up × relative speed)``.

    Attributes:
        device: Kind of device it was measured on, or ``""`` for the reference device (relative speed 1.0).
        fixed_s: Time that does not grow with the work: process start, connection, reading.
        unit_s: Seconds for one unit on one device; for a named device already in its own speed.
        spread: Relative spread: the high estimate is ``expected × (1 + spread)``.
        samples: How many past runs it rests on; 0 is a prior.
    """

    kind: WorkKind
    device: str
    fixed_s: float
    unit_s: float
    spread: float
    samples: int = 0

    def __post_init__(self) -> None:
        for name in ("fixed_s", "unit_s", "spread", "samples"):
            require_number(getattr(self, name), f"rate {self.kind}/{self.device}: {name}")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent look at the world.

    Attributes:
        now_at: The instant of the look; decisions have no other clock.
        health: Sites without an entry count as up.
    """

    now_at: float
    policy: Policy
    sites: tuple[Site, ...]
    datasets: tuple[DatasetVersion, ...]
    balances: tuple[Balance, ...]
    rates: tuple[Rate, ...]
    loads: tuple[OfferLoad, ...] = ()
    health: tuple[SiteHealth, ...] = ()

    def __post_init__(self) -> None:
        require_instant(self.now_at, "snapshot: now_at")

"""What is rehearsed: runs as they were recorded, what is changed, and what becomes of each run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from infra.core.errors import InputError
from infra.core.inventory import Offer, Pool, Purchase, Site
from infra.core.placement.decision import Decision
from infra.core.placement.snapshot import Snapshot
from infra.core.policy import Policy
from infra.core.pricing import Price
from infra.core.workload import WorkloadRequest


class Ending(StrEnum):
    RAN = "ran"
    INFEASIBLE = "infeasible"
    REFUSED = "refused"
    """It could not even be decided, for example because its deadline passed while it waited."""
    WAITING = "waiting"
    """It had not started when the rehearsal, or the record, ended."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a run.

    Attributes:
        arrived_at: When it came.
        start_at, finish_at: When its devices were taken and given back; ``None`` for a run that never ran.
        cost_micro: What it cost.
        code: Of a refusal.
        decision: The last decision about it, made at ``decided_at``; ``None`` in records and after a refusal.
        deadline_at: Its deadline, if it has one.
    """

    ending: Ending
    arrived_at: float
    site: str = ""
    offer: str = ""
    purchase: str = ""
    devices: int = 0
    start_at: float | None = None
    finish_at: float | None = None
    cost_micro: int = 0
    code: str = ""
    decision: Decision | None = None
    decided_at: float = 0.0
    deadline_at: float | None = None

    @property
    def wait_s(self) -> float | None:
        return None if self.start_at is None else max(0.0, self.start_at - self.arrived_at)

    @property
    def in_time(self) -> bool | None:
        """Whether it met its deadline; ``None`` without one. A run that never ran met none."""
        if self.deadline_at is None:
            return None
        return self.finish_at is not None and self.finish_at <= self.deadline_at


@dataclass(frozen=True, slots=True)
class Reality:
    """How a run really went beside its estimate, all attempts together.

    Attributes:
        time_ratio: Time that devices were held / estimated.
        machine_ratio, egress_ratio: What was charged / estimated; ``None`` where nothing was estimated.
    """

    time_ratio: float = 1.0
    machine_ratio: float | None = None
    egress_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run as it was recorded.

    Attributes:
        request: As at its first decision.
        snapshots: The worlds of its decisions, in order of time; at least one.
        reality: ``None`` for one that never ran to an end: then it takes what is estimated.
        fate: What became of it.
    """

    run_id: str
    request: WorkloadRequest
    snapshots: tuple[Snapshot, ...]
    reality: Reality | None
    fate: Fate

    @property
    def decided_at(self) -> float:
        """When it was first decided about."""
        return self.snapshots[0].now_at


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs from the record. Nothing by default.

    Attributes:
        sites: Instead of the recorded ones.
        policy_at: The policy as of an instant, instead of the recorded one.
        budgets: A month's limit in micro-dollars, by tenant.
        prices: Micro-dollars of a device for an hour, by (site, offer); windows of the day stay.
        wait_micro_per_hour: What an hour's wait is worth to every run at priority 50; ``None`` for its own price.
        more_devices: Added to the largest owned offer.
    """

    sites: tuple[Site, ...] | None = None
    policy_at: Callable[[float], Policy] | None = None
    budgets: Mapping[str, int] = field(default_factory=dict)
    prices: Mapping[tuple[str, str], int] = field(default_factory=dict)
    wait_micro_per_hour: int | None = None
    more_devices: int = 0

    def changed_sites(self, recorded: tuple[Site, ...]) -> tuple[Site, ...]:
        """The sites with what is changed about them."""
        sites = recorded if self.sites is None else self.sites
        if not self.prices and not self.more_devices:
            return sites
        grown = _largest_owned(sites) if self.more_devices else None
        return tuple(
            replace(site, pools=tuple(self._pool(site.name, pool, grown) for pool in site.pools)) for site in sites
        )

    def _pool(self, site: str, pool: Pool, grown: tuple[str, str] | None) -> Pool:
        return replace(pool, offers=tuple(self._offer(site, offer, grown) for offer in pool.offers))

    def _offer(self, site: str, offer: Offer, grown: tuple[str, str] | None) -> Offer:
        micro = self.prices.get((site, offer.name))
        if micro is not None:
            price = replace(offer.price, micro_per_hour=micro) if offer.price else Price(micro)
            offer = replace(offer, price=price)
        if (site, offer.name) == grown:
            offer = replace(offer, capacity=offer.capacity + self.more_devices)
        return offer


def owned_devices(sites: tuple[Site, ...]) -> int:
    """Devices of all owned offers."""
    return sum(offer.capacity for _, offer in _offers(sites) if offer.purchase is Purchase.OWNED)


def require_known(changes: Changes, runs: tuple[RecordedRun, ...]) -> None:
    """Refuse changes to what is nowhere.

    Raises:
        InputError: ``UNKNOWN_TENANT`` or ``UNKNOWN_OFFER``, with those that there are.
    """
    worlds = [snapshot for run in runs for snapshot in run.snapshots]
    tenants = {balance.tenant for world in worlds for balance in world.balances}
    for tenant in changes.budgets:
        if tenant not in tenants:
            raise InputError("UNKNOWN_TENANT", f"no run knew {tenant!r}", "--budget", f"use one of {_listed(tenants)}")
    sites = changes.sites or tuple(site for world in worlds for site in world.sites)
    sold = {f"{site.name}/{offer.name}" for site, offer in _offers(sites)}
    for site, offer in changes.prices:
        if f"{site}/{offer}" not in sold:
            raise InputError("UNKNOWN_OFFER", f"no site sells {site}/{offer}", "--price", f"use one of {_listed(sold)}")


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _offers(sites: tuple[Site, ...]) -> list[tuple[Site, Offer]]:
    return [(site, offer) for site in sites for pool in site.pools for offer in pool.offers]


def _largest_owned(sites: tuple[Site, ...]) -> tuple[str, str] | None:
    owned = [
        (-offer.capacity, site.name, offer.name) for site, offer in _offers(sites) if offer.purchase is Purchase.OWNED
    ]
    return min(owned)[1:] if owned else None

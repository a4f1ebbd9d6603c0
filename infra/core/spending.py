"""What was spent, on what: settled attempts added up by tenant, kind, site or way of paying, and what a unit of work cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from infra.core.placement.decision import CostParts
from infra.core.workload import WorkKind


class Grouping(StrEnum):
    """By what spending is added up."""

    TENANT = "tenant"
    KIND = "kind"
    SITE = "site"
    PURCHASE = "purchase"


@dataclass(frozen=True, slots=True)
class Spent:
    """One settled attempt.

    Attributes:
        at: When it ended, seconds since the epoch.
        machine_s, boot_s: Device-seconds held, and those of them before the cluster was usable.
        egress_bytes: Bytes that it read from other sites.
        published: Whether its result was published.
        units: What a published attempt's run made, by unit: ``epochs``, ``embeddings``, ``predictions``.
    """

    run_id: str
    attempt: int
    tenant: str
    kind: str
    site: str
    purchase: str
    at: float
    parts: CostParts
    machine_s: float = 0.0
    boot_s: float = 0.0
    egress_bytes: float = 0.0
    published: bool = False
    units: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Total:
    """A group's sum. ``lost_micro`` is what attempts cost that published nothing."""

    name: str
    runs: int
    attempts: int
    compute_micro: int
    boot_micro: int
    egress_micro: int
    rework_micro: int
    lost_micro: int
    machine_s: float
    boot_s: float
    egress_bytes: float

    @property
    def total_micro(self) -> int:
        return self.compute_micro + self.boot_micro + self.egress_micro + self.rework_micro


@dataclass(frozen=True, slots=True)
class UnitCost:
    """What a unit of work cost: all attempts of the runs that made it, over what they made.

    Attributes:
        micro: Micro-dollars for ``per`` units.
    """

    unit: str
    per: int
    made: float
    micro: float


PER = {"epochs": 1, "embeddings": 1000, "predictions": 1000}
"""For how many of each unit its cost is told."""


def totals(spent: Iterable[Spent], by: Grouping) -> tuple[Total, ...]:
    """Sums by group, the dearest first, then by name."""
    key: Callable[[Spent], str] = lambda one: str(getattr(one, by.value))  # noqa: E731
    groups: dict[str, list[Spent]] = {}
    for one in spent:
        groups.setdefault(key(one), []).append(one)
    found = [_total(name, members) for name, members in groups.items()]
    return tuple(sorted(found, key=lambda total: (-total.total_micro, total.name)))


def unit_costs(spent: Iterable[Spent]) -> tuple[UnitCost, ...]:
    """What an epoch, a thousand embeddings, a thousand predictions and a published run cost, where there were any.

    Attempts that were lost on the way belong to their run's cost; runs that published nothing, and what idled for them, are
    spread over the published ones in the last figure.
    """
    attempts = list(spent)
    by_run: dict[str, int] = {}
    for one in attempts:
        by_run[one.run_id] = by_run.get(one.run_id, 0) + one.parts.total_micro
    published = [one for one in attempts if one.published]
    found = []
    for unit, per in PER.items():
        makers = [one for one in published if one.units.get(unit, 0.0) > 0.0]
        made = sum(one.units[unit] for one in makers)
        if made:
            found.append(UnitCost(unit, per, made, sum(by_run[one.run_id] for one in makers) * per / made))
    asked_for = [one for one in published if one.kind != WorkKind.WARM]
    if asked_for:
        found.append(UnitCost("published runs", 1, float(len(asked_for)), sum(by_run.values()) / len(asked_for)))
    return tuple(found)


def _total(name: str, members: list[Spent]) -> Total:
    return Total(
        name=name,
        runs=len({one.run_id for one in members}),
        attempts=len(members),
        compute_micro=sum(one.parts.compute_micro for one in members),
        boot_micro=sum(one.parts.boot_micro for one in members),
        egress_micro=sum(one.parts.egress_micro for one in members),
        rework_micro=sum(one.parts.rework_micro for one in members),
        lost_micro=sum(one.parts.total_micro for one in members if not one.published),
        machine_s=sum(one.machine_s for one in members),
        boot_s=sum(one.boot_s for one in members),
        egress_bytes=sum(one.egress_bytes for one in members),
    )

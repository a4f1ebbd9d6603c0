"""The smallest changes that would make an infeasible request feasible, each verified by deciding again.

How they are found: all sets of changes that touch every reason of some plan are tried (see ``remedies``), single
changes first, then pairs, then triples; the search ends at the first size at which one works. Changes with a natural
smallest step come out exact: money is the cap of the cheapest way, the deadline its high finish rounded up to a whole
second, a zone, a memory size or a number of devices the nearest one that works. Changes without an order (a country,
a device kind, a way of paying) are told by cost, the cheapest few.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from infra.core.inventory import TrustZone
from infra.core.placement.candidates import assessments
from infra.core.placement.changes import apply_changes, with_limit
from infra.core.placement.decision import Candidate, Change, ChangeKind, Counterfactual
from infra.core.placement.remedies import MEASURED, OfferKey, change_sets, promising
from infra.core.placement.spot_choice import pick
from infra.core.placement.starts import Plan
from infra.core.placement.world import World
from infra.core.units import MAX_NUMBER
from infra.core.workload import Fallback

MOST_CHANGES = 3
MOST_ALTERNATIVES = 3
"""How many countries, device kinds or ways of paying are told for one set of kinds."""

_DEVICE_STEPS = 256
"""Numbers of devices that are tried one by one; below that they are halved."""

_C = ChangeKind
_UNORDERED = frozenset({_C.RESIDENCY, _C.PURCHASE, _C.DEVICE_KIND})
_UNLIMITED_MICRO = int(MAX_NUMBER)


@dataclass(frozen=True, slots=True)
class _Way:
    """A plan that becomes possible with some changes, before they are verified."""

    changes: tuple[Change, ...]
    plan: Plan

    def order(self) -> tuple[object, ...]:
        """Smallest changes first where they have an order (wishes before limits); then cost, finish and names."""
        ordered = [change for change in self.changes if change.kind not in _UNORDERED]
        wishes = tuple(_step(change) for change in ordered if change.kind not in MEASURED)
        limits = tuple(_step(change) for change in ordered if change.kind in MEASURED)
        return wishes, limits, self.plan.cost.total_micro, self.plan.finish_at, _names(self.changes)


def _step(change: Change) -> float:
    """Size of a change, comparable within its kind."""
    if change.kind is _C.TRUST_ZONE:
        return -TrustZone(str(change.value)).rank
    if change.kind in (_C.MEMORY, _C.DEVICES):
        return -float(change.value)
    return 0.0 if change.kind is _C.WAIT else float(change.value)


def find_counterfactuals(world: World) -> tuple[Counterfactual, ...]:
    """Smallest sufficient changes for an infeasible request, fewest first; empty when no three changes are enough."""
    candidates = promising(world)
    for size in range(1, MOST_CHANGES + 1):
        ways: dict[tuple[ChangeKind, ...], list[_Way]] = {}
        for (kinds, given), offers in change_sets(world, candidates, size).items():
            for way in _ways(world, kinds, given, offers):
                ways.setdefault(kinds, []).append(way)
        found = [result for kinds in sorted(ways, key=_kinds_order) for result in _verified(world, ways[kinds])]
        if found:
            return tuple(found)
    return ()


_KIND_ORDER = {kind: index for index, kind in enumerate(ChangeKind)}


def _kinds_order(kinds: tuple[ChangeKind, ...]) -> tuple[int, ...]:
    return tuple(_KIND_ORDER[kind] for kind in kinds)


def _ways(
    world: World, kinds: tuple[ChangeKind, ...], given: tuple[Change, ...], offers: set[OfferKey]
) -> Iterator[_Way]:
    """For each offer, the smallest values with which these kinds of change make a plan of it possible."""
    waits = [Change(_C.WAIT, Fallback.WAIT.value)] if _C.WAIT in kinds else []
    if _C.DEVICES not in kinds:
        for _, plan in _plans(world, kinds, (*given, *waits), offers):
            yield from _way(world, kinds, (*given, *waits), plan)
        return
    left = set(offers)
    for devices in _fewer_devices(world):
        fixed = (*given, Change(_C.DEVICES, devices), *waits)
        for offer, plan in list(_plans(world, kinds, fixed, left)):
            left.discard(offer)
            yield from _way(world, kinds, fixed, plan)
        if len(left) < len(offers):
            return  # a smaller number would be the larger change


def _fewer_devices(world: World) -> Iterator[int]:
    most = max(offer.capacity for site in world.sites for pool in site.pools for offer in pool.offers)
    devices, tried = min(world.request.resources.devices - 1, most), 0
    while devices >= 1:
        yield devices
        tried += 1
        devices = devices - 1 if tried < _DEVICE_STEPS else devices // 2


def _plans(
    world: World, kinds: tuple[ChangeKind, ...], fixed: tuple[Change, ...], offers: set[OfferKey]
) -> Iterator[tuple[OfferKey, Plan]]:
    """Possible plans of these offers once ``fixed`` is changed and the measured kinds are without limit."""
    request, snapshot = apply_changes(world.request, world.snapshot, fixed)
    if _C.DEADLINE in kinds:
        request = replace(request, deadline_at=None)
    if _C.BUDGET in kinds:
        request = replace(request, budget_micro=None)
    if _C.TENANT_BUDGET in kinds:
        snapshot = with_limit(request, snapshot, _UNLIMITED_MICRO)
    for assessment in assessments(World.of(request, snapshot), offers):
        if not assessment.fixed_reasons:
            for plan in assessment.plans:
                if not plan.reasons:
                    yield (assessment.site.name, assessment.offer.name), plan


def _way(world: World, kinds: tuple[ChangeKind, ...], fixed: tuple[Change, ...], plan: Plan) -> Iterator[_Way]:
    """Put exact figures on the measured kinds; nothing when an account cannot hold that much."""
    changes = {change.kind: change for change in fixed}
    limit_micro = world.balance.limit_micro + plan.needed_micro - world.balance.available_micro
    if max(plan.needed_micro, limit_micro) > _UNLIMITED_MICRO:
        return
    measured = {
        _C.BUDGET: plan.needed_micro,
        _C.TENANT_BUDGET: limit_micro,
        _C.DEADLINE: float(math.ceil(plan.finish_high_at)),
    }
    changes |= {kind: Change(kind, measured[kind]) for kind in kinds if kind in measured}
    yield _Way(tuple(changes[kind] for kind in kinds), plan)


def _verified(world: World, ways: list[_Way]) -> Iterator[Counterfactual]:
    """The smallest ways of one set of kinds that hold when decided again.

    Each choice without an order (a country, a device kind) gets its own smallest way; the cheapest few are told.
    """
    smallest: dict[tuple[Change, ...], Counterfactual] = {}
    for way in sorted(ways, key=_Way.order):
        choice = tuple(change for change in way.changes if change.kind in _UNORDERED)
        winner = None if choice in smallest else _decide_again(world, way.changes)
        if winner is not None and winner.finish_at is not None:
            smallest[choice] = Counterfactual(
                way.changes, winner.site, winner.offer, winner.cost.total_micro, winner.finish_at
            )
    told = sorted(smallest.items(), key=lambda item: (item[1].cost_micro, item[1].finish_at, _names(item[0])))
    yield from (counterfactual for _, counterfactual in told[:MOST_ALTERNATIVES])


def _names(changes: tuple[Change, ...]) -> tuple[str, ...]:
    return tuple(str(change.value) for change in changes)


def _decide_again(world: World, changes: tuple[Change, ...]) -> Candidate | None:
    return pick(World.of(*apply_changes(world.request, world.snapshot, changes)))[0]

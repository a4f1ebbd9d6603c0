"""Which changes could remove which reasons: narrows the search for counterfactuals to what has a chance.

Every plan of every offer breaks some set of constraints. A set of changes can only make that plan possible when each
of its reasons is touched by one of the changes, so only such sets are tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations, product

from infra.core.jurisdictions import permits
from infra.core.placement.candidates import Assessment, assessments
from infra.core.placement.decision import Change, ChangeKind, Reason, ReasonCode
from infra.core.placement.world import World
from infra.core.workload import Fallback

OfferKey = tuple[str, str]
"""(site, offer)."""

ChangeSet = tuple[tuple[ChangeKind, ...], tuple[Change, ...]]
"""Kinds of change to try together, and the values of those that an offer itself gives (its country, its memory…)."""

_C, _R = ChangeKind, ReasonCode
MEASURED = frozenset({_C.BUDGET, _C.TENANT_BUDGET, _C.DEADLINE})
"""Kinds whose smallest value is read off a plan."""

_SOURCES = frozenset({_C.RESIDENCY, _C.TRUST_ZONE})
"""May let a run read from a copy that lies where it may not be read today: nearer, cheaper, or the only one."""

_SIZE = frozenset({_C.DEVICES}) | _SOURCES
_HELPS: dict[ReasonCode, frozenset[ChangeKind]] = {
    _R.RESIDENCY_EXCLUDED: frozenset({_C.RESIDENCY}),
    _R.TRUST_ZONE_TOO_LOW: frozenset({_C.TRUST_ZONE}),
    _R.PURCHASE_NOT_ALLOWED: frozenset({_C.PURCHASE}),
    _R.DEVICE_KIND_MISMATCH: frozenset({_C.DEVICE_KIND}),
    _R.MEMORY_TOO_SMALL: frozenset({_C.MEMORY}),
    _R.DATASET_UNREACHABLE: _SOURCES,
    _R.CAPACITY_TOO_SMALL: frozenset({_C.DEVICES}),
    _R.CAPACITY_BUSY: _SIZE | {_C.WAIT, _C.DEADLINE},
    _R.ESTIMATE_UNKNOWN: _SIZE,
    _R.DEADLINE_MISSED: _SIZE | {_C.DEADLINE},
    # Waiting or a later deadline opens cheaper price windows; fewer devices waste less.
    _R.BUDGET_RUN_EXCEEDED: _SIZE | {_C.BUDGET, _C.WAIT, _C.DEADLINE},
    _R.BUDGET_TENANT_EXCEEDED: _SIZE | {_C.TENANT_BUDGET, _C.WAIT, _C.DEADLINE},
    # Only where the policy looks at the start: its windows and what it needs.
    _R.POLICY_FORBIDS: _SIZE | {_C.WAIT, _C.DEADLINE},
}
"""Kinds of change that can remove a reason. Reasons that are missing here no change of the request removes."""


def promising(world: World) -> list[tuple[Assessment, frozenset[ReasonCode]]]:
    """Each offer with each set of codes that a plan of it breaks, where changes could remove all of them."""
    found = []
    hopeless = frozenset() if world.snapshot.policy.timed else frozenset({_R.POLICY_FORBIDS})
    for assessment in assessments(world):
        fixed = assessment.fixed_reasons
        broken = {_codes(fixed + plan.reasons) for plan in assessment.plans} or {_codes(fixed)}
        if not any(("why", "NO_RATE") in item.params for item in fixed):
            found += [(assessment, codes) for codes in broken if codes <= _HELPS.keys() - hopeless]
    return found


def _codes(reasons: tuple[Reason, ...]) -> frozenset[ReasonCode]:
    return frozenset(item.code for item in reasons)


def change_sets(
    world: World, candidates: list[tuple[Assessment, frozenset[ReasonCode]]], size: int
) -> dict[ChangeSet, set[OfferKey]]:
    """Sets of ``size`` changes that could help, and the offers that each could help."""
    impossible = frozenset(_impossible(world))
    countries, zones = _misplaced(world)
    sets: dict[ChangeSet, set[OfferKey]] = {}
    for assessment, codes in candidates:
        site, offer = assessment.site, assessment.offer
        values: dict[ChangeKind, set[str | float]] = {
            _C.RESIDENCY: countries | ({site.jurisdiction} if _R.RESIDENCY_EXCLUDED in codes else set()),
            _C.TRUST_ZONE: zones | ({site.trust_zone.value} if _R.TRUST_ZONE_TOO_LOW in codes else set()),
            _C.PURCHASE: {offer.purchase.value},
            _C.DEVICE_KIND: {offer.device},
            _C.MEMORY: {offer.memory_gb},
        }
        settled = bool(assessment.plans) and not countries and not zones
        for kinds in _kinds_that_help(codes, size, settled):
            if impossible.isdisjoint(kinds):
                given_kinds = [kind for kind in kinds if kind in values]
                for combination in product(*(sorted(values[kind], key=str) for kind in given_kinds)):
                    given = tuple(Change(kind, value) for kind, value in zip(given_kinds, combination, strict=True))
                    sets.setdefault((kinds, given), set()).add((site.name, offer.name))
    return sets


@cache
def _kinds_that_help(codes: frozenset[ReasonCode], size: int, settled: bool) -> tuple[tuple[ChangeKind, ...], ...]:
    """Sets of kinds that touch every code.

    Args:
        settled: Whether the plan will stay as it is. If not, time, money or free devices may turn out to be short.
    """
    unforeseen = frozenset() if settled else MEASURED | {_C.DEVICES, _C.WAIT}
    useful = unforeseen.union(*(_HELPS[code] for code in codes))
    ordered = [kind for kind in ChangeKind if kind in useful]
    return tuple(
        kinds for kinds in combinations(ordered, size) if all(not _HELPS[code].isdisjoint(kinds) for code in codes)
    )


def _impossible(world: World) -> Iterator[ChangeKind]:
    """Kinds of change that this request has nothing for."""
    request = world.request
    if request.deadline_at is None:
        yield _C.DEADLINE
    if request.budget_micro is None:
        yield _C.BUDGET
    if Fallback.WAIT in request.fallbacks:
        yield _C.WAIT
    if request.resources.devices == 1:
        yield _C.DEVICES


def _misplaced(world: World) -> tuple[set[str | float], set[str | float]]:
    """Countries and zones of copies that lie where the dataset's own rules do not let them be read."""
    countries: set[str | float] = set()
    zones: set[str | float] = set()
    for dataset in world.datasets:
        for name in dataset.copies:
            site = world.site_by_name.get(name)
            if site is not None and name not in world.down:
                if not permits(dataset.residency, site.jurisdiction):
                    countries.add(site.jurisdiction)
                if site.trust_zone.rank < dataset.trust_zone.rank:
                    zones.add(site.trust_zone.value)
    return countries, zones

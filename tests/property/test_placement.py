"""What always holds of decisions, whatever the request and the snapshot (invariants I1, I2, I5 and optimality)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from infra.core.canonical import canonical
from infra.core.inventory import TrustZone
from infra.core.jurisdictions import permits
from infra.core.placement.changes import apply_changes
from infra.core.placement.constraints import cheapest_source
from infra.core.placement.decide import decide
from infra.core.placement.decision import Change, ChangeKind, Counterfactual, Decision, Outcome, ReasonCode
from infra.core.placement.snapshot import Snapshot
from infra.core.placement.world import World
from infra.core.workload import Fallback, WorkloadRequest
from tests.property.oracle import MONEY_BAND, allowed_countries, verdicts, zone_number
from tests.property.strategies import problems

Check = Callable[[WorkloadRequest, Snapshot, Decision], None]

COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


def residency_holds(request: WorkloadRequest, snapshot: Snapshot, decision: Decision) -> None:
    """I1: a chosen site may read every dataset, and so may every site that it is read from."""
    for candidate in decision.candidates:
        if not candidate.feasible:
            continue
        site = next(site for site in snapshot.sites if site.name == candidate.site)
        assert not request.residency or site.jurisdiction in allowed_countries(request.residency)
        assert zone_number(request.trust_zone) <= zone_number(site.trust_zone)
        world = World.of(request, snapshot)
        for ref in request.datasets:
            version = next(v for v in snapshot.datasets if v.name == ref.name)
            source = cheapest_source(version, site, world.site_by_name, world.down)
            assert source is not None
            assert source.name in version.copies
            for reader in (site, source):
                assert reader.jurisdiction in allowed_countries(version.residency)
                assert zone_number(version.trust_zone) <= zone_number(reader.trust_zone)


def budget_holds(request: WorkloadRequest, snapshot: Snapshot, decision: Decision) -> None:
    """I2: what a feasible candidate may cost fits the run's budget and what the tenant has left."""
    available = next(b for b in snapshot.balances if b.tenant == request.tenant).available_micro
    for candidate in decision.candidates:
        assert candidate.cost.total_micro <= candidate.cap_micro or not candidate.start_at
        assert min(candidate.cost.compute_micro, candidate.cost.boot_micro, candidate.cost.rework_micro) >= 0
        if candidate.feasible:
            assert candidate.cap_micro <= available
            assert request.budget_micro is None or candidate.cap_micro <= request.budget_micro
            assert request.deadline_at is None or candidate.finish_high_at <= request.deadline_at


def form_holds(request: WorkloadRequest, snapshot: Snapshot, decision: Decision) -> None:
    """One candidate per offer; the outcome, the choice and the reasons fit each other."""
    sold = {(s.name, p.name, o.name) for s in snapshot.sites for p in s.pools for o in p.offers}
    told = [(c.site, c.pool, c.offer) for c in decision.candidates]
    assert len(told) == len(set(told))
    assert set(told) == sold
    chosen = decision.chosen
    if chosen is None:
        assert decision.outcome is Outcome.INFEASIBLE
        assert decision.binding
        assert all(c.reasons and not c.feasible for c in decision.candidates)
        return
    assert decision.candidates[0] == chosen
    assert not chosen.reasons
    assert not decision.counterfactuals
    assert not decision.binding
    assert (decision.outcome is Outcome.WAIT) == (chosen.start_at > snapshot.now_at)
    assert decision.outcome is Outcome.RUN or Fallback.WAIT in request.fallbacks
    assert chosen.finish_at == pytest.approx(snapshot.now_at + chosen.time.total_s, abs=1e-3)
    for other in decision.candidates[1:]:
        assert other.feasible == (other.reasons[0].code is ReasonCode.NOT_CHEAPEST)
        if other.feasible:
            assert (other.weight_micro, other.finish_at) >= (chosen.weight_micro, chosen.finish_at)


def order_does_not_matter(request: WorkloadRequest, snapshot: Snapshot, decision: Decision) -> None:
    """I5: the same bytes again, also with everything in another order."""
    assert canonical(decide(request, snapshot)) == canonical(decision)
    generator = random.Random(7)

    def shuffled(values: tuple) -> tuple:
        return tuple(generator.sample(values, len(values)))

    sites = tuple(
        replace(s, pools=shuffled(tuple(replace(p, offers=shuffled(p.offers)) for p in s.pools)))
        for s in shuffled(snapshot.sites)
    )
    other = replace(
        snapshot,
        sites=sites,
        datasets=shuffled(
            tuple(replace(d, copies=shuffled(d.copies), residency=shuffled(d.residency)) for d in snapshot.datasets)
        ),
        balances=shuffled(snapshot.balances),
        rates=shuffled(snapshot.rates),
        loads=shuffled(tuple(replace(x, releases=shuffled(x.releases)) for x in snapshot.loads)),
        health=shuffled(snapshot.health),
    )
    asked = replace(
        request,
        datasets=shuffled(request.datasets),
        purchases=shuffled(request.purchases),
        residency=shuffled(request.residency),
    )
    assert canonical(decide(asked, other)) == canonical(decision)


def oracle_agrees(request: WorkloadRequest, snapshot: Snapshot, decision: Decision) -> None:
    """Feasible exactly when the plain second opinion says so, and nothing that it finds weighs less."""
    found = verdicts(request, snapshot)
    possible = [v for v in found if v.possible]
    if decision.chosen is None:
        assert not possible
        return
    same = [v for v in found if (v.site, v.offer) == (decision.chosen.site, decision.chosen.offer)]
    assert any(v.possible is not False and abs(float(v.start_at) - decision.chosen.start_at) < 1e-3 for v in same), (
        "the oracle finds the choice impossible"
    )
    if possible:
        assert decision.chosen.weight_micro <= min(v.weight for v in possible) + MONEY_BAND


def relaxing_never_costs(request: WorkloadRequest, snapshot: Snapshot, decision: Decision) -> None:
    """More money, more time or a wider residency of the request never makes the choice weigh more: cost, and what the wait is worth."""
    if decision.chosen is None:
        return
    wider = [
        replace(request, budget_micro=None),
        replace(request, deadline_at=None),
        replace(request, residency=()),
        replace(request, residency=(*request.residency, "CH")) if request.residency else request,
    ]
    if request.deadline_at is not None:
        wider.append(replace(request, deadline_at=request.deadline_at + 777.0))
        wider.append(replace(request, deadline_probability=0.6))
    if request.budget_micro is not None:
        wider.append(replace(request, budget_micro=request.budget_micro + 5_000))
    for relaxed in wider:
        again = decide(relaxed, snapshot).chosen
        assert again is not None
        assert again.weight_micro <= decision.chosen.weight_micro


def counterfactuals_hold(request: WorkloadRequest, snapshot: Snapshot, decision: Decision) -> None:
    """Each set of changes is enough, each of its changes is needed, and none could be smaller."""
    for found in decision.counterfactuals:
        again = decide(*apply_changes(request, snapshot, found.changes))
        assert again.chosen is not None
        assert (again.chosen.site, again.chosen.offer) == (found.site, found.offer)
        assert (again.chosen.cost.total_micro, again.chosen.finish_at) == (found.cost_micro, found.finish_at)
        for index, change in enumerate(found.changes):
            others = found.changes[:index] + found.changes[index + 1 :]
            assert decide(*apply_changes(request, snapshot, others)).chosen is None
            for smaller in _smaller(request, snapshot, found, change):
                assert decide(*apply_changes(request, snapshot, (*others, smaller))).chosen is None, (found, smaller)


def _smaller(request: WorkloadRequest, snapshot: Snapshot, found: Counterfactual, change: Change) -> list[Change]:
    """Changes of the same kind that ask for a little less; none where the kind has no order."""
    value, kind = change.value, change.kind
    if kind in (ChangeKind.BUDGET, ChangeKind.TENANT_BUDGET):
        return [Change(kind, value - 1)]
    if kind is ChangeKind.DEADLINE:
        return [Change(kind, value - 1.0)]
    if kind is ChangeKind.DEVICES:
        return [Change(kind, more) for more in range(value + 1, request.resources.devices)]
    if kind is ChangeKind.MEMORY:
        return [Change(kind, value + 0.001)]
    if kind is ChangeKind.TRUST_ZONE:
        needed = max(
            zone_number(zone)
            for zone in [request.trust_zone, *(v.trust_zone for v in snapshot.datasets if _read(request, v.name))]
        )
        return [Change(kind, z.value) for z in TrustZone if zone_number(value) < zone_number(z) < needed]
    return []


def _read(request: WorkloadRequest, name: str) -> bool:
    return any(ref.name == name for ref in request.datasets)


def single_changes_are_found(request: WorkloadRequest, snapshot: Snapshot, decision: Decision) -> None:
    """Whatever one change would be enough is told, and only single changes are told then."""
    if decision.chosen is not None:
        assert not decision.counterfactuals
        return
    told = {found.changes[0].kind for found in decision.counterfactuals if len(found.changes) == 1}
    tries = {
        ChangeKind.BUDGET: replace(request, budget_micro=None),
        ChangeKind.DEADLINE: replace(request, deadline_at=None),
        ChangeKind.WAIT: replace(request, fallbacks=(Fallback.WAIT,)),
    }
    for kind, relaxed in tries.items():
        assert (decide(relaxed, snapshot).chosen is not None) == (kind in told), kind
    if told:
        assert all(len(found.changes) == 1 for found in decision.counterfactuals)
    for found in decision.counterfactuals:
        for change in found.changes:
            if change.kind is ChangeKind.RESIDENCY:
                assert not permits(request.residency, change.value) or any(
                    not permits(v.residency, change.value) for v in snapshot.datasets if _read(request, v.name)
                )


CHECKS: list[Check] = [
    residency_holds,
    budget_holds,
    form_holds,
    order_does_not_matter,
    oracle_agrees,
    relaxing_never_costs,
    counterfactuals_hold,
    single_changes_are_found,
]


def hold_all(problem: tuple[WorkloadRequest, Snapshot]) -> None:
    request, snapshot = problem
    decision = decide(request, snapshot)
    for check in CHECKS:
        check(request, snapshot, decision)


@settings(max_examples=100, **COMMON)
@given(problems())
def test_decisions_hold_all_invariants(problem):
    hold_all(problem)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=2000, **COMMON)
@given(problems())
def test_thousands_of_decisions_hold_all_invariants(problem):
    hold_all(problem)

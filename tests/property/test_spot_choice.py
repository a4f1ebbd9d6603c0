"""What always holds where the spot policy decides a placement, whatever is known of spot capacity."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.core.canonical import canonical
from infra.core.inventory import Purchase
from infra.core.placement.decide import decide
from infra.core.placement.decision import Outcome, ReasonCode
from infra.core.placement.snapshot import Snapshot
from infra.core.spot.sightings import SpotCapacity
from infra.core.workload import WorkloadRequest
from infra.documents import snapshot_from_json
from tests.property.strategies import NOW_AT, problems
from tests.property.test_placement import budget_holds, residency_holds


@st.composite
def seen_problems(draw: st.DrawFn) -> tuple[WorkloadRequest, Snapshot]:
    """A problem with a deadline, and something known of each spot offer's capacity."""
    request, snapshot = draw(problems())
    offers = [
        (site.name, offer.name)
        for site in snapshot.sites
        for pool in site.pools
        for offer in pool.offers
        if offer.purchase is Purchase.SPOT
    ]
    known = []
    for site, offer in offers:
        seen_s = draw(st.sampled_from((0.0, 60.0, 7200.0)))
        age_s = draw(st.sampled_from((1.0, 900.0, 40_000.0)))
        seen_at = NOW_AT - seen_s
        known.append(SpotCapacity(site, offer, draw(st.booleans()), seen_at - age_s, seen_at, 1.5, 0.5))
    after_s = draw(st.sampled_from((900.0, 4000.0, 20_000.0)))
    asked = replace(request, deadline_at=NOW_AT + after_s, checkpointed=True, purchases=tuple(Purchase))
    return asked, replace(snapshot, spot=tuple(known))


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(seen_problems())
def test_the_policy_chooses_among_what_is_feasible_and_says_so(problem: tuple[WorkloadRequest, Snapshot]) -> None:
    request, snapshot = problem
    decision = decide(request, snapshot)
    without = decide(request, replace(snapshot, spot=()))
    residency_holds(request, snapshot, decision)
    budget_holds(request, snapshot, decision)
    assert (decision.outcome is Outcome.INFEASIBLE) == (without.outcome is Outcome.INFEASIBLE)
    again = decide(request, snapshot_from_json(canonical(snapshot)))
    assert canonical(again) == canonical(decision)
    assert canonical(decide(request, replace(snapshot, spot=snapshot.spot[::-1]))) == canonical(decision)
    if decision.chosen is None:
        return
    assert decision.candidates[0] == decision.chosen
    assert decision.chosen.feasible
    assert (decision.outcome is Outcome.WAIT) == (decision.chosen.start_at > snapshot.now_at)
    if decision.outcome is Outcome.WAIT:
        assert snapshot.now_at < decision.wait_until_at <= decision.chosen.start_at
    feasible = [candidate for candidate in decision.candidates[1:] if candidate.feasible]
    codes = {candidate.reasons[0].code for candidate in feasible}
    assert codes <= {ReasonCode.NOT_CHEAPEST} or codes == {ReasonCode.SPOT_POLICY}

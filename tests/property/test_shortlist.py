"""The figures that all offers get at once are those of working out each one by itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from infra.core.placement.candidates import all_candidates, by_cost
from infra.core.placement.shortlist import choose, shortlist
from infra.core.placement.snapshot import Snapshot
from infra.core.placement.world import World
from infra.core.workload import WorkloadRequest
from tests.property.strategies import problems
from tests.property.test_placement import COMMON


@pytest.mark.slow
@given(problems())
@settings(max_examples=400, **COMMON)
def test_columns_agree_with_candidates(problem: tuple[WorkloadRequest, Snapshot]) -> None:
    world = World.of(*problem)
    listed = shortlist(world)
    place_of = {row: place for place, row in enumerate(listed.rows.tolist())}
    for candidate in all_candidates(world):
        row = listed.market.row_of[candidate.site, candidate.offer]
        kept = world.queue.get((candidate.site, candidate.offer))
        _, _, offer = listed.market.rows[row]
        begun_again = offer.interruptions_per_hour and not world.request.checkpointed
        if candidate.feasible:
            weight_micro, finish_at = listed.weight_micro[place_of[row]], listed.finish_at[place_of[row]]
            assert weight_micro <= candidate.weight_micro
            assert finish_at <= candidate.finish_at
            bound = offer.price.windows or kept or begun_again or not listed.market.stays_exact(candidate.devices)
            if bound or candidate.start_at in world.snapshot.policy.edges(world.now_at, candidate.start_at):
                continue
            assert (weight_micro, finish_at) == (candidate.weight_micro, candidate.finish_at)
        elif row in place_of:
            # What the columns leave to the full look: the policy, and prices that change within the day.
            codes = {reason.code.value for reason in candidate.reasons}
            assert codes == {"POLICY_FORBIDS"} or offer.price.windows or kept or begun_again


@pytest.mark.slow
@given(problems())
@settings(max_examples=400, **COMMON)
def test_the_choice_is_the_least_of_all_candidates(problem: tuple[WorkloadRequest, Snapshot]) -> None:
    world = World.of(*problem)
    feasible = [candidate for candidate in all_candidates(world) if candidate.feasible]
    assert choose(world, shortlist(world)) == min(feasible, key=by_cost, default=None)

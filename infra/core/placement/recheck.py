"""The chosen offer once more: from all that the policy may see, without classes, memory or anything else that is fast."""

from __future__ import annotations

from infra.core.placement.candidates import assess_at
from infra.core.placement.constraints import view_site
from infra.core.placement.decision import Candidate
from infra.core.placement.snapshot import Snapshot
from infra.core.placement.world import World
from infra.core.workload import WorkloadRequest


def forbidding_in_full(request: WorkloadRequest, snapshot: Snapshot, chosen: Candidate) -> tuple[str, ...]:
    """Ids of the policies that forbid what was chosen; empty unless something is broken."""
    world = World.of(request, snapshot)
    assert chosen.start_at is not None, "what is chosen has a start"
    assessment = assess_at(world, (chosen.site, chosen.offer), chosen.start_at)
    assert assessment is not None, "what is chosen can start"
    (plan,) = assessment.plans
    moved = view_site(world, assessment.site).moved
    answer = world.question.answer_in_full(assessment.site, assessment.offer, plan.start_at, plan.needed_micro, moved)
    return answer.forbids

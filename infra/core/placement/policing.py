"""The policy's say in a decision: which offers and which starts it forbids, and which later starts it allows.

A policy that mentions neither windows nor money says the same of every start: its reason belongs to the offer. Else
each start has its own, and the edges of windows are starts worth looking at.
"""

from __future__ import annotations

from collections.abc import Sequence

from infra.core.inventory import Offer, Site
from infra.core.placement.decision import Reason, ReasonCode
from infra.core.placement.world import World
from infra.core.policy_facts import Moved


def policy_reasons(
    world: World, site: Site, offer: Offer, moved: Moved, at: float, needed_micro: int = 0
) -> list[Reason]:
    """The reason against a start at an instant that needs so much, if there is one."""
    policy = world.snapshot.policy
    rules = world.question.forbidding(policy.class_of(site, offer), at, needed_micro, moved)
    return [forbidden_by(rules)] if rules else []


def forbidden_by(rules: tuple[str, ...]) -> Reason:
    return Reason(ReasonCode.POLICY_FORBIDS, (("rules", rules),))


def window_starts(
    world: World, site: Site, offer: Offer, moved: Moved, earliest_at: float, near_at: float, far_at: float
) -> Sequence[float]:
    """Later starts that a window may allow: each edge until ``near_at``, and when no start until then is allowed the
    first one until ``far_at`` that is."""
    edges = world.snapshot.policy.edges(earliest_at, far_at)
    near = [edge for edge in edges if edge <= near_at]
    if len(near) == len(edges):
        return near

    def allowed(at: float) -> bool:
        return not policy_reasons(world, site, offer, moved, at)

    if any(allowed(at) for at in (earliest_at, *near)):
        return near
    return [*near, *(edge for edge in edges[len(near) :] if allowed(edge))][: len(near) + 1]

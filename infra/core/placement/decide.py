"""The decision: one pure function of a request and a snapshot.

Every offer of every site becomes one candidate at its best start. A candidate that breaks a hard constraint keeps
all the reasons and is out. Of the others the cheapest wins, then the one that finishes first, then the first by
site and offer. If its start is now the outcome is *run*, if it is later *wait*. If none is left the outcome is
*infeasible*, with the constraints that bind and the smallest changes that would help.
"""

from __future__ import annotations

from dataclasses import replace

from infra.core.placement.constraints import reason
from infra.core.placement.counterfactuals import find_counterfactuals
from infra.core.placement.decision import Candidate, Decision, Outcome, ReasonCode
from infra.core.placement.optimise import all_candidates, by_cost
from infra.core.placement.snapshot import Snapshot
from infra.core.placement.world import World
from infra.core.workload import WorkloadRequest

ENGINE = "headrace-placement/3"
"""Changes whenever equal inputs may give another decision."""


def decide(request: WorkloadRequest, snapshot: Snapshot) -> Decision:
    """Decide where and when a run goes.

    The same input gives the same decision, byte for byte, whatever the order of sites, pools, offers, loads, rates,
    balances and datasets in the snapshot.

    Raises:
        InputError: ``DEADLINE_PAST``, ``UNKNOWN_TENANT``, ``UNKNOWN_DATASET``, ``UNKNOWN_DEVICE`` or
            ``DUPLICATE_ENTRY``. That nothing fits is no error but the outcome *infeasible*.
    """
    world = World.of(request, snapshot)
    candidates = all_candidates(world)
    feasible = sorted((candidate for candidate in candidates if candidate.feasible), key=by_cost)
    rejected = sorted((candidate for candidate in candidates if not candidate.feasible), key=_nearness)
    if not feasible:
        return Decision(
            outcome=Outcome.INFEASIBLE,
            chosen=None,
            wait_until_at=None,
            candidates=tuple(rejected),
            binding=_binding(rejected),
            counterfactuals=find_counterfactuals(world),
            engine=ENGINE,
        )
    chosen, *others = feasible
    later = chosen.start_at is not None and chosen.start_at > snapshot.now_at
    return Decision(
        outcome=Outcome.WAIT if later else Outcome.RUN,
        chosen=chosen,
        wait_until_at=chosen.start_at if later else None,
        candidates=(chosen, *(_not_cheapest(other, chosen) for other in others), *rejected),
        binding=(),
        counterfactuals=(),
        engine=ENGINE,
    )


def _nearness(candidate: Candidate) -> tuple[int, tuple[int, float, str, str]]:
    """Order of rejected candidates: fewest kinds of reasons first, then as if they could be chosen."""
    return len({item.code for item in candidate.reasons}), by_cost(candidate)


def _not_cheapest(candidate: Candidate, chosen: Candidate) -> Candidate:
    later_s = (candidate.finish_at or 0.0) - (chosen.finish_at or 0.0)
    extra_micro = candidate.cost.total_micro - chosen.cost.total_micro
    return replace(candidate, reasons=(reason(ReasonCode.NOT_CHEAPEST, extra_micro=extra_micro, later_s=later_s),))


def _binding(rejected: list[Candidate]) -> tuple[ReasonCode, ...]:
    """Codes of the candidates that come closest: those whose set of codes holds no other candidate's set."""
    sets = {frozenset(item.code for item in candidate.reasons) for candidate in rejected}
    nearest = [codes for codes in sets if not any(other < codes for other in sets)]
    return tuple(code for code in ReasonCode if any(code in codes for codes in nearest))

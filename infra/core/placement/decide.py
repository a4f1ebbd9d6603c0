"""The decision: one pure function of a request and a snapshot.

Every offer of every site becomes one candidate at its best start. A candidate that breaks a hard constraint keeps
all the reasons and is out. Of the others the cheapest wins, where a wait counts as what it is worth to the request, then
the one that finishes first, then the first by site and offer. Among spot, on-demand, owned and a pause the spot policy chooses where
it enters (see ``spot_choice``). If the start is now the outcome is *run*, if it is later *wait*. If none is left the outcome is
*infeasible*, with the constraints that bind and the smallest changes that would help.

The winner is found by looking at all offers at once (see ``shortlist``). What is told beside it, the other candidates with their
reasons and the smallest changes, follows from the same input and is worked out when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from infra.core.deferred import Deferred
from infra.core.placement.candidates import all_candidates, by_cost
from infra.core.placement.constraints import reason
from infra.core.placement.counterfactuals import find_counterfactuals
from infra.core.placement.decision import Candidate, Decision, Outcome, ReasonCode
from infra.core.placement.snapshot import Snapshot
from infra.core.placement.spot_choice import Ruling, pick
from infra.core.placement.world import World
from infra.core.workload import WorkloadRequest

ENGINE = "headrace-placement/8"
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
    chosen, ruling = pick(world)
    if chosen is None:
        rejected = Deferred(lambda: tuple(sorted(all_candidates(world), key=_nearness)))
        return Decision(
            outcome=Outcome.INFEASIBLE,
            chosen=None,
            wait_until_at=None,
            candidates=rejected,
            binding=Deferred(lambda: _binding(rejected)),
            counterfactuals=Deferred(lambda: find_counterfactuals(world)),
            engine=ENGINE,
        )
    later = chosen.start_at is not None and chosen.start_at > snapshot.now_at
    return Decision(
        outcome=Outcome.WAIT if later else Outcome.RUN,
        chosen=chosen,
        wait_until_at=_until(chosen, ruling) if later else None,
        candidates=Deferred(lambda: _beside(world, chosen, ruling)),
        binding=(),
        counterfactuals=(),
        engine=ENGINE,
    )


def _until(chosen: Candidate, ruling: Ruling | None) -> float | None:
    return chosen.start_at if ruling is None or ruling.wait_until_at is None else ruling.wait_until_at


def _beside(world: World, chosen: Candidate, ruling: Ruling | None) -> tuple[Candidate, ...]:
    """Every candidate with its reasons: the chosen one, the other feasible ones by cost, the rejected by nearness."""
    others = [each for each in all_candidates(world) if (each.site, each.offer) != (chosen.site, chosen.offer)]
    feasible = sorted((each for each in others if each.feasible), key=by_cost)
    rejected = sorted((each for each in others if not each.feasible), key=_nearness)
    if ruling is not None:
        return (chosen, *(_ruled_out(each, ruling) for each in feasible), *rejected)
    return (chosen, *(_not_cheapest(each, chosen) for each in feasible), *rejected)


def _nearness(candidate: Candidate) -> tuple[int, tuple[int, float, str, str]]:
    """Order of rejected candidates: fewest kinds of reasons first, then as if they could be chosen."""
    return len({item.code for item in candidate.reasons}), by_cost(candidate)


def _ruled_out(candidate: Candidate, ruling: Ruling) -> Candidate:
    """A feasible candidate that the spot policy did not take; without a figure when the guard or its price left it out."""
    expected_micro = ruling.compared.get((candidate.site, candidate.offer))
    told = reason(
        ReasonCode.SPOT_POLICY,
        choice=ruling.choice.value,
        forced=int(ruling.forced),
        chosen_micro=ruling.expected_micro,
        **({} if expected_micro is None else {"expected_micro": expected_micro}),
    )
    return replace(candidate, reasons=(told,))


def _not_cheapest(candidate: Candidate, chosen: Candidate) -> Candidate:
    later_s = (candidate.finish_at or 0.0) - (chosen.finish_at or 0.0)
    extra_micro = candidate.cost.total_micro - chosen.cost.total_micro
    wait_micro = candidate.wait_micro - chosen.wait_micro
    return replace(
        candidate,
        reasons=(
            reason(
                ReasonCode.NOT_CHEAPEST,
                extra_micro=extra_micro,
                later_s=later_s,
                **({"wait_micro": wait_micro} if wait_micro else {}),
            ),
        ),
    )


def _binding(rejected: Sequence[Candidate]) -> tuple[ReasonCode, ...]:
    """Codes of the candidates that come closest: those whose set of codes holds no other candidate's set."""
    sets = {frozenset(item.code for item in candidate.reasons) for candidate in rejected}
    nearest = [codes for codes in sets if not any(other < codes for other in sets)]
    return tuple(code for code in ReasonCode if any(code in codes for codes in nearest))

"""Which offer wins, found without working out every candidate.

All offers are looked at as columns (see ``figures``): what breaks a hard constraint is out, the others have their cost and finish,
or bounds of both from below. The best row is worked out in full, policy and windows included, and the next one only while
its figures can still beat the best candidate found. Thousands of offers cost a few array operations and, as a rule, one or two
candidates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from infra.core.inventory import Purchase
from infra.core.placement.candidates import assess, best_candidate, by_cost
from infra.core.placement.constraints import view_site
from infra.core.placement.decision import Candidate, Reason, ReasonCode
from infra.core.placement.figures import figures
from infra.core.placement.market import Floats, Market, market_of
from infra.core.placement.world import World
from infra.core.policy import Policy, Settled

OUT = np.iinfo(np.int64).max
"""Cost of a row that cannot be chosen."""


@dataclass(frozen=True, slots=True, eq=False)
class Shortlist:
    """Weight and finish of the rows that may be chosen, at their best, as columns.

    Attributes:
        rows: Their rows in the market, ascending.
        weight_micro: Cost, and what the wait is worth: ``[rows] int64``; ``OUT`` where a full look showed that it may not
            be chosen. Exact, or a bound from below.
        finish_at: ``[rows] float64``; the earliest expected finish, likewise.
        candidates: What was worked out in full, by place.
    """

    market: Market
    rows: np.ndarray
    weight_micro: np.ndarray
    finish_at: Floats
    candidates: dict[int, Candidate] = field(default_factory=dict)


def shortlist(world: World) -> Shortlist:
    """The offers that break no hard constraint, as far as that can be seen from columns."""
    market = market_of(world.snapshot.sites)
    found = figures(world, market)
    return Shortlist(market, found.rows, found.weight_micro, found.finish_at)


def choose(world: World, listed: Shortlist) -> Candidate | None:
    """The candidate that wins; ``None`` when every offer breaks some constraint."""
    return next(iter(_best(world, listed, listed.weight_micro.copy(), 1)), None)


def cheapest(world: World, listed: Shortlist, purchase: Purchase, most: int) -> list[Candidate]:
    """The feasible candidates of one way of paying that weigh least, best first, ``most`` of them if there are."""
    paid_so = listed.market.purchases[purchase].take(listed.rows)
    return _best(world, listed, np.where(paid_so, listed.weight_micro, OUT), most)


def _best(world: World, listed: Shortlist, weight: np.ndarray, most: int) -> list[Candidate]:
    """The best ``most`` feasible candidates by these weights, which are used up."""
    best: list[Candidate] = []
    while weight.size:
        least = int(weight.min())
        if least == OUT:
            return best
        ties = np.flatnonzero(weight == least)
        # Of equal finishes the first: rows are sorted by name.
        place = int(ties[listed.finish_at[ties].argmin()])
        site, _, offer = listed.market.rows[listed.rows[place]]
        if len(best) == most and (least, float(listed.finish_at[place]), site.name, offer.name) >= by_cost(best[-1]):
            return best
        candidate = _candidate(world, listed, place)
        weight[place] = OUT
        if candidate.feasible:
            best = sorted([*best, candidate], key=by_cost)[:most]
            continue
        listed.weight_micro[place] = OUT
        for reason in candidate.reasons:
            if reason.code is ReasonCode.POLICY_FORBIDS:
                alike = _alike(world.snapshot.policy, reason, listed, place)
                weight[alike] = listed.weight_micro[alike] = OUT
    return best


def _candidate(world: World, listed: Shortlist, place: int) -> Candidate:
    found = listed.candidates.get(place)
    if found is None:
        site, pool, offer = listed.market.rows[listed.rows[place]]
        found = best_candidate(world, assess(world, site, pool, offer, view_site(world, site)))
        listed.candidates[place] = found
    return found


def _alike(policy: Policy, reason: Reason, listed: Shortlist, place: int) -> np.ndarray:
    """Places of the offers between which and the forbidden one the policy cannot tell, whenever they start."""
    settled = policy.settled(dict(reason.params)["rules"])
    if settled is Settled.NOTHING:
        return np.array([place])
    classes = _classes(listed.market, policy.text).take(listed.rows)
    alike = classes == classes[place]
    if settled is Settled.CLASS_AT_SITE:
        sites = listed.market.site.take(listed.rows)
        alike &= sites == sites[place]
    return np.flatnonzero(alike)


@lru_cache(maxsize=16)
def _classes(market: Market, text: str) -> np.ndarray:
    """``[offers] int64``: equal numbers for offers that a policy's text cannot tell apart."""
    policy, numbers = Policy("", text), {}
    found = [policy.class_of(site, offer) for site, _, offer in market.rows]
    return np.array([numbers.setdefault(each, len(numbers)) for each in found], dtype=np.int64)

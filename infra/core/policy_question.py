"""Asking a policy: one question for each request, one answer for each class of offers and each start.

Answers are remembered by everything that they depend on: the text, what it knows of the tenant, and what it mentions of
the offer and of the context. So they can be neither stale nor mixed up between versions, and a thousand offers that
differ in nothing that the text mentions cost one evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from infra.core.cedar import Answer, Program, entity
from infra.core.inventory import Offer, Purchase, Site, TrustZone
from infra.core.policy import (
    TIMED,
    OfferClass,
    Policy,
    TenantRules,
    coarse,
    few,
    known_of,
    limits_of,
    program_of,
    reader_of,
)
from infra.core.policy_facts import MICRO_PER_CENT, NOTHING_MOVED, OFFER_ATTRIBUTES, Facts, Moved, cents, percent
from infra.core.units import BYTES_PER_GB


@dataclass(slots=True)
class _Start:
    """Everything that a context is made from. Not frozen: one is made for each start of each offer."""

    policy: Policy
    facts: Facts
    moved: Moved
    windows: tuple[str, ...]
    needed_micro: int


_CONTEXT: dict[str, Callable[[_Start], Any]] = {
    "kind": lambda start: start.facts.kind,
    "datasets": lambda start: start.facts.datasets,
    "residency_tags": lambda start: start.facts.residency_tags,
    "needed_zone": lambda start: start.facts.needed_zone,
    "needed_rank": lambda start: TrustZone(start.facts.needed_zone).rank,
    "devices": lambda start: start.facts.devices,
    "priority": lambda start: start.facts.priority,
    "checkpointed": lambda start: start.facts.checkpointed,
    "windows": lambda start: start.windows,
    "cost_cents": lambda start: cents(start.needed_micro),
    "budget_percent": lambda start: percent(start.facts.committed_micro + start.needed_micro, start.facts.limit_micro),
    "moved": lambda start: start.moved.datasets,
    "egress_gb": lambda start: -(-start.moved.bytes // BYTES_PER_GB),
    "egress_cents": lambda start: cents(start.moved.egress_micro),
    "bursting_stopped": lambda start: start.policy.bursting_stopped,
}

CONTEXT_ATTRIBUTES = frozenset(_CONTEXT)
_OF_THE_SITE = frozenset({"moved", "egress_gb", "egress_cents"})


class Question:
    """A policy and a request. Made once for each decision, asked for each class of offers and each start.

    Attributes:
        tenant: What the policy knows of the request's tenant.
    """

    __slots__ = ("_fixed", "_known", "_limits", "_names", "_varying", "_windows", "facts", "policy", "tenant")

    def __init__(self, policy: Policy, facts: Facts) -> None:
        self.policy, self.facts, self.tenant = policy, facts, policy.tenant(facts.tenant)
        self._limits = limits_of(policy.program, self.tenant)
        self._names = _context_names(policy.program)
        self._varying = tuple(name for name in self._names if name in TIMED | _OF_THE_SITE)
        self._windows: dict[float, tuple[str, ...]] = {}
        fixed = _Start(policy, facts, NOTHING_MOVED, (), 0)
        self._fixed = {name: self._few(name, fixed) for name in self._names if name not in self._varying}
        self._known: dict[tuple[OfferClass, tuple[Any, ...]], Answer] = {}

    def forbidding(
        self, offer_class: OfferClass, at: float, needed_micro: int = 0, moved: Moved = NOTHING_MOVED
    ) -> tuple[str, ...]:
        """Ids of the policies that forbid a start, sorted; empty when it is allowed.

        Args:
            offer_class: Of :meth:`infra.core.policy.Policy.class_of`.
            at: Instant of the start.
            needed_micro: What the start needs in micro-dollars.
            moved: What would leave other sites.
        """
        return self.answer(offer_class, at, needed_micro, moved).forbids

    def answer(self, offer_class: OfferClass, at: float, needed_micro: int = 0, moved: Moved = NOTHING_MOVED) -> Answer:
        """As :meth:`forbidding`, with the policies that allow it."""
        varying: tuple[Any, ...] = ()
        if self._varying:
            start = _Start(self.policy, self.facts, moved, self._windows_at(at), needed_micro)
            varying = tuple([self._few(name, start) for name in self._varying])
        found = self._known.get((offer_class, varying))
        if found is None:
            values = self._fixed | dict(zip(self._varying, varying, strict=True))
            context = tuple(values[name] for name in self._names)
            found = _remembered(self.policy.text, self.tenant, offer_class, context)
            self._known[offer_class, varying] = found
        return found

    def answer_in_full(
        self, site: Site, offer: Offer, at: float, needed_micro: int = 0, moved: Moved = NOTHING_MOVED
    ) -> Answer:
        """The answer from all attributes, without classes and without memory: what :meth:`answer` is held against."""
        start = _Start(self.policy, self.facts, moved, self.policy.windows_at(at), needed_micro)
        bounded = reader_of(self.policy.text).limits
        attributes = {name: coarse(get(site, offer), name in bounded) for name, get in OFFER_ATTRIBUTES.items()}
        context = {name: coarse(get(start), name in self._limits) for name, get in _CONTEXT.items()}
        burst, name = offer.purchase is not Purchase.OWNED, f"{site.name}/{offer.name}"
        return _ask(self.policy.program, self.tenant, burst, name, site.name, attributes, context)

    def money_steps(self) -> tuple[int, ...] | None:
        """Amounts in micro-dollars at which answers may change: between one (exclusive) and the next (inclusive) all
        needs get the same answer, as do all up to the first. ``None`` when any two needs may differ.
        """
        asked = self.policy.program.attributes & {"cost_cents", "budget_percent"}
        if not asked <= self._limits.keys():
            return None
        steps: set[int] = set()
        if "cost_cents" in asked:
            steps |= {
                limit * MICRO_PER_CENT - less for limit in self._limits["cost_cents"] for less in (0, MICRO_PER_CENT)
            }
        if "budget_percent" in asked:
            whole, committed = self.facts.limit_micro, self.facts.committed_micro
            limits = self._limits["budget_percent"] if whole else (1,)
            steps |= {share * whole // 100 - committed for limit in limits for share in (limit - 1, limit)}
        return tuple(sorted(step for step in steps if step >= 0))

    def _windows_at(self, at: float) -> tuple[str, ...]:
        found = self._windows.get(at)
        if found is None:
            found = self._windows[at] = self.policy.windows_at(at)
        return found

    def _few(self, name: str, start: _Start) -> Any:
        return few(_CONTEXT[name](start), self._limits.get(name))


@lru_cache(maxsize=64)
def _context_names(program: Program) -> tuple[str, ...]:
    return tuple(sorted(program.attributes & CONTEXT_ATTRIBUTES))


@lru_cache(maxsize=65_536)
def _remembered(text: str, tenant: TenantRules, offer_class: OfferClass, context: tuple[Any, ...]) -> Answer:
    program = program_of(text)
    burst, name, site, *values = offer_class
    attributes = dict(zip(reader_of(text).names, values, strict=True))
    told = dict(zip(_context_names(program), context, strict=True))
    return _ask(program, tenant, burst, name, site, attributes, told)


def _ask(
    program: Program,
    tenant: TenantRules,
    burst: bool,
    name: str,
    site: str,
    attributes: dict[str, Any],
    context: dict[str, Any],
) -> Answer:
    entities = [
        entity("Tenant", tenant.tenant, (("Group", group) for group in tenant.groups), known_of(tenant)),
        entity("Offer", name, [("Site", site)] if site else (), attributes),
        entity("Action", "burst", [("Action", "place")]),
    ]
    return program.ask(("Tenant", tenant.tenant), "burst" if burst else "place", ("Offer", name), context, entities)

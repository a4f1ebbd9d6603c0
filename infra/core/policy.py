"""Policies: who may run what, where, when and for how much, as Cedar text with what it may refer to.

A :class:`Policy` is complete: with the request, the offer and the start it gives the same answer for ever, so it is
part of the snapshot. In front of its text stands :data:`BUILT_IN`: an emergency stop holds whatever the text says.

Answers are remembered by everything that they depend on: the text, what it mentions of the tenant, the offer and the
context. So they can be neither stale nor mixed up between versions, and a thousand offers that differ in nothing that
the text mentions cost one evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from infra.core.canonical import digest
from infra.core.cedar import DEFAULT_DENY, Answer, Program, entity, parsed
from infra.core.errors import InputError
from infra.core.inventory import Offer, Purchase, Site, TrustZone
from infra.core.policy_facts import (
    MICRO_PER_CENT,
    NOTHING_MOVED,
    OFFER_ATTRIBUTES,
    Facts,
    Moved,
    cents,
    graded,
    percent,
    stepped,
)
from infra.core.units import BYTES_PER_GB, require_instant

PERMIT_ALL = '@id("allow")\npermit (principal, action, resource);\n'
"""The text of a policy that says nothing else."""

BURSTING_STOPPED = "bursting-stopped"
BUILT_IN = (
    f'@id("{BURSTING_STOPPED}") @why("All bursting is stopped, by hand.") '
    'forbid (principal, action == Action::"burst", resource) when { context.bursting_stopped };\n'
)
"""Stands in front of every text, on a line of its own."""

TIMED = frozenset({"windows", "cost_cents", "budget_percent"})
"""What of the context differs between the starts of one offer."""

MOVED = frozenset({"moved", "egress_gb", "egress_cents"})
"""What of the context depends on where the data lies."""


@dataclass(frozen=True, slots=True)
class Span:
    """From an instant until just before another one."""

    start_at: float
    end_at: float

    def __post_init__(self) -> None:
        require_instant(self.start_at, "span: start_at")
        require_instant(self.end_at, "span: end_at")


@dataclass(frozen=True, slots=True)
class Window:
    """A named window of time, worked out as spans for the days around the snapshot.

    Attributes:
        spans: In order, none touching the next.
    """

    name: str
    spans: tuple[Span, ...]

    def holds(self, at: float) -> bool:
        return any(span.start_at <= at < span.end_at for span in self.spans)


@dataclass(frozen=True, slots=True)
class TenantRules:
    """What a policy knows of a tenant.

    Attributes:
        groups: Groups that it is in.
        burst_run_micro: The most that one of its runs may cost when it bursts, or ``None`` for no such ceiling.
        burst_budget_percent: Share of its month's budget up to which it may burst, or ``None``.
    """

    tenant: str
    groups: tuple[str, ...] = ()
    burst_run_micro: int | None = None
    burst_budget_percent: int | None = None


class Settled(Enum):
    """How far an answer about one start of one offer goes."""

    NOTHING = auto()
    CLASS_AT_SITE = auto()
    """Every start of the offers of its class at its site: it depends on the data that would move there."""
    CLASS = auto()
    """Every start of the offers of its class."""


OfferClass = tuple[Any, ...]
"""What a text mentions of an offer; equal for offers between which it cannot tell."""


@dataclass(frozen=True, slots=True)
class _Start:
    """Everything that a context is made from."""

    policy: Policy
    facts: Facts
    moved: Moved
    at: float
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
    "windows": lambda start: start.policy.windows_at(start.at),
    "cost_cents": lambda start: cents(start.needed_micro),
    "budget_percent": lambda start: percent(start.facts.committed_micro + start.needed_micro, start.facts.limit_micro),
    "moved": lambda start: start.moved.datasets,
    "egress_gb": lambda start: -(-start.moved.bytes // BYTES_PER_GB),
    "egress_cents": lambda start: cents(start.moved.egress_micro),
    "bursting_stopped": lambda start: start.policy.bursting_stopped,
}

CONTEXT_ATTRIBUTES = frozenset(_CONTEXT)


@dataclass(frozen=True, slots=True)
class Policy:
    """A version of the policy, complete for the days around a snapshot.

    Attributes:
        version: Name of this version; for an applied one the digest of everything that it was made from.
        text: Cedar.
        schema_sha256: Digest of the Cedar schema that the text was validated with; empty when it was not.
        windows: Named windows that the text may refer to.
        tenants: What it knows of tenants; one without an entry is in no group and has no ceiling.
        bursting_stopped: Whether nothing may be placed on bought devices.
        stop_why: Why, for a person.
        valid_until_at: Instant after which it is stale and forbids everything, or ``None``.
    """

    version: str
    text: str = PERMIT_ALL
    schema_sha256: str = ""
    windows: tuple[Window, ...] = ()
    tenants: tuple[TenantRules, ...] = ()
    bursting_stopped: bool = False
    stop_why: str = ""
    valid_until_at: float | None = None

    @property
    def program(self) -> Program:
        """The parsed text, with what is built in.

        Raises:
            InputError: ``BAD_POLICY``.
        """
        return program_of(self.text)

    @property
    def timed(self) -> bool:
        """Whether an answer may differ between two starts of one offer."""
        return not TIMED.isdisjoint(self.program.attributes)

    def settled(self, forbids: tuple[str, ...]) -> Settled:
        """For how many offers like one these ids, told of one of its starts, forbid every start."""
        permits = [rule for rule in self.program.rules if rule.effect == "permit"]
        found = [rule.attributes for rule in self.program.rules if rule.effect == "forbid" and rule.id in forbids]
        if DEFAULT_DENY in forbids:
            found.append(frozenset().union(*(rule.attributes for rule in permits)))
        found = [attributes for attributes in found if attributes.isdisjoint(TIMED)]
        if any(attributes.isdisjoint(MOVED) for attributes in found):
            return Settled.CLASS
        return Settled.CLASS_AT_SITE if found else Settled.NOTHING

    def windows_at(self, at: float) -> tuple[str, ...]:
        """Names of the windows that hold at an instant, sorted."""
        return tuple(sorted(window.name for window in self.windows if window.holds(at)))

    def edges(self, after_at: float, until_at: float) -> tuple[float, ...]:
        """Instants in ``(after_at, until_at]`` at which a window begins or ends; none when no rule asks for windows."""
        if "windows" not in self.program.attributes:
            return ()
        spans = (span for window in self.windows for span in window.spans)
        edges = {edge for span in spans for edge in (span.start_at, span.end_at)}
        return tuple(sorted(edge for edge in edges if after_at < edge <= until_at))

    def class_of(self, site: Site, offer: Offer) -> OfferClass:
        """What the text mentions of an offer. Depends on the text alone, not on the rest of the policy."""
        return _class_of(self.program, site, offer)

    def forbidding(
        self, facts: Facts, offer_class: OfferClass, at: float, needed_micro: int = 0, moved: Moved = NOTHING_MOVED
    ) -> tuple[str, ...]:
        """Ids of the policies that forbid a start, sorted; empty when it is allowed.

        Args:
            offer_class: Of :meth:`class_of`.
            at: Instant of the start.
            needed_micro: What the start needs in micro-dollars.
            moved: What would leave other sites.
        """
        return self.answer(facts, offer_class, at, needed_micro, moved).forbids

    def answer(
        self, facts: Facts, offer_class: OfferClass, at: float, needed_micro: int = 0, moved: Moved = NOTHING_MOVED
    ) -> Answer:
        """As :meth:`forbidding`, with the policies that allow it."""
        start = _Start(self, facts, moved, at, needed_micro)
        tenant = self.tenant(facts.tenant)
        limits = _limits(self.program, tenant)
        context = tuple(_few(_CONTEXT[name](start), limits.get(name)) for name in _context_names(self.program))
        return _remembered(self.text, tenant, offer_class, context)

    def answer_in_full(
        self, facts: Facts, site: Site, offer: Offer, at: float, needed_micro: int = 0, moved: Moved = NOTHING_MOVED
    ) -> Answer:
        """The answer from all attributes, without classes and without memory: what :meth:`answer` is held against."""
        start = _Start(self, facts, moved, at, needed_micro)
        tenant = self.tenant(facts.tenant)
        bounded, limits = _offer_limits(self.program), _limits(self.program, tenant)
        attributes = {name: _coarse(get(site, offer), name in bounded) for name, get in OFFER_ATTRIBUTES.items()}
        context = {name: _coarse(get(start), name in limits) for name, get in _CONTEXT.items()}
        burst = offer.purchase is not Purchase.OWNED
        return _ask(self.program, tenant, burst, f"{site.name}/{offer.name}", site.name, attributes, context)

    def tenant(self, name: str) -> TenantRules:
        """What it knows of a tenant."""
        return next((rules for rules in self.tenants if rules.tenant == name), TenantRules(name))


@lru_cache(maxsize=64)
def program_of(text: str) -> Program:
    """A policy's text, parsed behind what is built in.

    Raises:
        InputError: ``BAD_POLICY``, also for an id that is built in.
    """
    program = parsed(BUILT_IN + text)
    if any(rule.id == BURSTING_STOPPED for rule in program.rules[1:]):
        raise InputError("BAD_POLICY", f"the id {BURSTING_STOPPED!r} is built in", "policy", "choose another id")
    return program


def _coarse(value: Any, exact: bool) -> Any:
    number = isinstance(value, int) and not isinstance(value, bool)
    return graded(value) if number and not exact else value


def _few(value: Any, limits: tuple[int, ...] | None) -> Any:
    """The value itself, or for a number one that stands for all that the text cannot tell from it."""
    if limits is None:
        return _coarse(value, exact=False)
    return stepped(value, limits) if isinstance(value, int) and not isinstance(value, bool) else value


@lru_cache(maxsize=1024)
def _limits(program: Program, tenant: TenantRules) -> dict[str, tuple[int, ...]]:
    """What each attribute is held against, when that is all that the text does with it."""
    known = _known(tenant)
    limits: dict[str, set[int]] = {}
    for name, limit in program.limits:
        number = known.get(limit) if isinstance(limit, str) else limit
        limits.setdefault(name, set()).update({number} if isinstance(number, int) else ())
    return {name: tuple(sorted(found)) for name, found in limits.items() if name not in program.unbounded}


def _known(tenant: TenantRules) -> dict[str, Any]:
    """Attributes of a ``Tenant`` in the Cedar schema."""
    known: dict[str, Any] = {"name": tenant.tenant}
    if tenant.burst_run_micro is not None:
        known["burst_run_cents"] = tenant.burst_run_micro // MICRO_PER_CENT
    if tenant.burst_budget_percent is not None:
        known["burst_budget_percent"] = tenant.burst_budget_percent
    return known


@lru_cache(maxsize=64)
def _offer_limits(program: Program) -> dict[str, tuple[int, ...]]:
    """As :func:`_limits`, for attributes that are held against numbers alone: classes know no tenant."""
    varying = {name for name, limit in program.limits if isinstance(limit, str)}
    limits = _limits(program, TenantRules(""))
    return {name: found for name, found in limits.items() if name not in varying}


@lru_cache(maxsize=64)
def _context_names(program: Program) -> tuple[str, ...]:
    return tuple(sorted(program.attributes & CONTEXT_ATTRIBUTES))


@lru_cache(maxsize=64)
def _offer_names(program: Program) -> tuple[tuple[str, ...], bool, bool]:
    """Mentioned attributes of offers, whether the offer itself matters, and whether its site does."""
    whole = program.whole_resource or "Offer" in program.entity_types
    return tuple(sorted(program.attributes & OFFER_ATTRIBUTES.keys())), whole, whole or "Site" in program.entity_types


def _class_of(program: Program, site: Site, offer: Offer) -> OfferClass:
    names, whole, placed = _offer_names(program)
    limits = _offer_limits(program)
    return (
        offer.purchase is not Purchase.OWNED,
        f"{site.name}/{offer.name}" if whole else "",
        site.name if placed else "",
        *(_few(OFFER_ATTRIBUTES[name](site, offer), limits.get(name)) for name in names),
    )


@lru_cache(maxsize=65_536)
def _remembered(text: str, tenant: TenantRules, offer_class: OfferClass, context: tuple[Any, ...]) -> Answer:
    program = program_of(text)
    burst, name, site, *values = offer_class
    attributes = dict(zip(_offer_names(program)[0], values, strict=True))
    return _ask(
        program, tenant, burst, name, site, attributes, dict(zip(_context_names(program), context, strict=True))
    )


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
        entity("Tenant", tenant.tenant, (("Group", group) for group in tenant.groups), _known(tenant)),
        entity("Offer", name, [("Site", site)] if site else (), attributes),
        entity("Action", "burst", [("Action", "place")]),
    ]
    return program.ask(("Tenant", tenant.tenant), "burst" if burst else "place", ("Offer", name), context, entities)


def version_of(value: Any) -> str:
    """The version of whatever a policy is made from: its digest."""
    return f"sha256:{digest(value)}"

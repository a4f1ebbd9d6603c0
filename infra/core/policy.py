"""Policies: who may run what, where, when and for how much, as Cedar text with what it may refer to.

A :class:`Policy` is complete: with the request, the offer and the start it gives the same answer for ever, so it is
part of the snapshot. In front of its text stands :data:`BUILT_IN`: an emergency stop holds whatever the text says.
:mod:`infra.core.policy_question` asks it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from infra.core.canonical import digest
from infra.core.cedar import DEFAULT_DENY, Program, parsed
from infra.core.errors import InputError
from infra.core.inventory import Offer, Purchase, Site
from infra.core.policy_facts import (
    MICRO_PER_CENT,
    OFFER_ATTRIBUTES,
    graded,
    stepped,
)
from infra.core.units import require_instant

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
        return reader_of(self.text).class_of(site, offer)

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
    for rule in program.rules[1:]:
        if rule.id in (BURSTING_STOPPED, DEFAULT_DENY):
            raise InputError("BAD_POLICY", f"the id {rule.id!r} is built in", "policy", "choose another id")
    return program


def coarse(value: Any, exact: bool) -> Any:
    """The value itself; :func:`graded` when it is a number that is not to be exact."""
    number = isinstance(value, int) and not isinstance(value, bool)
    return graded(value) if number and not exact else value


def few(value: Any, limits: tuple[int, ...] | None) -> Any:
    """The value itself, or for a number one that stands for all that the text cannot tell from it."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    return graded(value) if limits is None else stepped(value, limits)


@lru_cache(maxsize=1024)
def limits_of(program: Program, tenant: TenantRules) -> dict[str, tuple[int, ...]]:
    """What each attribute is held against, when that is all that the text does with it."""
    known = known_of(tenant)
    limits: dict[str, set[int]] = {}
    for name, limit in program.limits:
        number = known.get(limit) if isinstance(limit, str) else limit
        limits.setdefault(name, set()).update({number} if isinstance(number, int) else ())
    return {name: tuple(sorted(found)) for name, found in limits.items() if name not in program.unbounded}


def known_of(tenant: TenantRules) -> dict[str, Any]:
    """Attributes of a ``Tenant`` in the Cedar schema."""
    known: dict[str, Any] = {"name": tenant.tenant}
    if tenant.burst_run_micro is not None:
        known["burst_run_cents"] = tenant.burst_run_micro // MICRO_PER_CENT
    if tenant.burst_budget_percent is not None:
        known["burst_budget_percent"] = tenant.burst_budget_percent
    return known


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads from an offer what a text mentions.

    Attributes:
        names: Mentioned attributes of offers, sorted.
        limits: Of those that are held against numbers alone (not against a tenant's ceiling: classes know no tenant).
        whole: Whether the offer itself matters, not only its attributes.
        placed: Whether its site does.
    """

    names: tuple[str, ...]
    limits: dict[str, tuple[int, ...]]
    whole: bool
    placed: bool

    def class_of(self, site: Site, offer: Offer) -> OfferClass:
        """Whether it is burst to, its name and its site where they matter, and the values of ``names``."""
        return (
            offer.purchase is not Purchase.OWNED,
            f"{site.name}/{offer.name}" if self.whole else "",
            site.name if self.placed else "",
            *[few(OFFER_ATTRIBUTES[name](site, offer), self.limits.get(name)) for name in self.names],
        )


@lru_cache(maxsize=64)
def reader_of(text: str) -> Reader:
    """The reader of a text."""
    program = program_of(text)
    varying = {name for name, limit in program.limits if isinstance(limit, str)}
    limits = limits_of(program, TenantRules(""))
    whole = program.whole_resource or "Offer" in program.entity_types
    return Reader(
        names=tuple(sorted(program.attributes & OFFER_ATTRIBUTES.keys())),
        limits={name: found for name, found in limits.items() if name not in varying},
        whole=whole,
        placed=whole or "Site" in program.entity_types,
    )


def version_of(value: Any) -> str:
    """The version of whatever a policy is made from: its digest."""
    return f"sha256:{digest(value)}"

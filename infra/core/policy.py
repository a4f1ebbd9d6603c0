"""Policies: rules that forbid placements, kept with a version and an end of validity.

A rule forbids every (request, site, offer) that it matches; what no rule forbids is allowed. A policy past its
validity forbids everything.
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.core.inventory import Offer, Purchase, Site, TrustZone
from infra.core.workload import WorkKind, WorkloadRequest


@dataclass(frozen=True, slots=True)
class Rule:
    """Forbids what matches all of its non-empty fields.

    Attributes:
        id: Stable name, told as the reason.
        description: Why, for a person.
    """

    id: str
    description: str
    tenants: tuple[str, ...] = ()
    kinds: tuple[WorkKind, ...] = ()
    sites: tuple[str, ...] = ()
    jurisdictions: tuple[str, ...] = ()
    trust_zones: tuple[TrustZone, ...] = ()
    purchases: tuple[Purchase, ...] = ()
    datasets: tuple[str, ...] = ()

    def forbids(self, request: WorkloadRequest, site: Site, offer: Offer) -> bool:
        def matches(wanted: tuple[str, ...], *actual: str) -> bool:
            return not wanted or any(value in wanted for value in actual)

        return (
            matches(self.tenants, request.tenant)
            and matches(self.kinds, request.kind)
            and matches(self.sites, site.name)
            and matches(self.jurisdictions, site.jurisdiction)
            and matches(self.trust_zones, site.trust_zone)
            and matches(self.purchases, offer.purchase)
            and matches(self.datasets, *(ref.name for ref in request.datasets))
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A version of the rules.

    Attributes:
        version: Digest or name of this version.
        valid_until_at: Instant after which it is stale, or ``None``.
    """

    version: str
    rules: tuple[Rule, ...] = ()
    valid_until_at: float | None = None

    def forbidding(self, request: WorkloadRequest, site: Site, offer: Offer) -> tuple[str, ...]:
        """Ids of the rules that forbid this placement, in the order of the file."""
        return tuple(rule.id for rule in self.rules if rule.forbids(request, site, offer))

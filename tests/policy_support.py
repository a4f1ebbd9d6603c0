"""Policies for tests: rules that say themselves what they forbid, and the same rules as Cedar."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from infra.core.cedar import quoted
from infra.core.inventory import Offer, Purchase, Site, TrustZone
from infra.core.policy import PERMIT_ALL, Policy
from infra.core.workload import WorkKind, WorkloadRequest
from infra.documents.policy_rules import RuleDocument, cedar_of


@dataclass(frozen=True, slots=True)
class Rule:
    """Forbids what matches all of its fields that are not empty."""

    id: str
    description: str = "no"
    tenants: tuple[str, ...] = ()
    kinds: tuple[WorkKind, ...] = ()
    sites: tuple[str, ...] = ()
    jurisdictions: tuple[str, ...] = ()
    trust_zones: tuple[TrustZone, ...] = ()
    purchases: tuple[Purchase, ...] = ()
    datasets: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()

    def forbids(self, request: WorkloadRequest, site: Site, offer: Offer, holding: Collection[str] = ()) -> bool:
        """Written without Cedar, to hold it against.

        Args:
            holding: Windows that hold at the start.
        """

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
            and matches(self.windows, *holding)
        )


_RULES: dict[str, tuple[Rule, ...]] = {PERMIT_ALL: ()}


def text_of(*rules: Rule) -> str:
    """The rules as Cedar; what none of them forbids is allowed."""
    text = ""
    for rule in rules:
        fields = asdict(rule)
        windows = fields.pop("windows")
        one = cedar_of((RuleDocument(**fields),)).removeprefix(PERMIT_ALL)
        if windows:
            condition = f"context.windows.containsAny([{', '.join(map(quoted, windows))}])"
            one = one.removesuffix(";\n") + f" when {{ {condition} }};\n"
        text += one
    text = PERMIT_ALL + text
    _RULES[text] = rules
    return text


def rules_of(policy: Policy) -> tuple[Rule, ...]:
    """The rules that a policy was made from by :func:`policy_of`."""
    return _RULES[policy.text]


def policy_of(*rules: Rule, version: str = "p", **changes: Any) -> Policy:
    return Policy(version, text_of(*rules), **changes)

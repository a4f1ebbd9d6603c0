"""The short form of a policy in a snapshot: rules that forbid what matches all of their keys, turned into Cedar.

Snapshots that people write by hand need no Cedar for the common cases. What no rule forbids is allowed.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from infra.core.cedar import quoted
from infra.core.errors import InputError
from infra.core.inventory import Purchase, TrustZone
from infra.core.jurisdictions import PUBLIC, countries_of
from infra.core.policy import PERMIT_ALL
from infra.core.workload import WorkKind
from infra.documents.fields import Document, Name
from infra.documents.problems import join, located, validated


class RuleDocument(Document):
    """Forbids placements that match all keys given; within a key any value matches."""

    id: Name = Field(description="Stable name, told as the reason.")
    description: str = Field("", max_length=2000, description="Why, for a person.")
    tenants: tuple[Name, ...] = Field((), description="Names of tenants.")
    kinds: tuple[WorkKind, ...] = Field((), description="Kinds of work.")
    sites: tuple[Name, ...] = Field((), description="Names of sites.")
    jurisdictions: tuple[str, ...] = Field((), description="Countries or groups of countries: DE, US, EU, EEA, ...")
    trust_zones: tuple[TrustZone, ...] = Field((), description="Trust zones of the site.")
    purchases: tuple[Purchase, ...] = Field((), description="Ways of paying of the offer.")
    datasets: tuple[Name, ...] = Field((), description="Names of datasets that the request reads.")


class _Policy(Document):
    rules: tuple[RuleDocument, ...]


class _Snapshot(Document):
    policy: _Policy


def without_rules(tree: Any, where: str) -> Any:
    """A snapshot's plain values with ``policy.rules`` turned into ``policy.text``; without a policy, one that allows all.

    Raises:
        InputError: with the dotted path of what is wrong in a rule, or ``CONTRADICTORY_POLICY`` when there is a text too.
    """
    if not isinstance(tree, dict):
        return tree
    policy = tree.get("policy", {"version": "none"})
    if isinstance(policy, dict) and "rules" in policy:
        policy = dict(policy)
        rules = validated(_Snapshot, {"policy": {"rules": policy.pop("rules")}}, where).policy.rules
        if "text" in policy:
            raise InputError(
                "CONTRADICTORY_POLICY", "rules and text", join(where, "policy"), "give one of them: rules become text"
            )
        policy["text"] = cedar_of(rules, where)
    return {**tree, "policy": policy}


def cedar_of(rules: tuple[RuleDocument, ...], where: str = "policy") -> str:
    """Cedar that forbids what the rules forbid and allows all else.

    Raises:
        InputError: ``DUPLICATE_ENTRY`` for an id that stands twice, or an unknown country.
    """
    seen: set[str] = set()
    parts = [PERMIT_ALL]
    for index, rule in enumerate(rules):
        path = f"policy.rules[{index}]"
        if rule.id in seen:
            raise InputError("DUPLICATE_ENTRY", f"{rule.id} stands twice", join(where, path), "keep one of them")
        seen.add(rule.id)
        conditions = " && ".join(_conditions(rule, where, path)) or "true"
        parts.append(
            f"@id({quoted(rule.id)}) @why({quoted(rule.description)})\n"
            f"forbid (principal, action, resource) when {{ {conditions} }};\n"
        )
    return "".join(parts)


def _conditions(rule: RuleDocument, where: str, path: str) -> list[str]:
    conditions = []
    if rule.tenants:
        conditions.append(f"{_texts(rule.tenants)}.contains(principal.name)")
    if rule.sites:
        sites = ", ".join(f"Site::{quoted(name)}" for name in rule.sites)
        conditions.append(f"resource in [{sites}]")
    countries: set[str] = set()
    for index, tag in enumerate(rule.jurisdictions):
        with located(where, f"{path}.jurisdictions[{index}]"):
            known = countries_of(tag, "")
        if known is None:
            raise InputError(
                "BAD_JURISDICTION",
                f"{PUBLIC} is every country",
                join(where, f"{path}.jurisdictions[{index}]"),
                "leave jurisdictions out to forbid everywhere",
            )
        countries |= known
    for values, attribute in (
        (rule.kinds, "context.kind"),
        (tuple(sorted(countries)), "resource.jurisdiction"),
        (rule.trust_zones, "resource.trust_zone"),
        (rule.purchases, "resource.purchase"),
    ):
        if values:
            conditions.append(f"{_texts(values)}.contains({attribute})")
    if rule.datasets:
        conditions.append(f"context.datasets.containsAny({_texts(rule.datasets)})")
    return conditions


def _texts(values: tuple[str, ...]) -> str:
    return f"[{', '.join(quoted(str(value)) for value in values)}]"

"""Policy files: rules that forbid placements, with a version and an end of validity."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import Field

from infra.core.errors import InputError
from infra.core.inventory import Purchase, TrustZone
from infra.core.jurisdictions import PUBLIC, countries_of
from infra.core.policy import Policy, Rule
from infra.core.units import instant
from infra.core.workload import WorkKind
from infra.documents.fields import Document, Instant, Name, Text
from infra.documents.files import config_path, display, parse_json, parse_yaml, read_text
from infra.documents.problems import join, located, validated


class ForbidDocument(Document):
    """What a rule forbids: placements that match all keys given; within a key any value matches."""

    tenants: tuple[Name, ...] = Field((), description="Names of tenants.")
    kinds: tuple[WorkKind, ...] = Field((), description="Kinds of work.")
    sites: tuple[Name, ...] = Field((), description="Names of sites.")
    jurisdictions: tuple[str, ...] = Field((), description="Countries or groups of countries: DE, US, EU, EEA, ...")
    trust_zones: tuple[TrustZone, ...] = Field((), description="Trust zones of the site.")
    purchases: tuple[Purchase, ...] = Field((), description="Ways of paying of the offer.")
    datasets: tuple[Name, ...] = Field((), description="Names of datasets that the request reads.")


class RuleDocument(Document):
    """One rule."""

    id: Name = Field(description="Stable name, told as the reason.")
    description: Text = Field(description="Why, for a person.")
    forbid: ForbidDocument = Field(description="What it forbids; at least one key.")


class PolicyDocument(Document):
    """Rules; what none of them forbids is allowed."""

    version: str | None = Field(
        None, min_length=1, max_length=100, description="Name of this version; the SHA-256 of the file when not given."
    )
    valid_until: Instant | None = Field(
        None, description="ISO 8601 instant after which the policy is stale and forbids everything."
    )
    rules: tuple[RuleDocument, ...] = Field((), description="The rules, told in this order.")


def load_policy(path: str | Path | None = None) -> Policy:
    """The policy of a file.

    Args:
        path: The configured ``policies/default.yaml`` when it is not given.

    Raises:
        InputError: with the file and the dotted path of what is wrong.
    """
    path = config_path("policies", "default.yaml") if path is None else Path(path)
    text, where = read_text(path), display(path)
    tree = parse_json(text, where) if path.suffix == ".json" else parse_yaml(text, where)
    document = validated(PolicyDocument, tree, where)
    rules: list[Rule] = []
    for index, rule in enumerate(document.rules):
        if rule.id in {known.id for known in rules}:
            raise InputError(
                "DUPLICATE_RULE", f"{rule.id!r} stands twice", join(where, f"rules[{index}].id"), "rename one of them"
            )
        rules.append(_rule(rule, where, f"rules[{index}].forbid"))
    version = document.version or f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return Policy(version, tuple(rules), None if document.valid_until is None else instant(document.valid_until))


def _rule(rule: RuleDocument, where: str, path: str) -> Rule:
    forbid = rule.forbid
    if not any(getattr(forbid, name) for name in ForbidDocument.model_fields):
        raise InputError(
            "EMPTY_RULE",
            f"{rule.id!r} would forbid everything",
            join(where, path),
            f"name at least one of: {', '.join(ForbidDocument.model_fields)}",
        )
    countries: set[str] = set()
    for index, tag in enumerate(forbid.jurisdictions):
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
    return Rule(
        id=rule.id,
        description=rule.description,
        tenants=forbid.tenants,
        kinds=forbid.kinds,
        sites=forbid.sites,
        jurisdictions=tuple(sorted(countries)),
        trust_zones=forbid.trust_zones,
        purchases=forbid.purchases,
        datasets=forbid.datasets,
    )

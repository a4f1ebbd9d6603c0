"""Cases beside a policy: what it must say of a request, a site and an offer, and by which rules.

A case fails when the verdict is right and the rules are not: a placement that is forbidden for the wrong reason is
allowed again as soon as that rule is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import Field

from infra.core.errors import InputError
from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site, TrustZone
from infra.core.policy import Policy
from infra.core.pricing import Price
from infra.core.workload import DatasetRef, WorkKind, WorkloadRequest
from infra.documents.fields import Document, Name, Text
from infra.documents.files import display, read_tree
from infra.documents.problems import join, located, unknown, validated


class Verdict(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class CaseRequestDocument(Document):
    """What of the request a rule can see."""

    tenant: Name = Field(description="Who pays.")
    kind: WorkKind = Field(description="What is to be done.")
    datasets: tuple[Name, ...] = Field((), description="Names of the datasets that it reads.")


class CaseSiteDocument(Document):
    """What of the site a rule can see."""

    name: Name = Field(description="Name of the site.")
    jurisdiction: str = Field(description="Its country.")
    trust_zone: TrustZone = Field(description="Its trust zone.")


class CaseOfferDocument(Document):
    """What of the offer a rule can see."""

    purchase: Purchase = Field(description="How it is paid for.")


class CaseDocument(Document):
    """One case."""

    name: Text = Field(description="What it shows, for a person.")
    request: CaseRequestDocument = Field(description="The request.")
    site: CaseSiteDocument = Field(description="The site.")
    offer: CaseOfferDocument = Field(description="The offer.")
    expect: Verdict = Field(description="allow or deny.")
    rules: tuple[Name, ...] = Field((), description="Ids of the rules that deny, in the order of the policy.")


class CasesDocument(Document):
    """The cases of one policy."""

    cases: tuple[CaseDocument, ...] = Field(min_length=1, description="The cases.")


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What the policy said of one case; ``rules`` are the ids of the rules that deny."""

    name: str
    expected: Verdict
    expected_rules: tuple[str, ...]
    verdict: Verdict
    rules: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.verdict is self.expected and self.rules == self.expected_rules


def cases_path(policy_path: Path) -> Path:
    """``default.cases.yaml`` for ``default.yaml``."""
    return policy_path.with_name(f"{policy_path.stem}.cases{policy_path.suffix}")


def run_cases(policy: Policy, path: str | Path) -> tuple[CaseResult, ...]:
    """Hold a policy against the cases of a file.

    Raises:
        InputError: for a malformed case, an unknown rule id, or a verdict that contradicts its rules.
    """
    path = Path(path)
    where = display(path)
    results = []
    for index, case in enumerate(validated(CasesDocument, read_tree(path), where).cases):
        place = f"cases[{index}]"
        known = [rule.id for rule in policy.rules]
        for rule_index, rule_id in enumerate(case.rules):
            if rule_id not in known:
                raise unknown("UNKNOWN_RULE", "rule", rule_id, known, join(where, f"{place}.rules[{rule_index}]"))
        if bool(case.rules) != (case.expect is Verdict.DENY):
            raise InputError(
                "CONTRADICTORY_CASE",
                f"{case.expect} with {len(case.rules)} rules",
                join(where, f"{place}.rules"),
                "name the rules that deny, and none where it is allowed",
            )
        rules = policy.forbidding(*_placement(case, where, place))
        verdict = Verdict.DENY if rules else Verdict.ALLOW
        results.append(CaseResult(case.name, case.expect, case.rules, verdict, rules))
    return tuple(results)


def _placement(case: CaseDocument, where: str, place: str) -> tuple[WorkloadRequest, Site, Offer]:
    """Core values that carry what a rule can see; the rest is of no consequence."""
    with located(where, f"{place}.request"):
        request = WorkloadRequest(
            kind=case.request.kind,
            tenant=case.request.tenant,
            datasets=tuple(DatasetRef(name, "any") for name in case.request.datasets),
            units=1.0,
        )
    offer = Offer(
        name="case",
        purchase=case.offer.purchase,
        device="any",
        capacity=1,
        memory_gb=1.0,
        relative_speed=1.0,
        price=Price(0),
    )
    with located(where, f"{place}.site"):
        site = Site(
            name=case.site.name,
            jurisdiction=case.site.jurisdiction,
            trust_zone=case.site.trust_zone,
            pools=(Pool("case", Cluster.ATTACHED, (offer,)),),
        )
    return request, site, offer

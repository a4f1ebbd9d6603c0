"""Cases beside a policy: what it must say of a request, an offer and a start, and by which policies.

A case fails when the verdict is right and the policies are not: a placement that is forbidden for the wrong reason is
allowed again as soon as that policy is changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pydantic import Field

from infra.core.cedar import DEFAULT_DENY
from infra.core.errors import InputError
from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site, TrustZone
from infra.core.policy import program_of
from infra.core.policy_facts import Facts, Moved
from infra.core.policy_question import Question
from infra.core.policy_source import PolicySource
from infra.core.pricing import Price
from infra.core.units import instant, micro_from_usd
from infra.core.workload import WorkKind
from infra.documents.fields import Count, Document, Instant, Name, Number, Text, Usd
from infra.documents.files import display, read_tree
from infra.documents.policy import PolicyTenantDocument, tenant_rules
from infra.documents.policy_windows import policy_at
from infra.documents.problems import join, located, unknown, validated

DEFAULT_AT = instant("2026-01-14T12:00:00Z")
"""A Wednesday at noon, for cases that do not name an instant."""


class Verdict(StrEnum):
    ALLOW = "allow"
    FORBID = "forbid"


class CaseRequestDocument(Document):
    """What of the request a policy can see."""

    tenant: Name = Field(description="Who pays.")
    kind: WorkKind = Field(description="What is to be done.")
    datasets: tuple[Name, ...] = Field((), description="Names of the datasets that it reads.")
    residency_tags: tuple[str, ...] = Field(("PUBLIC",), description="Residency tags of the datasets and the request.")
    needed_zone: TrustZone = Field(TrustZone.PUBLIC, description="The least trusted zone that it accepts.")
    devices: Count = Field(1, description="How many devices it wants.")
    priority: Count = Field(50, description="0 to 100.")
    checkpointed: bool = Field(True, description="Whether it goes on from a checkpoint when interrupted.")


class CaseSiteDocument(Document):
    """What of the site a policy can see."""

    name: Name = Field(description="Name of the site.")
    jurisdiction: str = Field(description="Its country.")
    trust_zone: TrustZone = Field(description="Its trust zone.")
    simulated: bool = Field(True, description="Whether its devices are stand-ins.")


class CaseOfferDocument(Document):
    """What of the offer a policy can see."""

    name: Name = Field("case", description="Name of the offer.")
    purchase: Purchase = Field(description="How it is paid for.")
    device: Name = Field("gpu", description="Kind of device.")
    price_usd_per_hour: Usd = Field(0, description="Price of one device for an hour.")


class CaseMovedDocument(Document):
    """Data that would leave another site."""

    datasets: tuple[Name, ...] = Field(min_length=1, description="Names of the datasets.")
    gb: Number = Field(description="Their size in gigabytes.")
    egress_usd: Usd = Field(0, description="What leaving costs.")


class CaseBudgetDocument(Document):
    """The tenant's budget of the month."""

    limit_usd: Usd = Field(description="Its limit.")
    committed_usd: Usd = Field(0, description="What of it is settled or reserved.")


class CaseDocument(Document):
    """One case."""

    name: Text = Field(description="What it shows, for a person.")
    request: CaseRequestDocument = Field(description="The request.")
    site: CaseSiteDocument = Field(description="The site.")
    offer: CaseOfferDocument = Field(description="The offer.")
    at: Instant | None = Field(None, description="Instant of the start, for windows; a Wednesday noon when not given.")
    cost_usd: Usd = Field(0, description="What the start needs at the high estimate.")
    budget: CaseBudgetDocument = Field(CaseBudgetDocument(limit_usd=1000), description="The tenant's budget.")
    moved: CaseMovedDocument | None = Field(None, description="Data that would leave another site.")
    tenant: PolicyTenantDocument | None = Field(
        None, description="What is known of the tenant, instead of what the settings say."
    )
    bursting_stopped: bool = Field(False, description="Whether the emergency stop is on.")
    expect: Verdict = Field(description="allow or forbid.")
    policies: tuple[Name, ...] = Field(
        min_length=1,
        description="Ids of exactly the policies that allow, or that forbid; default-deny where none does.",
    )


class CasesDocument(Document):
    """The cases of one policy."""

    cases: tuple[CaseDocument, ...] = Field(min_length=1, description="The cases.")


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What the policy said of one case; ``policies`` are the ids of those that decided."""

    name: str
    expected: Verdict
    expected_policies: tuple[str, ...]
    verdict: Verdict
    policies: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.verdict is self.expected and self.policies == tuple(sorted(self.expected_policies))


def cases_path(policy_path: Path) -> Path:
    """``default.cases.yaml`` for ``default.cedar``."""
    return policy_path.with_name(f"{policy_path.stem}.cases.yaml")


def run_cases(source: PolicySource, path: str | Path) -> tuple[CaseResult, ...]:
    """Hold a policy against the cases of a file.

    Raises:
        InputError: for a malformed case, an id that no policy has, or one whose effect contradicts the verdict.
    """
    path = Path(path)
    where = display(path)
    effects = {rule.id: rule.effect for rule in program_of(source.text).rules} | {DEFAULT_DENY: "forbid"}
    results = []
    for index, case in enumerate(validated(CasesDocument, read_tree(path), where).cases):
        place = f"cases[{index}]"
        wanted = "permit" if case.expect is Verdict.ALLOW else "forbid"
        for rule_index, rule_id in enumerate(case.policies):
            rule_where = join(where, f"{place}.policies[{rule_index}]")
            if rule_id not in effects:
                raise unknown("UNKNOWN_RULE", "policy of this file", rule_id, effects, rule_where)
            if effects[rule_id] != wanted:
                raise InputError(
                    "CONTRADICTORY_CASE",
                    f"{rule_id!r} is a {effects[rule_id]}, and the case expects {case.expect}",
                    rule_where,
                    "name the policies that decide: permits where it is allowed, forbids where it is not",
                )
        results.append(_result(source, case, where, place))
    return tuple(results)


def _result(source: PolicySource, case: CaseDocument, where: str, place: str) -> CaseResult:
    if case.tenant is not None:
        others = tuple(rules for rules in source.tenants if rules.tenant != case.tenant.name)
        source = replace(source, tenants=(*others, tenant_rules(case.tenant)))
    at = DEFAULT_AT if case.at is None else instant(case.at)
    policy = policy_at(replace(source, bursting_stopped=case.bursting_stopped), at)
    site, offer = _offer(case, where, place)
    answer = Question(policy, _facts(case)).answer(
        policy.class_of(site, offer), at, micro_from_usd(case.cost_usd), _moved(case.moved)
    )
    verdict = Verdict.ALLOW if answer.allowed else Verdict.FORBID
    return CaseResult(case.name, case.expect, case.policies, verdict, answer.deciding)


def _facts(case: CaseDocument) -> Facts:
    request = case.request
    return Facts(
        tenant=request.tenant,
        kind=request.kind.value,
        datasets=tuple(sorted(set(request.datasets))),
        residency_tags=tuple(sorted(set(request.residency_tags))),
        needed_zone=request.needed_zone.value,
        devices=request.devices,
        priority=request.priority,
        checkpointed=request.checkpointed,
        limit_micro=micro_from_usd(case.budget.limit_usd),
        committed_micro=micro_from_usd(case.budget.committed_usd),
    )


def _moved(moved: CaseMovedDocument | None) -> Moved:
    if moved is None:
        return Moved()
    return Moved(tuple(sorted(moved.datasets)), round(moved.gb * 1e9), micro_from_usd(moved.egress_usd))


def _offer(case: CaseDocument, where: str, place: str) -> tuple[Site, Offer]:
    """Core values that carry what a policy can see; the rest is of no consequence."""
    offer = Offer(
        name=case.offer.name,
        purchase=case.offer.purchase,
        device=case.offer.device,
        capacity=1,
        memory_gb=1.0,
        relative_speed=1.0,
        price=Price(micro_from_usd(case.offer.price_usd_per_hour)),
    )
    with located(where, f"{place}.site"):
        site = Site(
            name=case.site.name,
            jurisdiction=case.site.jurisdiction,
            trust_zone=case.site.trust_zone,
            pools=(Pool("case", Cluster.ATTACHED, (offer,)),),
            simulated=case.site.simulated,
        )
    return site, offer

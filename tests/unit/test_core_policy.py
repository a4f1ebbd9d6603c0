"""The policy: what it sees, what it answers, what is remembered, and what it is never silent about."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.core.cedar import DEFAULT_DENY, parsed, quoted
from infra.core.errors import InputError
from infra.core.inventory import Purchase, TrustZone
from infra.core.policy import BURSTING_STOPPED, PERMIT_ALL, Policy, Span, TenantRules, Window
from infra.core.policy_facts import Facts, Moved, graded, percent, stepped
from infra.core.policy_question import Question
from infra.core.pricing import Price
from infra.core.workload import WorkKind
from tests.policy_support import Rule, policy_of
from tests.property import strategies as drawn
from tests.unit.placement_world import DIGITS, DOCS, EU, NOW_AT, ONPREM, OWNED, US, USD, request, snapshot

US_OFFER = US.pools[0].offers[0]
BALANCE = snapshot().balances[0]
FACTS = Facts.of(request(), (DIGITS,), BALANCE)


def forbids(text: str, facts: Facts = FACTS, site=US, offer=US_OFFER, at: float = NOW_AT, **more) -> tuple[str, ...]:
    """What a policy of this text behind a permit of everything says, found in both ways."""
    needed, moved = more.pop("needed_micro", 0), more.pop("moved", Moved())
    policy = Policy("v", PERMIT_ALL + text, **more)
    found = Question(policy, facts).answer(policy.class_of(site, offer), at, needed, moved)
    assert found == Question(policy, facts).answer_in_full(site, offer, at, needed, moved)
    return found.forbids


def when(condition: str) -> str:
    return f'@id("r") @why("w") forbid (principal, action, resource) when {{ {condition} }};'


@pytest.mark.parametrize(
    ("fields", "forbidden"),
    [
        ({}, True),
        ({"tenants": ("vision",)}, True),
        ({"tenants": ("search",)}, False),
        ({"kinds": (WorkKind.TRAINING,)}, True),
        ({"kinds": (WorkKind.EVALUATION,)}, False),
        ({"sites": ("cloud-us", "x")}, True),
        ({"sites": ("onprem",)}, False),
        ({"jurisdictions": ("US",)}, True),
        ({"jurisdictions": ("DE",)}, False),
        ({"trust_zones": (TrustZone.PUBLIC,)}, True),
        ({"trust_zones": (TrustZone.PRIVATE,)}, False),
        ({"purchases": (Purchase.ON_DEMAND,)}, True),
        ({"purchases": (Purchase.SPOT,)}, False),
        ({"datasets": ("digits",)}, True),
        ({"datasets": ("docs",)}, False),
        ({"tenants": ("vision",), "sites": ("onprem",)}, False),
        ({"tenants": ("vision",), "sites": ("cloud-us",)}, True),
    ],
)
def test_a_rule_forbids_what_matches_all_of_its_fields(fields, forbidden):
    rule = Rule("r", **fields)
    assert rule.forbids(request(), US, US_OFFER) is forbidden
    policy = policy_of(rule)
    found = Question(policy, FACTS).forbidding(policy.class_of(US, US_OFFER), NOW_AT)
    assert found == (("r",) if forbidden else ())


def test_all_ids_that_forbid_are_told_sorted():
    policy = policy_of(Rule("b"), Rule("x", sites=("nowhere",)), Rule("a"))
    assert Question(policy, FACTS).forbidding(policy.class_of(ONPREM, OWNED), NOW_AT) == ("a", "b")


def test_a_rule_about_datasets_does_not_touch_a_run_without_data():
    rule = Rule("r", datasets=("digits",))
    policy = policy_of(rule)
    facts = Facts.of(request(datasets=()), (), BALANCE)
    assert Question(policy, facts).forbidding(policy.class_of(US, US_OFFER), NOW_AT) == ()


@pytest.mark.parametrize(
    ("condition", "forbidden"),
    [
        ('resource.regions.contains("FIVE-EYES")', True),
        ('resource.regions.contains("EU")', False),
        ("resource.trust_rank < 1", True),
        ("resource.simulated", True),
        ('resource.device == "gpu-sim"', True),
        ("resource.price_cents_per_hour >= 300", True),
        ("resource.price_cents_per_hour > 300", False),
        ("resource.price_cents_per_hour + 1 > 300", True),
        ('context.residency_tags == ["EU"]', True),
        ('context.needed_zone == "public" && context.needed_rank == 0', True),
        ("context.devices == 1 && context.priority == 50 && context.checkpointed", True),
        ('principal == Tenant::"vision" && principal.name == "vision"', True),
        ('principal in Group::"g"', True),
        ('principal in Group::"h"', False),
        ('resource in Site::"cloud-us"', True),
        ('resource in [Site::"onprem", Site::"cloud-us"]', True),
        ('resource is Offer in Site::"onprem"', False),
        ('resource == Offer::"cloud-us/od"', True),
        ('[Offer::"cloud-us/spot", Offer::"cloud-us/od"].contains(resource)', True),
        ('action == Action::"burst"', True),
        ("principal has burst_run_cents && principal.burst_run_cents == 500", True),
        ("principal has burst_budget_percent", False),
        ("context.bursting_stopped", False),
        ('{kind: context.kind}.kind == "training"', True),
        ('if resource.simulated then context.kind like "tr*" else false', True),
    ],
)
def test_what_a_policy_sees(condition, forbidden):
    tenants = (TenantRules("vision", ("g",), 5 * USD),)
    assert forbids(when(condition), tenants=tenants) == (("r",) if forbidden else ())


@pytest.mark.parametrize(
    ("condition", "needed_micro", "forbidden"),
    [
        ("context.cost_cents > 12345", 123_450_000, False),
        ("context.cost_cents > 12345", 123_450_001, True),
        ("12345 < context.cost_cents", 123_450_001, True),
        ("context.cost_cents >= 12346", 123_450_001, True),
        ("context.cost_cents == 0", 0, True),
        ("context.cost_cents == 0", 1, False),
        ("context.cost_cents != 7", 70_000, False),
        ("context.cost_cents > principal.burst_run_cents", 5_000_000, False),
        ("context.cost_cents > principal.burst_run_cents", 5_000_001, True),
        ("context.budget_percent > 90", 90 * USD, False),
        ("context.budget_percent > 90", 90 * USD + 1, True),
    ],
)
def test_money_is_compared_to_the_micro_dollar(condition, needed_micro, forbidden):
    found = forbids(when(condition), needed_micro=needed_micro, tenants=(TenantRules("vision", (), 5 * USD),))
    assert found == (("r",) if forbidden else ())


def test_arithmetic_on_money_counts_it_a_little_higher():
    assert forbids(when("context.cost_cents + 1 > 12345"), needed_micro=123_430_000) == ("r",)


def test_what_is_moved_is_seen():
    moved = Moved(("digits",), 4_000_000_000, 360_000)
    for condition, forbidden in (
        ('context.moved.contains("digits")', True),
        ("context.egress_gb > 4", False),
        ("context.egress_gb > 3", True),
        ("context.egress_cents >= 36", True),
        ("context.moved.isEmpty()", False),
    ):
        assert forbids(when(condition), moved=moved) == (("r",) if forbidden else ())


def test_without_a_permit_everything_is_forbidden():
    for text in ("", when("false")):
        policy = Policy("v", text)
        answer = Question(policy, FACTS).answer(policy.class_of(ONPREM, OWNED), NOW_AT)
        assert (answer.allowed, answer.deciding) == (False, (DEFAULT_DENY,))


def test_a_forbid_that_cannot_be_evaluated_forbids():
    overflow = when("context.priority + 9223372036854775807 > 0")
    assert forbids(overflow) == ("r",)
    assert forbids(when("context.nothing")) == ("r",)
    permit = "permit (principal, action, resource) when { context.priority + 9223372036854775807 > 0 };"
    policy = Policy("v", permit)
    assert Question(policy, FACTS).forbidding(policy.class_of(ONPREM, OWNED), NOW_AT) == (DEFAULT_DENY,)


def test_an_emergency_stop_needs_no_policy_and_leaves_what_is_owned():
    for text in (PERMIT_ALL, PERMIT_ALL + when("false")):
        policy = Policy("v", text, bursting_stopped=True)
        assert Question(policy, FACTS).forbidding(policy.class_of(US, US_OFFER), NOW_AT) == (BURSTING_STOPPED,)
        assert Question(policy, FACTS).forbidding(policy.class_of(ONPREM, OWNED), NOW_AT) == ()
    for built_in in (BURSTING_STOPPED, DEFAULT_DENY):
        with pytest.raises(InputError, match="built in"):
            Policy("v", f'@id("{built_in}") permit (principal, action, resource);').program  # noqa: B018


@pytest.mark.parametrize("text", ["permit (principal", "permit (principal == ?principal, action, resource);"])
def test_what_is_no_policy_is_refused(text):
    with pytest.raises(InputError) as caught:
        Policy("v", text).program  # noqa: B018
    assert caught.value.code == "BAD_POLICY"


def test_a_window_holds_from_its_first_instant_until_before_its_last():
    window = Window("night", (Span(NOW_AT, NOW_AT + 10), Span(NOW_AT + 20, NOW_AT + 30)))
    text = when('context.windows.contains("night")')
    for at, forbidden in ((-0.001, False), (0, True), (9.999, True), (10, False), (20, True), (30, False)):
        assert forbids(text, at=NOW_AT + at, windows=(window,)) == (("r",) if forbidden else ())
    policy = Policy("v", text, windows=(window,))
    assert policy.edges(NOW_AT, NOW_AT + 30) == (NOW_AT + 10, NOW_AT + 20, NOW_AT + 30)
    assert policy.timed
    asks_nothing = Policy("v", windows=(window,))
    assert (asks_nothing.timed, asks_nothing.edges(0.0, NOW_AT + 30)) == (False, ())


def test_offers_that_differ_in_nothing_that_is_mentioned_are_one_class():
    spot, od = EU.pools[0].offers[1], EU.pools[0].offers[0]
    by_kind = policy_of(Rule("r", kinds=(WorkKind.TRAINING,)))
    assert by_kind.class_of(EU, spot) == by_kind.class_of(US, US_OFFER) != by_kind.class_of(ONPREM, OWNED)
    by_purchase = policy_of(Rule("r", purchases=(Purchase.SPOT,)))
    assert by_purchase.class_of(EU, spot) != by_purchase.class_of(EU, od) == by_purchase.class_of(US, US_OFFER)
    by_price = Policy("v", when("resource.price_cents_per_hour > 100"))
    prices = [by_price.class_of(EU, replace(od, price=Price(micro))) for micro in (1_000_000, 1_010_000, 9_990_000)]
    assert prices[0] != prices[1] == prices[2]


def test_versions_with_one_name_are_not_mixed_up():
    for text, expected in ((PERMIT_ALL, ()), (PERMIT_ALL + when("true"), ("r",)), ("", (DEFAULT_DENY,))):
        policy = Policy("same name", text)
        assert Question(policy, FACTS).forbidding(policy.class_of(US, US_OFFER), NOW_AT) == expected
    member = Policy("same name", when('principal in Group::"g"'), tenants=(TenantRules("vision", ("g",)),))
    assert Question(member, FACTS).forbidding(member.class_of(US, US_OFFER), NOW_AT) == ("r",)
    assert Question(replace(member, tenants=()), FACTS).forbidding(member.class_of(US, US_OFFER), NOW_AT) == (
        DEFAULT_DENY,
    )


def test_facts_are_those_of_the_request_and_its_data():
    zones = (replace(DIGITS, trust_zone=TrustZone.PARTNER), DOCS)
    facts = Facts.of(request(residency=("DE",)), zones, replace(BALANCE, reserved_micro=3, settled_micro=4))
    assert facts.residency_tags == ("DE", "EU", "PUBLIC")
    assert (facts.needed_zone, facts.committed_micro, facts.datasets) == ("partner", 7, ("digits",))


@given(st.integers(0, 10**18))
def test_graded_is_never_less_and_at_most_a_hundredth_more(value):
    assert value <= graded(value) <= value + value // 100
    assert len(str(graded(value)).rstrip("0")) <= 3


@given(st.integers(0, 100), st.lists(st.integers(-5, 100), unique=True).map(lambda x: tuple(sorted(x))))
def test_stepped_values_compare_like_the_value(value, limits):
    step = stepped(value, limits)
    for limit in limits:
        assert (step < limit, step == limit) == (value < limit, value == limit)
    assert len({stepped(each, limits) for each in range(101)}) <= 2 * len(limits) + 1


@given(st.integers(0, 10**12), st.integers(1, 10**12), st.integers(0, 999))
def test_percent_is_above_a_limit_exactly_when_the_part_is(part, whole, limit):
    assert (percent(part, whole) > limit) == (100 * part > limit * whole)


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=("Cs",))))
def test_any_text_can_stand_in_a_policy(text):
    (rule,) = parsed(f"@id({quoted(text)}) permit (principal, action, resource);").rules
    assert rule.id == (text or rule.key)


CONDITIONS = (
    "resource.price_cents_per_hour > 90",
    "resource.price_cents_per_hour * 2 > 600",
    'resource.regions.containsAny(["EU", "CH"])',
    'resource in Site::"s1"',
    'resource == Offer::"s0/o0"',
    "context.cost_cents > 4000 || context.cost_cents < 3",
    "context.cost_cents > principal.burst_run_cents",
    "context.budget_percent >= 33",
    'context.windows.contains("day")',
    "context.egress_cents > 5 && resource.trust_rank == 0",
    '!(principal in Group::"g") && resource.purchase != "owned"',
    "context.devices * 2 > context.priority",
    "resource.simulated && [resource].contains(resource)",
)


@given(st.data())
def test_classes_and_memory_change_no_answer(data):
    """What is remembered by class is what Cedar says when it sees everything."""
    conditions = data.draw(st.lists(st.sampled_from(CONDITIONS), max_size=4, unique=True))
    effects = data.draw(st.lists(st.sampled_from(("permit", "forbid")), min_size=4, max_size=4))
    text = "".join(
        f'@id("r{index}") {effect} (principal, action, resource) when {{ {condition} }};\n'
        for index, (condition, effect) in enumerate(zip(conditions, effects, strict=False))
    )
    policy = Policy(
        "v",
        data.draw(st.sampled_from((PERMIT_ALL, ""))) + text,
        windows=(Window("day", (Span(NOW_AT, NOW_AT + 100),)),),
        tenants=(
            TenantRules("vision", data.draw(st.sampled_from(((), ("g",)))), data.draw(st.sampled_from((None, USD)))),
        ),
        bursting_stopped=data.draw(st.booleans()),
    )
    site = data.draw(drawn.sites("s0"))
    offer = data.draw(st.sampled_from([offer for pool in site.pools for offer in pool.offers]))
    needed = data.draw(st.sampled_from((0, 20_000, 30_000, 33 * USD, 33 * USD + 1, 40 * USD, 90 * USD, 10**9)))
    moved = data.draw(st.sampled_from((Moved(), Moved(("digits",), 10**9, 50_000), Moved(("digits",), 10**9, 50_001))))
    at = data.draw(st.sampled_from((NOW_AT, NOW_AT + 100)))
    remembered = Question(policy, FACTS).answer(policy.class_of(site, offer), at, needed, moved)
    assert remembered == Question(policy, FACTS).answer_in_full(site, offer, at, needed, moved)


@given(
    st.sampled_from((0, 3, 10**6, 25 * 10**6)),
    st.sampled_from((0, 1, 7 * 10**6)),
    st.lists(st.integers(0, 30 * 10**6), min_size=2, max_size=2),
    st.sampled_from((None, 0, 12_345, 5 * USD)),
    st.lists(st.sampled_from(("context.cost_cents > 7", "context.cost_cents == 300", "context.budget_percent >= 33",
                              "context.budget_percent == 100", "context.cost_cents > principal.burst_run_cents",
                              "context.budget_percent < 1")), min_size=1, unique=True),
)  # fmt: skip
def test_needs_between_two_steps_get_the_same_answer(limit, committed, needs, ceiling, conditions):
    text = "".join(when(condition).replace('"r"', f'"r{index}"') for index, condition in enumerate(conditions))
    facts = replace(FACTS, limit_micro=limit, committed_micro=committed)
    policy = Policy("v", PERMIT_ALL + text, tenants=(TenantRules("vision", (), ceiling),))
    question = Question(policy, facts)
    steps = question.money_steps()
    offer_class = policy.class_of(US, US_OFFER)
    places = [bisect_left(steps, need) for need in needs]
    answers = [question.forbidding(offer_class, NOW_AT, need) for need in needs]
    assert places[0] != places[1] or answers[0] == answers[1]
    for step in steps:
        below = [question.forbidding(offer_class, NOW_AT, need) for need in (step, max(0, step - 1))]
        assert below[0] == below[1] or bisect_left(steps, step) != bisect_left(steps, max(0, step - 1))


def test_money_that_is_calculated_with_has_no_steps():
    assert Question(Policy("v", when("context.cost_cents * 2 > 7")), FACTS).money_steps() is None
    assert Question(Policy("v"), FACTS).money_steps() == ()

"""Every code has its sentence, and figures are written so that what is told is enough."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from infra.core.placement.decision import Change, ChangeKind, Decision, Reason, ReasonCode
from infra.core.units import instant
from infra.render.prose import change_text, clock, code_text, money, reason_text, short_run, span
from tests.property.strategies import NOW_AT, decisions

DAY = "2026-11-24T"


def _reason(code: ReasonCode, **params: object) -> Reason:
    return Reason(code, tuple(sorted(params.items())))  # type: ignore[arg-type]


AT = instant(f"{DAY}14:00:00Z")
SENTENCES = {
    ReasonCode.RESIDENCY_EXCLUDED: (
        {"dataset": "d", "tags": ("CH", "EU"), "jurisdiction": "US"},
        "d may be processed in CH, EU only, and this is US",
    ),
    ReasonCode.TRUST_ZONE_TOO_LOW: ({"zone": "public", "needed": "private"}, "trust zone public is below private"),
    ReasonCode.POLICY_STALE: ({"policy": "p1", "valid_until_at": AT - 60}, "policy p1 ended 13:59 UTC"),
    ReasonCode.POLICY_FORBIDS: ({"rules": ("a", "b")}, "forbidden by a, b"),
    ReasonCode.SITE_DOWN: ({"site": "s", "detail": "no heartbeat"}, "site is down: no heartbeat"),
    ReasonCode.PURCHASE_NOT_ALLOWED: ({"purchase": "spot", "allowed": ("owned",)}, "spot is not among owned"),
    ReasonCode.DEVICE_KIND_MISMATCH: ({"device": "gpu-a", "wanted": ("gpu-b",)}, "gpu-a is not among gpu-b"),
    ReasonCode.MEMORY_TOO_SMALL: ({"memory_gb": 16.0, "needed_gb": 24}, "16 GB of 24 GB memory"),
    ReasonCode.CAPACITY_TOO_SMALL: ({"capacity": 2, "needed": 3}, "has 2 of 3 devices at all"),
    ReasonCode.CAPACITY_BUSY: (
        {"free": 0, "needed": 2, "free_at": AT + 330},
        "0 of 2 devices free now, enough from 14:05:30 UTC",
    ),
    ReasonCode.PRICE_MISSING: ({"offer": "spot"}, "no price is known for spot"),
    ReasonCode.PRICE_STALE: ({"valid_until_at": AT - 86_400}, "the price ended 2026-11-23 14:00 UTC"),
    ReasonCode.ESTIMATE_UNKNOWN: (
        {"kind": "training", "device": "gpu-a", "longest_s": 86_400.0},
        "no usable estimate of training on gpu-a (none below 1 d)",
    ),
    ReasonCode.DATASET_UNREACHABLE: (
        {"dataset": "d", "copies": ("s",)},
        "d can be read from none of its copies (s)",
    ),
    ReasonCode.DEADLINE_MISSED: (
        {"deadline_at": AT, "finish_high_at": AT + 200, "late_s": 200.0, "probability": 0.849, "required": 0.9},
        "in time with 84 %, 90 % is required: that sure only by 14:03:20 UTC, 3 min 20 s after the deadline",
    ),
    ReasonCode.BUDGET_RUN_EXCEEDED: (
        {"budget_micro": 1_000_000, "needed_micro": 1_834_000, "short_micro": 834_000},
        "may cost $1.84, the run's budget is $1.00",
    ),
    ReasonCode.BUDGET_TENANT_EXCEEDED: (
        {"tenant": "t", "available_micro": 0, "needed_micro": 5_437, "short_micro": 5_437},
        "may cost $0.005437, t has $0.00 left",
    ),
    ReasonCode.NOT_CHEAPEST: ({"extra_micro": 8043, "later_s": 0.0}, "costs $0.008043 more"),
    ReasonCode.SPOT_POLICY: (
        {"choice": "spot", "forced": 0, "chosen_micro": 1_245_334, "expected_micro": 2_238_609},
        "spot elsewhere is expected to cost $1.25 to the end, this $2.24",
    ),
}


@pytest.mark.parametrize("code", list(ReasonCode))
def test_every_reason_has_a_sentence(code: ReasonCode) -> None:
    params, sentence = SENTENCES[code]
    assert reason_text(_reason(code, **params), AT) == sentence
    assert code_text(code)


def test_other_sentences_of_a_code() -> None:
    own = _reason(ReasonCode.RESIDENCY_EXCLUDED, dataset="", tags=("EU",), jurisdiction="US")
    assert reason_text(own).startswith("the request may be processed in EU only")
    never = _reason(ReasonCode.CAPACITY_BUSY, free=1, needed=2)
    assert reason_text(never) == "1 of 2 devices free now"
    tie = _reason(ReasonCode.NOT_CHEAPEST, extra_micro=0, later_s=4.0)
    assert reason_text(tie) == "costs the same and ends 4 s later"
    same = _reason(ReasonCode.NOT_CHEAPEST, extra_micro=0, later_s=0.0)
    assert reason_text(same) == "equal; the first by name is taken"
    forced = _reason(ReasonCode.SPOT_POLICY, choice="on_demand", forced=1, chosen_micro=5)
    assert reason_text(forced) == "the deadline leaves on-demand only, should spot capacity go"
    left_out = _reason(ReasonCode.SPOT_POLICY, choice="none", forced=0, chosen_micro=5)
    assert reason_text(left_out).endswith("and this is dearer or too risky for the deadline")


def test_a_reason_of_another_engine_is_still_told() -> None:
    assert reason_text(_reason(ReasonCode.SITE_DOWN, why=("a", "b"))) == "SITE_DOWN (why a, b)"
    assert reason_text(_reason(ReasonCode.SITE_DOWN)) == "SITE_DOWN"


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(decisions())
def test_reasons_of_decisions_never_fall_back_to_their_code(decision: Decision) -> None:
    for candidate in decision.candidates:
        for reason in candidate.reasons:
            assert not reason_text(reason, NOW_AT).startswith(reason.code.value)
    for item in decision.counterfactuals:
        assert all(change_text(change, NOW_AT) for change in item.changes)


CHANGES = {
    ChangeKind.BUDGET: (1_834_001, "budget ≥ $1.84"),
    ChangeKind.TENANT_BUDGET: (25_000_000, "tenant's monthly budget ≥ $25.00"),
    ChangeKind.DEADLINE: (AT + 1200, "deadline ≥ 14:20 UTC"),
    ChangeKind.RESIDENCY: ("US", "residency + US"),
    ChangeKind.TRUST_ZONE: ("public", "trust zone public allowed"),
    ChangeKind.DEVICES: (2, "devices ≤ 2"),
    ChangeKind.DEVICE_KIND: ("gpu-b", "device kinds + gpu-b"),
    ChangeKind.MEMORY: (16.0, "memory ≤ 16 GB"),
    ChangeKind.PURCHASE: ("spot", "purchases + spot"),
    ChangeKind.WAIT: ("wait", "waiting allowed"),
}


@pytest.mark.parametrize("kind", list(ChangeKind))
def test_every_change_has_a_sentence(kind: ChangeKind) -> None:
    value, sentence = CHANGES[kind]
    assert change_text(Change(kind, value), AT) == sentence


@pytest.mark.parametrize(
    ("micro", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (9_999, "$0.009999"),
        (10_001, "$0.0101"),
        (999_999, "$1.00"),
        (1_000_000, "$1.00"),
        (1_000_001, "$1.01"),
        (-500_000, "-$0.50"),
    ],
)
def test_money_is_rounded_up(micro: int, text: str) -> None:
    assert money(micro) == text


def test_instants_are_rounded_up_and_tell_the_day_when_it_differs() -> None:
    assert clock(AT + 0.001, AT) == "14:00:01 UTC"
    assert clock(AT, AT) == "14:00 UTC"
    assert clock(AT + 86_400, AT) == "2026-11-25 14:00 UTC"
    assert clock(instant(f"{DAY}23:59:59.500Z"), AT) == "2026-11-25 00:00 UTC"
    assert clock(AT) == "2026-11-24 14:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.25, "0.2 s"),
        (8.4, "8.4 s"),
        (59.9, "60 s"),
        (59.96, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (3600, "1 h"),
        (273_600, "3 d 4 h"),
        (-200, "-3 min 20 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(("stage", "text"), [("", "684537fe"), (":train", "684537fe:train")])
def test_a_run_is_named_by_what_the_commands_take(stage: str, text: str) -> None:
    assert short_run(f"684537fe-34ea-4e17-adcd-4d6707bbf606{stage}") == text

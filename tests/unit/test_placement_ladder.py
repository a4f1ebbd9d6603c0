"""The request's own ladder: which rung is taken, what is said of those above, and what a rung may say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra.core.canonical import canonical
from infra.core.errors import InputError
from infra.core.inventory import Purchase
from infra.core.placement.decide import decide
from infra.core.placement.decision import Outcome, ReasonCode
from infra.core.placement.ladder import descend
from infra.core.placement.snapshot import Snapshot
from infra.core.policy import PERMIT_ALL, Policy
from infra.core.rung import Rung
from infra.core.workload import Fallback, Resources, WorkloadRequest
from infra.documents import request_from_json
from tests.unit.placement_world import HOUR_S, NOW_AT, busy, codes, request, snapshot

R = ReasonCode
OWNED_ONLY = {"purchases": (Purchase.OWNED,)}
SMALL = Rung("small", devices=1)
LIGHT = Rung("light", units=50.0, parameters=(("epochs", 1), ("hidden", 32)))
LATE = Rung("late", no_deadline=True, wait=True)


def tried(wanted: WorkloadRequest, world: Snapshot) -> list[tuple[str, str, list[str]]]:
    """Rung, outcome and what stands in the way, of each step."""
    return [
        (each.request.rung, each.decision.outcome.value, [code.value for code in each.decision.binding])
        for each in descend(wanted.rungs(), world)
    ]


@pytest.mark.parametrize(
    ("changes", "world", "expected"),
    [
        # What fits as asked is not looked at any further, and a wait is an answer.
        ({"ladder": (SMALL,), "resources": Resources(2)}, {}, [("", "run", [])]),
        ({"ladder": (SMALL,), "resources": Resources(2), **OWNED_ONLY}, {"loads": (busy(),)}, [("", "wait", [])]),
        # Smaller resources.
        (
            {"ladder": (SMALL,), "resources": Resources(3), **OWNED_ONLY},
            {},
            [("", "infeasible", ["CAPACITY_TOO_SMALL"]), ("small", "run", [])],
        ),
        (
            {"ladder": (Rung("less-memory", memory_gb=8.0),), "resources": Resources(1, (), 20.0)},
            {},
            [("", "infeasible", ["MEMORY_TOO_SMALL"]), ("less-memory", "run", [])],
        ),
        # The order is the asker's: the first that fits, not the best of them.
        (
            {"ladder": (Rung("two", devices=2), SMALL), "resources": Resources(3), **OWNED_ONLY},
            {},
            [("", "infeasible", ["CAPACITY_TOO_SMALL"]), ("two", "run", [])],
        ),
        (
            {"ladder": (SMALL, Rung("two", devices=2)), "resources": Resources(3), **OWNED_ONLY},
            {},
            [("", "infeasible", ["CAPACITY_TOO_SMALL"]), ("small", "run", [])],
        ),
        # A lighter work fits before the deadline.
        (
            {"ladder": (SMALL, LIGHT), "resources": Resources(2), "deadline_at": NOW_AT + 200, **OWNED_ONLY},
            {},
            [
                ("", "infeasible", ["DEADLINE_MISSED"]),
                ("small", "infeasible", ["DEADLINE_MISSED"]),
                ("light", "run", []),
            ],
        ),
        # Rungs do not add up: the light work of the rung above is not that of the last one, which may be late.
        (
            {"ladder": (LIGHT, LATE), "deadline_at": NOW_AT + 10, **OWNED_ONLY},
            {},
            [
                ("", "infeasible", ["DEADLINE_MISSED"]),
                ("light", "infeasible", ["DEADLINE_MISSED"]),
                ("late", "run", []),
            ],
        ),
        # The queue as the last resort of what must not wait.
        (
            {"ladder": (Rung("queue", wait=True),), "fallbacks": (), **OWNED_ONLY},
            {"loads": (busy(),)},
            [("", "infeasible", ["CAPACITY_BUSY"]), ("queue", "wait", [])],
        ),
        # Refused: with what stood in the way of each.
        (
            {
                "ladder": (Rung("one", devices=1, wait=False),),
                "resources": Resources(3),
                **OWNED_ONLY,
            },
            {"loads": (busy(),)},
            [("", "infeasible", ["CAPACITY_TOO_SMALL"]), ("one", "infeasible", ["CAPACITY_BUSY"])],
        ),
    ],
)
def test_the_first_rung_that_fits_is_taken(
    changes: dict[str, Any], world: dict[str, Any], expected: list[tuple[str, str, list[str]]]
) -> None:
    found = tried(request(**changes), snapshot(**world))
    assert [step[:2] for step in found] == [step[:2] for step in expected]
    for (_, _, binding), (_, _, wanted) in zip(found, expected, strict=True):
        assert set(wanted) <= set(binding), found


def test_every_step_is_a_decision_of_its_own() -> None:
    wanted, world = request(ladder=(SMALL, LIGHT), deadline_at=NOW_AT + 200, resources=Resources(2)), snapshot()
    for step in descend(wanted.rungs(), world):
        again = request_from_json(canonical(step.request))
        assert canonical(decide(again, world)) == canonical(step.decision)
        assert canonical(again) == canonical(step.request)
        assert again.on == next((rung for rung in wanted.ladder if rung.name == step.request.rung), None)


def test_each_rung_is_policed() -> None:
    text = PERMIT_ALL + '@id("not-here") forbid (principal, action, resource in Site::"onprem");'
    wanted = request(ladder=(SMALL,), resources=Resources(5), deadline_at=NOW_AT + 2 * HOUR_S)
    free = descend(wanted.rungs(), snapshot())[-1]
    assert (free.request.rung, free.decision.chosen.site) == ("small", "onprem")
    policed = descend(wanted.rungs(), snapshot(policy=Policy("v", text)))[-1]
    assert (policed.request.rung, policed.decision.chosen.site) == ("small", "cloud-eu")
    assert R.POLICY_FORBIDS in codes(policed.decision, "onprem", "owned")


def test_residency_holds_on_every_rung() -> None:
    wanted = request(ladder=(SMALL, LIGHT, LATE), resources=Resources(2), residency=("US",))
    steps = descend(wanted.rungs(), snapshot())
    assert [step.decision.outcome for step in steps] == [Outcome.INFEASIBLE] * 4
    assert all(R.RESIDENCY_EXCLUDED in step.decision.binding for step in steps)


def test_budgets_hold_on_every_rung() -> None:
    wanted = request(ladder=(SMALL,), resources=Resources(2), budget_micro=0, purchases=(Purchase.ON_DEMAND,))
    steps = descend(wanted.rungs(), snapshot())
    assert [R.BUDGET_RUN_EXCEEDED in step.decision.binding for step in steps] == [True, True]


def test_a_deadline_that_is_over_leaves_the_rungs_without_one() -> None:
    wanted = request(ladder=(LIGHT, LATE, SMALL), deadline_at=NOW_AT, resources=Resources(2), **OWNED_ONLY)
    assert tried(wanted, snapshot()) == [("late", "run", [])]
    with pytest.raises(InputError, match="DEADLINE_PAST"):
        descend(replace(wanted, ladder=(LIGHT,)).rungs(), snapshot())


def test_what_a_rung_does_not_name_is_as_asked() -> None:
    asked = request(resources=Resources(2, ("gpu-sim",), 8.0), deadline_at=NOW_AT + HOUR_S, budget_micro=7)
    wanted = replace(asked, ladder=(Rung("any", device_kinds=()), SMALL, LIGHT, LATE, Rung("now", wait=False)))
    as_asked, any_kind, small, light, late, now = wanted.rungs()
    assert as_asked == wanted
    assert any_kind == replace(wanted, rung="any", resources=Resources(2, (), 8.0))
    assert small == replace(wanted, rung="small", resources=Resources(1, ("gpu-sim",), 8.0))
    assert light == replace(wanted, rung="light", units=50.0)
    assert late == replace(wanted, rung="late", deadline_at=None)
    assert now == replace(wanted, rung="now", fallbacks=())
    assert light.rungs() == (light,)
    assert replace(wanted, fallbacks=()).rungs()[4].fallbacks == (Fallback.WAIT,)


def test_the_same_parameters_are_the_same_work() -> None:
    other = Rung("light-and-late", parameters=LIGHT.parameters, units=50.0, no_deadline=True)
    assert other.work == LIGHT.work != ""
    assert Rung("lighter", parameters=(("epochs", 1),)).work not in ("", LIGHT.work)
    assert (SMALL.work, LATE.work) == ("", "")


@pytest.mark.parametrize(
    ("ladder", "code", "where"),
    [
        ((Rung("more", devices=3),), "RUNG_ASKS_MORE", "request: ladder[0].devices"),
        ((SMALL, Rung("more", memory_gb=8.5)), "RUNG_ASKS_MORE", "request: ladder[1].memory_gb"),
        ((replace(LIGHT, units=1001.0),), "RUNG_ASKS_MORE", "request: ladder[0].units"),
        ((SMALL, LIGHT, SMALL), "DUPLICATE_RUNG", "request: ladder[2].name"),
    ],
)
def test_ladders_that_are_refused(ladder: tuple[Rung, ...], code: str, where: str) -> None:
    with pytest.raises(InputError) as caught:
        request(resources=Resources(2, (), 8.0), ladder=ladder).rungs()
    assert (caught.value.code, caught.value.where) == (code, where)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("fields", "code", "where"),
    [
        ({}, "EMPTY_RUNG", "rung: name"),
        ({"name": "", "devices": 1}, "BAD_NAME", "rung: name"),
        ({"devices": 0}, "BAD_NUMBER", "rung: devices"),
        ({"memory_gb": float("nan")}, "BAD_NUMBER", "rung: memory_gb"),
        ({"units": 5.0}, "BAD_RUNG", "rung: units"),
        ({"units": -5.0, "parameters": (("epochs", 1),)}, "BAD_NUMBER", "rung: units"),
        ({"parameters": (("b", 1), ("a", 1))}, "BAD_RUNG", "rung: parameters"),
        ({"parameters": (("a", 1), ("a", 2))}, "BAD_RUNG", "rung: parameters"),
        ({"parameters": (("a", float("inf")),)}, "BAD_NUMBER", "rung: parameters.a"),
        ({"parameters": (("a", -1),)}, "BAD_NUMBER", "rung: parameters.a"),
    ],
)
def test_rungs_that_are_refused(fields: dict[str, Any], code: str, where: str) -> None:
    with pytest.raises(InputError) as caught:
        Rung(**{"name": "r"} | fields)
    assert (caught.value.code, caught.value.where) == (code, where)


def test_an_unknown_rung_and_an_unknown_device_are_told_with_their_place() -> None:
    with pytest.raises(InputError, match="UNKNOWN_RUNG at request: rung"):
        request(rung="nowhere")
    wanted = request(ladder=(SMALL, Rung("tpu", device_kinds=("tpu",))), resources=Resources(9), fallbacks=())
    with pytest.raises(InputError) as caught:
        descend(wanted.rungs(), snapshot(loads=(busy(),), health=(), sites=snapshot().sites[:1]))
    assert (caught.value.code, caught.value.where) == ("UNKNOWN_DEVICE", "request: ladder[1].device_kinds")


def test_a_request_without_a_ladder_keeps_its_bytes() -> None:
    text = canonical(request()).decode()
    assert "ladder" not in text
    assert "rung" not in text
    assert request_from_json(text) == request()
    laddered = request(ladder=(SMALL,))
    assert '"ladder":[{' in canonical(laddered).decode()
    assert request_from_json(canonical(laddered)) == laddered

"""What always holds of ladders: the answer is the first feasible rung, and what stands below it does not matter."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.core.canonical import canonical
from infra.core.inventory import Purchase, TrustZone
from infra.core.placement.decide import decide
from infra.core.placement.decision import Outcome
from infra.core.placement.ladder import descend
from infra.core.placement.snapshot import Snapshot
from infra.core.rung import Rung
from infra.core.workload import Resources, WorkloadRequest
from infra.documents import request_from_json
from tests.property.strategies import NOW_AT, problems
from tests.property.test_placement import COMMON


@st.composite
def rungs(draw: st.DrawFn, request: WorkloadRequest, name: str) -> Rung:
    """A rung that asks for no more than the request, and changes something."""
    lighter = draw(st.booleans())
    return Rung(
        name=name,
        devices=draw(st.sampled_from((None, 1, 1, request.resources.devices))),
        device_kinds=draw(st.sampled_from((None, ()))),
        memory_gb=draw(st.sampled_from((None, 0.0, request.resources.memory_gb))),
        units=draw(st.sampled_from((None, 0.0, request.units / 100))) if lighter else None,
        parameters=(("epochs", draw(st.integers(1, 3))),) if lighter else (),
        no_deadline=draw(st.booleans()),
        wait=draw(st.sampled_from((True, False))),
    )


@st.composite
def laddered(draw: st.DrawFn) -> tuple[WorkloadRequest, Snapshot]:
    request, snapshot = draw(problems())
    if draw(st.booleans()):  # what a rung cannot help against is asked for less often…
        request = replace(
            request, residency=(), budget_micro=None, trust_zone=TrustZone.PUBLIC, purchases=tuple(Purchase)
        )
    # …and what it can, more often.
    request = replace(
        request,
        **draw(
            st.sampled_from(
                (
                    {},
                    {"resources": Resources(99)},
                    {"resources": replace(request.resources, memory_gb=999.0)},
                    {"deadline_at": NOW_AT + 1.0},
                )
            )
        ),
    )
    count = draw(st.integers(1, 3))
    return replace(request, ladder=tuple(draw(rungs(request, f"r{number}")) for number in range(count))), snapshot


@pytest.mark.slow
@settings(max_examples=150, **COMMON)
@given(laddered())
def test_the_answer_is_the_first_feasible_rung(problem: tuple[WorkloadRequest, Snapshot]) -> None:
    request, snapshot = problem
    variants = request.rungs()
    alone = [decide(each, snapshot) for each in variants]
    feasible = [number for number, each in enumerate(alone) if each.outcome is not Outcome.INFEASIBLE]
    steps = descend(variants, snapshot)
    assert len(steps) == (feasible[0] + 1 if feasible else len(variants))
    for step, wanted, decision in zip(steps, variants, alone, strict=False):
        assert step.request == wanted
        assert canonical(step.decision) == canonical(decision)
        # Each record can be decided again by itself.
        assert canonical(decide(request_from_json(canonical(step.request)), snapshot)) == canonical(decision)


@pytest.mark.slow
@settings(max_examples=80, **COMMON)
@given(laddered())
def test_a_rung_at_the_end_never_changes_an_earlier_answer(problem: tuple[WorkloadRequest, Snapshot]) -> None:
    request, snapshot = problem
    shorter = replace(request, ladder=request.ladder[:-1])
    before, after = descend(shorter.rungs(), snapshot), descend(request.rungs(), snapshot)
    assert len(after) in (len(before), len(before) + 1)
    for short, long in zip(before, after, strict=False):
        assert canonical(short.decision) == canonical(long.decision)
        assert short.request.rung == long.request.rung
    if before[-1].decision.outcome is not Outcome.INFEASIBLE:
        assert len(after) == len(before)


@settings(max_examples=25, **COMMON)
@given(problems())
def test_without_a_ladder_everything_is_as_before(problem: tuple[WorkloadRequest, Snapshot]) -> None:
    request, snapshot = problem
    assert request.rungs() == (request,)
    (step,) = descend(request.rungs(), snapshot)
    assert step.request is request
    assert canonical(step.decision) == canonical(decide(request, snapshot))


@settings(max_examples=25, **COMMON)
@given(laddered())
def test_a_ladder_does_not_change_what_is_decided_as_asked(problem: tuple[WorkloadRequest, Snapshot]) -> None:
    request, snapshot = problem
    first = descend(request.rungs(), snapshot)[0]
    assert canonical(first.decision) == canonical(decide(replace(request, ladder=()), snapshot))

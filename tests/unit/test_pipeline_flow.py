"""A flow's plan gives each stage its share, and keeps up as stages end."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from infra.core.placement.decision import CostParts
from infra.core.placement.pipelines.decide import PipelineRequest, PipelineStage, StageInput, decide_pipeline
from infra.core.placement.pipelines.share import Share
from tasks import pipelines
from tasks.entry import EndedError
from tests.unit.placement_world import NOW_AT, USD, on_docs, snapshot

REQUEST = PipelineRequest(
    "p",
    "vision",
    (PipelineStage("a", on_docs()), PipelineStage("b", on_docs(), (StageInput("a", reads=False),))),
    deadline_at=NOW_AT + 4000,
    budget_micro=5 * USD,
)


def _plan(monkeypatch: pytest.MonkeyPatch, request: PipelineRequest, attempts=(), publication=None, run=None):
    runs = SimpleNamespace(
        attempts=lambda run_id: tuple(attempts) if run_id.endswith(":a") else (),
        publication=lambda run_id: publication,
        run=lambda run_id: run,
    )
    monkeypatch.setattr(pipelines, "control_plane", lambda: SimpleNamespace(database=SimpleNamespace(runs=runs)))
    world = snapshot()
    monkeypatch.setattr(pipelines, "plan_pipeline", lambda rest: (decide_pipeline(rest, world), world))
    return pipelines.PipelinePlan(request, "flow")


def test_a_stage_gets_what_the_others_do_not_need(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _plan(monkeypatch, REQUEST)
    assert plan.share("a") == Share(NOW_AT + 2500, 5 * USD)  # on the free offer b takes 1,500 s at the high estimate
    plan.end("a", None)
    assert plan.share("b") == Share(NOW_AT + 4000, 5 * USD)


def test_what_was_charged_is_taken_off_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = SimpleNamespace(state=SimpleNamespace(closed=True), charged=CostParts(compute_micro=2 * USD))
    plan = _plan(monkeypatch, REQUEST, attempts=(lost,), run=object())
    assert plan.share("a").budget_micro == 5 * USD  # its own attempts are taken off when it is placed
    plan.end("a", None)
    assert plan.share("b").budget_micro == 3 * USD


def test_a_stage_under_way_is_not_planned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _plan(monkeypatch, REQUEST, publication=object()).share("a") == Share()
    live = SimpleNamespace(state=SimpleNamespace(closed=False), charged=None)
    assert _plan(monkeypatch, REQUEST, attempts=(live,)).share("a") == Share()


def test_what_cannot_be_finished_is_refused_before_anything_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    late = replace(REQUEST, deadline_at=NOW_AT + 2000)
    with pytest.raises(EndedError) as caught:
        _plan(monkeypatch, late).share("a")
    assert caught.value.code == "INFEASIBLE"
    assert "deadline" in caught.value.remedy
    begun = _plan(monkeypatch, late, run=object())
    assert begun.share("a") == Share(late.deadline_at, 5 * USD)

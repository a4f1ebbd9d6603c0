"""A ladder in the course of a run: what is recorded, what the site is asked to do, and which rung later attempts start from."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from infra.adapters.reports import write_report
from infra.core.canonical import digest
from infra.core.inventory import Purchase, Site
from infra.core.lifecycle import AttemptState, RunState
from infra.core.metering import ReportKind, ReportOutcome, SiteReport
from infra.core.placement.decision import Outcome
from infra.core.rung import Rung
from infra.core.workload import Resources
from infra.documents import request_from_json
from infra.ports import AttemptRecord, Publication
from infra.render.markdown import decision_markdown
from infra.render.replay import replayed
from infra.render.story import read_story, story_json, story_view
from tasks import artifacts, running
from tasks.attempts import closing_report, conclude, deciding_snapshot, rung_of, settle, wanted_units
from tasks.entry import EndedError, WaitUntilError
from tasks.moving import _done, placed
from tasks.permits import site_work
from tasks.placement import open_run, place
from tasks.run_plan import RunPlan
from tasks.site_io import StoreCheckpoints, share_done
from tasks.site_job import SiteWork
from tests.unit.placement_world import EU, NOW_AT, USD, on_docs
from tests.unit.test_spot_running import KEY, Control, play

ON_DEMAND = (Purchase.ON_DEMAND,)
SMALL = Rung("small", devices=1)
LIGHT = Rung("light", devices=1, units=300.0, parameters=(("epochs", 1), ("hidden", 32)))
LATE = Rung("late", devices=1, no_deadline=True)
PARAMETERS = {"epochs": 12, "hidden": 128, "seed": 3}


def wider(capacity: int) -> tuple[Site, ...]:
    """The cloud with so many devices in each offer."""
    (pool,) = EU.pools
    offers = tuple(replace(each, capacity=capacity) for each in pool.offers)
    return (replace(EU, pools=(replace(pool, offers=offers),)),)


def planned(control: Control, *ladder: Rung, run_id: str = "run-1", **changes: Any) -> RunPlan:
    """An hour of training on nine devices, of which the cloud has four."""
    wanted = {"units": 3600.0, "resources": Resources(9), "purchases": ON_DEMAND} | changes
    asked = on_docs(ladder=ladder, **wanted)
    plan = RunPlan(run_id, run_id, asked, (("data", asked.datasets[0]),), PARAMETERS, "model")
    open_run(control, plan)  # type: ignore[arg-type]
    return plan


def begun(control: Control, plan: RunPlan) -> AttemptRecord:
    attempt = place(control, plan).attempt  # type: ignore[arg-type]
    assert attempt is not None
    runs = control.database.runs
    return runs.update_attempt(plan.run_id, attempt.attempt, AttemptState.DISPATCHED, child_run_id="child")


def work_of(control: Control, plan: RunPlan, attempt: AttemptRecord) -> SiteWork:
    """What the site is asked to do, as it is found again from the records."""
    snapshot, rung = deciding_snapshot(control, attempt), rung_of(control, attempt)  # type: ignore[arg-type]
    return site_work(control, plan, attempt.attempt, attempt.site, snapshot, rung)  # type: ignore[arg-type]


def lost(control: Control, attempt: AttemptRecord, share: float, ran_s: float = 60.0) -> AttemptRecord:
    """The attempt ends after a checkpoint that stands for a share of its work."""
    control.clock.advance(ran_s)
    lighter = work_of(control, RunPlan("", "", on_docs(), ()), attempt).lighter
    StoreCheckpoints(control.store, attempt.run_id, attempt.attempt, lighter).save(1, b"state", share)
    report = SiteReport(
        ReportKind.CLOSED, attempt.run_id, attempt.attempt, attempt.permit.id, attempt.site, attempt.offer,
        attempt.devices, ReportOutcome.LOST, attempt.started_at, control.clock.now(), attempt.started_at + 1.0,
    )  # fmt: skip
    write_report(control.store, KEY, report)
    found = closing_report(control, attempt)  # type: ignore[arg-type]
    ended = conclude(control, attempt, found, wanted_units(control, attempt.run_id))  # type: ignore[arg-type]
    return settle(control, ended, found)  # type: ignore[arg-type]


def recorded(control: Control, run_id: str = "run-1") -> list[tuple[str, float]]:
    """Rung and units of each decision."""
    wanted = [request_from_json(each.request_json) for each in control.database.runs.decisions(run_id)]
    return [(each.rung, each.units) for each in wanted]


def test_every_step_is_recorded_and_can_be_replayed_and_told() -> None:
    control = Control()
    attempt = begun(control, planned(control, Rung("eight", devices=8), SMALL))
    records = control.database.runs.decisions("run-1")
    assert recorded(control) == [("", 3600.0), ("eight", 3600.0), ("small", 3600.0)]
    assert len({each.snapshot_json for each in records}) == 1
    assert all(replayed(each).identical for each in records)
    assert (attempt.devices, rung_of(control, attempt)) == (1, SMALL)  # type: ignore[arg-type]
    run = control.database.runs.run("run-1")
    assert run is not None
    story = read_story(control.database, run)
    told = story_json(story)["decisions"]
    assert [(each["rung"], each["outcome"]) for each in told] == [
        ("", "infeasible"),
        ("eight", "infeasible"),
        ("small", "run"),
    ]
    assert all("CAPACITY_TOO_SMALL" in each["binding"] for each in told[:2])
    estimate = story.estimate(attempt)
    assert estimate is not None
    assert estimate.total_micro == pytest.approx(4 * USD * 3700 / 3600, rel=1e-3)
    text = shown(story_view(story))
    assert "Decision 1 of 3" in text
    assert "as asked" in text
    assert "Rung small of its ladder: 1 device(s)." in text


def shown(view: Any) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(view)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_site_is_asked_for_the_rung_s_work_also_after_a_restart() -> None:
    control = Control()
    plan = planned(control, LIGHT)
    attempt = begun(control, plan)
    work = work_of(control, plan, attempt)
    assert work.parameters == {"epochs": 1, "hidden": 32, "seed": 3}
    assert work.lighter == LIGHT.work
    assert digest(work) == attempt.permit.work_sha256
    # Another process, which knows the records and what the form says.
    restarted = Control(control.database)
    assert digest(work_of(restarted, replace(plan), attempt)) == attempt.permit.work_sha256
    as_asked = site_work(control, plan, 1, attempt.site, deciding_snapshot(control, attempt), None)  # type: ignore[arg-type]
    assert as_asked.parameters == PARAMETERS
    assert digest(as_asked) != attempt.permit.work_sha256


def test_the_flow_s_result_names_the_rung() -> None:
    control = Control()
    attempt = begun(control, planned(control, LIGHT))
    done = Publication("run-1", 1, "model", "v1", "file:///m", "0" * 64, NOW_AT, {"accuracy": 0.9})
    assert running._result(control, attempt, done).as_dict()["rung"] == "light"  # type: ignore[arg-type]
    other = begun(control, planned(control, run_id="run-2", resources=Resources(1)))
    assert running._result(control, other, replace(done, run_id="run-2")).rung == ""  # type: ignore[arg-type]


def test_smaller_resources_are_the_same_work() -> None:
    control = Control()
    plan = planned(control, SMALL)
    attempt = begun(control, plan)
    work = work_of(control, plan, attempt)
    assert (work.parameters, work.lighter) == (PARAMETERS, "")
    assert digest(work) == attempt.permit.work_sha256


def test_a_run_does_not_go_back_above_a_rung_with_lighter_work() -> None:
    control = Control()
    plan = planned(control, SMALL, LIGHT, deadline_at=NOW_AT + 2000.0)
    lost(control, begun(control, plan), share=0.5)
    # As asked it would fit now: the run stays with the work that it has begun, and goes on from its checkpoint.
    control.sites = wider(40)
    attempt = begun(control, plan)
    assert recorded(control)[-1] == ("light", 150.0)
    assert len(recorded(control)) == 4
    of = placed(control, attempt)  # type: ignore[arg-type]
    assert of is not None
    assert (of.whole_units, of.work, of.request.units) == (300.0, LIGHT.work, 150.0)
    assert wanted_units(control, "run-1") == 150.0  # type: ignore[arg-type]
    assert _done(control, attempt, of, 0.0) == 0.5  # type: ignore[arg-type]
    assert share_done(control.store, "run-1") == 0.0
    assert all(replayed(each).identical for each in control.database.runs.decisions("run-1"))


def test_a_run_on_smaller_resources_goes_back_when_it_can_with_what_it_has_done() -> None:
    control = Control()
    plan = planned(control, SMALL)
    lost(control, begun(control, plan), share=0.25)
    control.sites = wider(40)
    attempt = begun(control, plan)
    assert (attempt.devices, recorded(control)[-1]) == (9, ("", 2700.0))
    of = placed(control, attempt)  # type: ignore[arg-type]
    assert of is not None
    assert (of.whole_units, of.work) == (3600.0, "")


def test_what_was_done_of_a_lighter_work_is_nothing_of_another() -> None:
    control = Control()
    plan = planned(control, LIGHT, LATE, deadline_at=NOW_AT + 1000.0)
    lost(control, begun(control, plan), share=0.5, ran_s=900.0)
    placement = place(control, plan)  # type: ignore[arg-type]
    assert [step.request.rung for step in placement.steps] == ["light", "late"]
    assert [step.request.units for step in placement.steps] == [150.0, 3600.0]
    assert placement.attempt is not None
    of = placed(control, placement.attempt)  # type: ignore[arg-type]
    assert of is not None
    assert (of.whole_units, of.work, of.request.deadline_at) == (3600.0, "", None)


def test_what_was_charged_is_taken_off_every_rung() -> None:
    control = Control()
    plan = planned(control, SMALL, budget_micro=20 * USD)
    ended = lost(control, begun(control, plan), share=0.1)
    assert ended.charged is not None
    assert ended.charged.total_micro > 0
    left = 20 * USD - ended.charged.total_micro
    placement = place(control, plan)  # type: ignore[arg-type]
    assert [step.request.budget_micro for step in placement.steps] == [left, left]
    assert placement.attempt is not None
    assert placement.attempt.cap_micro <= left


def test_a_deadline_that_passed_while_it_ran_does_not_end_a_run_that_may_be_late() -> None:
    control = Control()
    plan = planned(control, SMALL, LATE, units=600.0, deadline_at=NOW_AT + 1500.0)
    lost(control, begun(control, plan), share=0.0, ran_s=1600.0)
    placement = place(control, plan)  # type: ignore[arg-type]
    assert [step.request.rung for step in placement.steps] == ["late"]
    assert placement.decision.outcome is Outcome.RUN


def test_a_rung_that_may_wait_puts_the_run_into_the_queue() -> None:
    control = Control()
    begun(control, planned(control, run_id="other", resources=Resources(4)))
    plan = planned(control, SMALL, Rung("queue", devices=1, wait=True), resources=Resources(2), fallbacks=())
    placement = place(control, plan)  # type: ignore[arg-type]
    assert [(step.request.rung, step.decision.outcome.value) for step in placement.steps] == [
        ("", "infeasible"),
        ("small", "infeasible"),
        ("queue", "wait"),
    ]
    run = control.database.runs.run("run-1")
    assert run is not None
    assert (run.state, run.detail) == (RunState.WAITING, "on rung queue")
    (entry,) = control.database.runs.queue()
    assert (entry.run_id, entry.devices) == ("run-1", 1)


def test_a_run_is_refused_with_what_stands_in_the_way_of_each_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    control = Control()
    begun(control, planned(control, run_id="other", resources=Resources(4)))
    plan = planned(control, Rung("one", devices=1, wait=False))
    monkeypatch.setattr(running, "place_run", lambda of: place(control, of))  # type: ignore[arg-type]
    with pytest.raises(EndedError) as caught:
        running._place(plan)
    assert "as asked: " in caught.value.problem
    assert "CAPACITY_TOO_SMALL" in caught.value.problem
    assert "; rung one: " in caught.value.problem
    assert "CAPACITY_BUSY" in caught.value.problem
    assert "waiting allowed" in caught.value.remedy
    run = control.database.runs.run("run-1")
    assert run is not None
    assert run.state is RunState.INFEASIBLE
    assert [rung for rung, _ in recorded(control)] == ["", "one"]
    waits = planned(control, Rung("one", devices=1), run_id="run-2")
    with pytest.raises(WaitUntilError, match="waits for cloud-eu/od on rung one until"):
        running._place(waits)


def test_the_artifact_names_the_rung_and_tells_the_ladder() -> None:
    control = Control()
    placement = place(control, planned(control, Rung("eight", devices=8), LIGHT))  # type: ignore[arg-type]
    text = decision_markdown(placement.decision, placement.request, placement.snapshot, placement.steps)
    assert "Rung light of its ladder: 1 device(s), epochs 1, hidden 32, 300 units in all." in text
    assert "### Ladder" in text
    assert "1. as asked: infeasible: " in text
    assert "2. rung eight: infeasible: " in text
    assert "3. rung light: run now at cloud-eu/od" in text
    without = place(control, planned(control, run_id="run-2", resources=Resources(1)))  # type: ignore[arg-type]
    text = decision_markdown(without.decision, without.request, without.snapshot, without.steps)
    assert "adder" not in text
    assert artifacts.in_the_way(without) == ""


def test_the_spot_policy_watches_and_moves_a_run_on_its_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    staged = play(monkeypatch, [], 7000.0, pace=1.9)
    asked = replace(staged.plan.request, resources=Resources(9), ladder=(SMALL,))
    staged.plan = replace(staged.plan, request=asked)
    attempts = staged.run()
    assert [(attempt.purchase, attempt.ending) for attempt in attempts] == [("spot", "moved"), ("on_demand", None)]
    assert attempts[-1].finished_at is not None
    assert attempts[-1].finished_at <= NOW_AT + 7000.0
    assert {attempt.devices for attempt in attempts} == {1}
    of = placed(staged.control, attempts[1])  # type: ignore[arg-type]
    assert of is not None
    assert (of.request.rung, of.whole_units) == ("small", 3600.0)
    assert of.request.units < 1800.0
    rungs = [rung for rung, _ in recorded(staged.control)]
    assert rungs == ["", "small"] * (len(rungs) // 2)

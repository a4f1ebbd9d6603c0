"""Plans of small pipelines, worked out by hand: shapes, data that moves, shared devices, limits, and bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import infra.core.placement.pipelines.decide as pipeline_module
from infra.core.canonical import canonical
from infra.core.errors import InputError
from infra.core.inventory import DatasetVersion, Purchase, TrustZone
from infra.core.placement.decision import ChangeKind, Outcome, ReasonCode
from infra.core.placement.pipelines.decide import PipelineRequest, PipelineStage, StageInput, decide_pipeline
from infra.core.placement.pipelines.objective import whole
from infra.core.placement.pipelines.share import Share, remaining, share_of
from infra.core.placement.snapshot import OfferLoad, Release
from infra.core.pricing import Price, PriceWindow
from infra.core.workload import DatasetRef, Fallback, Resources
from tests.unit.placement_world import (
    EU,
    HOUR_S,
    NOW_AT,
    ONPREM,
    US,
    USD,
    busy,
    offer,
    on_docs,
    request,
    site,
    snapshot,
)

GB = 10**9


def stage(name: str, *inputs: StageInput | str, **changes: Any) -> PipelineStage:
    """Training on the documents, which may go anywhere and weigh nothing, for 1,000 s of one device."""
    made = tuple(StageInput(item) if isinstance(item, str) else item for item in inputs)
    return PipelineStage(name, on_docs(**changes), made)


def pipeline(*stages: PipelineStage, **changes: Any) -> PipelineRequest:
    return replace(PipelineRequest("p", "vision", stages), **changes)


def sites_of(decision: Any) -> dict[str, str]:
    return {each.stage: f"{each.site}/{each.offer}" for each in decision.stages}


def test_a_chain_runs_on_what_is_free_one_after_the_other() -> None:
    plan = decide_pipeline(pipeline(stage("b", "a"), stage("a"), stage("c", "b")), snapshot())
    assert plan.outcome is Outcome.RUN
    assert [each.stage for each in plan.stages] == ["a", "b", "c"]
    assert set(sites_of(plan).values()) == {"onprem/owned"}
    assert [each.start_at - NOW_AT for each in plan.stages] == [0, 1000, 2000]
    assert [each.start_high_at - NOW_AT for each in plan.stages] == [0, 1500, 3000]
    assert (plan.finish_at, plan.finish_high_at) == (NOW_AT + 3000, NOW_AT + 4500)
    assert plan.cost_micro == 0


def test_parallel_stages_share_the_devices_of_an_offer() -> None:
    """Two devices and a fan of three: the third waits for a device, or goes elsewhere when it must not be late."""
    fan = (stage("root"), stage("x", "root"), stage("y", "root"), stage("z", "root"))
    plan = decide_pipeline(pipeline(*fan), snapshot())
    assert set(sites_of(plan).values()) == {"onprem/owned"}
    assert sorted(each.start_high_at - NOW_AT for each in plan.stages) == [0, 1500, 1500, 3000]
    in_time = decide_pipeline(pipeline(*fan, deadline_at=NOW_AT + 3200), snapshot())
    assert in_time.finish_high_at <= NOW_AT + 3200
    assert sorted(sites_of(in_time).values()).count("onprem/owned") == 3
    wide = decide_pipeline(pipeline(stage("x", resources=Resources(2)), stage("y", resources=Resources(2))), snapshot())
    starts = sorted(each.start_high_at - NOW_AT for each in wide.stages)
    assert starts[0] == 0
    assert starts[1] > 0


@pytest.mark.parametrize("windows", [(), (PriceWindow(0, 1, 1.0),)], ids=["steady", "windows"])
def test_so_many_stages_that_share_two_devices_are_planned_without_a_proof(windows: tuple[PriceWindow, ...]) -> None:
    """Thirty runs of 600 to 1,500 s on two devices: nobody tries all of their orders, yet none holds a device in vain."""
    shared = offer("owned", Purchase.OWNED, Price(USD, windows=windows), capacity=2)
    world = snapshot(sites=(site("onprem", "DE", shared, zone=TrustZone.PRIVATE),))
    fan = [stage(f"s{index:02}", units=400.0 + 20.0 * index) for index in range(30)]
    plan = decide_pipeline(pipeline(*fan), world)
    assert plan.outcome is Outcome.RUN
    assert not plan.proven
    spans = [(each.start_high_at, each.finish_high_at) for each in plan.stages]
    for at, _ in spans:
        assert sum(start_at <= at < finish_at for start_at, finish_at in spans) <= 2
    held_s = sum(finish_at - start_at for start_at, finish_at in spans)
    assert plan.finish_high_at - NOW_AT < held_s / 2 * 1.05
    few = decide_pipeline(pipeline(*fan[:4]), world)
    assert few.proven


def test_what_others_hold_for_days_need_not_be_over_by_the_deadline() -> None:
    """One of two devices is busy for days: both stages still run on the other one, in turn."""
    world = snapshot(loads=(busy(100 * HOUR_S, devices=1),))
    plan = decide_pipeline(pipeline(stage("x"), stage("y"), deadline_at=NOW_AT + 3200), world)
    assert set(sites_of(plan).values()) == {"onprem/owned"}
    assert sorted(each.start_high_at - NOW_AT for each in plan.stages) == [0, 1500]
    assert plan.cost_micro == 0


def test_who_is_waited_for_may_be_late() -> None:
    """The owned devices come back in 1,000 s, and with nine of ten in 4,000 s: the deadline is held against that."""
    held = OfferLoad("onprem", "owned", (Release(NOW_AT + 1000, 2, late_at=NOW_AT + 4000),))
    chain = pipeline(stage("a"), stage("b", "a"))
    plan = decide_pipeline(chain, snapshot(loads=(held,)))
    assert set(sites_of(plan).values()) == {"onprem/owned"}
    assert [each.start_high_at - NOW_AT for each in plan.stages] == [4000, 5500]
    assert [each.start_at - NOW_AT for each in plan.stages] == [1000, 2000]
    assert plan.wait_until_at == NOW_AT + 1000
    in_time = replace(chain, deadline_at=NOW_AT + 7000)
    assert set(sites_of(decide_pipeline(in_time, snapshot(loads=(held,)))).values()) == {"onprem/owned"}
    sooner = replace(chain, deadline_at=NOW_AT + 6999)
    assert sites_of(decide_pipeline(sooner, snapshot(loads=(held,))))["a"] != "onprem/owned"
    surer = pipeline(stage("a", deadline_probability=0.95), stage("b", "a"), deadline_at=NOW_AT + 7000)
    assert sites_of(decide_pipeline(surer, snapshot(loads=(held,))))["a"] != "onprem/owned"


def test_a_diamond_joins_when_both_sides_are_there() -> None:
    plan = decide_pipeline(
        pipeline(stage("a"), stage("b", "a", units=500.0), stage("c", "a", units=2000.0), stage("d", "b", "c")),
        snapshot(),
    )
    placed = {each.stage: each for each in plan.stages}
    assert placed["d"].start_at == max(placed["b"].finish_at, placed["c"].finish_at)
    assert placed["d"].start_high_at == placed["c"].finish_high_at == NOW_AT + 4500


def test_egress_between_stages_is_seen_before_the_first_is_placed() -> None:
    """By itself the first stage is cheapest in the US; what it makes is dear to fetch from there."""
    world = snapshot(sites=(EU, US), datasets=(DatasetVersion("docs", "v1", 0, ("cloud-us",), ("PUBLIC",)),))
    only_eu = stage("read", StageInput("make", 50 * GB), residency=("EU",))
    make = stage("make", purchases=(Purchase.ON_DEMAND,))
    plan = decide_pipeline(pipeline(make, only_eu), world)
    assert sites_of(plan)["make"] == "cloud-eu/od"
    assert ("make", "cloud-us", "od") in plan.stage_by_stage.offers
    assert plan.stage_by_stage.cost_micro - plan.cost_micro > 3 * USD
    light = decide_pipeline(pipeline(make, replace(only_eu, inputs=(StageInput("make", 1000),))), world)
    assert sites_of(light)["make"] == "cloud-us/od"
    (move,) = [move for each in light.stages for move in each.moves if move.what == "make"]
    assert (move.source, move.bytes, move.egress_micro) == ("cloud-us", 1000, 1)


def test_results_inherit_residency_and_zone_from_what_they_were_made_from() -> None:
    made = PipelineStage("made", request())  # of the digits, which stay in the European Union
    later = stage("later", "made", purchases=(Purchase.ON_DEMAND,))
    after = stage("after", StageInput("made", reads=False), purchases=(Purchase.ON_DEMAND,))
    plan = decide_pipeline(pipeline(made, later, after), snapshot(sites=(EU, US), datasets=_copies("cloud-eu")))
    placed = {each.stage: each for each in plan.stages}
    assert placed["later"].site == "cloud-eu"
    assert placed["later"].residency == ("EU",)
    assert placed["after"].site == "cloud-us"
    assert placed["after"].residency == ("PUBLIC",)
    nowhere = decide_pipeline(pipeline(made, later), snapshot(sites=(US,), datasets=_copies("cloud-us")))
    assert nowhere.outcome is Outcome.INFEASIBLE
    assert [each.stage for each in nowhere.blocked] == ["made", "later"]
    assert ReasonCode.RESIDENCY_EXCLUDED in nowhere.binding


def _copies(*names: str) -> tuple[DatasetVersion, ...]:
    return (
        DatasetVersion("digits", "v1", 0, names, ("EU",)),
        DatasetVersion("docs", "v1", 0, names, ("PUBLIC",)),
    )


def test_results_lie_where_they_are_kept() -> None:
    world = snapshot(sites=(EU, US), datasets=_copies("cloud-us", "cloud-eu"))
    chain = (stage("a"), stage("b", StageInput("a", 10 * GB)))
    assert not decide_pipeline(pipeline(*chain), world).stages[1].moves
    kept = decide_pipeline(pipeline(*chain, kept_at="cloud-eu"), world)
    assert kept.stages[1].site == "cloud-eu"
    with pytest.raises(InputError) as caught:
        decide_pipeline(pipeline(*chain, kept_at="moon"), world)
    assert caught.value.code == "UNKNOWN_SITE"


def test_the_deadline_is_that_of_all_stages_together() -> None:
    chain = (stage("a"), stage("b", "a"))
    assert decide_pipeline(pipeline(*chain, deadline_at=NOW_AT + 3000), snapshot()).outcome is Outcome.RUN
    late = decide_pipeline(pipeline(*chain, deadline_at=NOW_AT + 2999), snapshot())
    assert (late.outcome, late.binding) == (Outcome.INFEASIBLE, (ReasonCode.DEADLINE_MISSED,))
    (way,) = late.counterfactuals
    assert [(change.kind, change.value) for change in way.changes] == [(ChangeKind.DEADLINE, NOW_AT + 3000)]


def test_the_budget_is_that_of_all_stages_together() -> None:
    """Either stage alone would fit into it."""
    world = snapshot(sites=(US,), datasets=_copies("cloud-us"))
    both = pipeline(stage("a"), stage("b", "a"))
    free = decide_pipeline(both, world)
    least_micro = free.needed_micro
    assert decide_pipeline(replace(both, budget_micro=least_micro), world).outcome is Outcome.RUN
    short = decide_pipeline(replace(both, budget_micro=least_micro - 1), world)
    assert (short.outcome, short.binding) == (Outcome.INFEASIBLE, (ReasonCode.BUDGET_RUN_EXCEEDED,))
    assert [change.value for change in short.counterfactuals[0].changes] == [least_micro]
    assert short.stage_by_stage.stuck_at == "b"


def test_a_plan_is_found_where_stage_by_stage_gets_stuck() -> None:
    """Free and slow first, and then the rest is late: the plan pays for the first stage instead."""
    fast = site("fast", "DE", offer("x", Purchase.ON_DEMAND, 10 * USD, relative_speed=4.0))
    slow = site("slow", "DE", offer("y", Purchase.OWNED, 0, relative_speed=0.5))
    world = snapshot(sites=(fast, slow), datasets=_copies("slow", "fast"))
    chain = pipeline(stage("a"), stage("b", "a"), deadline_at=NOW_AT + 3000)
    plan = decide_pipeline(chain, world)
    assert set(sites_of(plan).values()) == {"fast/x"}
    assert plan.stage_by_stage.stuck_at == "b"


def test_without_waiting_the_first_stages_start_now() -> None:
    world = snapshot(loads=(busy(),), sites=(ONPREM,))
    chain = pipeline(stage("a", fallbacks=()), stage("b", "a", fallbacks=()))
    refused = decide_pipeline(chain, world)
    assert (refused.outcome, refused.binding) == (Outcome.INFEASIBLE, (ReasonCode.CAPACITY_BUSY,))
    assert [change.kind for change in refused.counterfactuals[0].changes] == [ChangeKind.WAIT]
    waits = decide_pipeline(pipeline(stage("a"), stage("b", "a")), world)
    assert (waits.outcome, waits.wait_until_at) == (Outcome.WAIT, NOW_AT + HOUR_S)


def test_why_a_stage_lies_where_it_does() -> None:
    plan = decide_pipeline(pipeline(stage("a"), stage("b", "a")), snapshot())
    other = plan.stages[0].alternative
    assert (other.site, other.offer) == ("cloud-eu", "spot")
    assert other.extra_micro > 0


def test_what_a_plan_is_compared_with_is_worked_out_when_looked_at(monkeypatch) -> None:
    asked: list[str] = []

    def watched(name: str) -> None:
        function = getattr(pipeline_module, name)
        monkeypatch.setattr(pipeline_module, name, lambda *args: asked.append(name) or function(*args))

    watched("one_after_the_other")
    watched("next_best")
    chain = pipeline(stage("a"), stage("b", "a"))
    plan, again = decide_pipeline(chain, snapshot()), decide_pipeline(chain, snapshot())
    assert not asked
    assert plan.stage_by_stage.cost_micro >= plan.cost_micro
    assert plan.stages[1].alternative is not None
    assert (asked.count("one_after_the_other"), asked.count("next_best")) == (1, 1)
    assert plan.stage_by_stage is plan.stage_by_stage
    assert canonical(plan) == canonical(again)


@pytest.mark.parametrize(
    ("build", "code"),
    [
        (lambda: pipeline(), "EMPTY_PIPELINE"),
        (lambda: pipeline(stage("a", "b"), stage("b", "a")), "PIPELINE_CYCLE"),
        (lambda: pipeline(stage("a", "a")), "PIPELINE_CYCLE"),
        (lambda: pipeline(stage("a", "x")), "UNKNOWN_STAGE"),
        (lambda: pipeline(stage("a"), stage("a")), "DUPLICATE_STAGE"),
        (lambda: pipeline(stage("a"), stage("b", "a", "a")), "DUPLICATE_INPUT"),
        (lambda: pipeline(*(stage(f"s{index}") for index in range(65))), "PIPELINE_TOO_LARGE"),
        (lambda: StageInput("a", -1), "BAD_NUMBER"),
        (lambda: StageInput("a", float("nan")), "BAD_NUMBER"),
        (lambda: StageInput("a", 5, reads=False), "CONTRADICTORY_PIPELINE"),
        (lambda: pipeline(stage("a"), tenant="poor"), "CONTRADICTORY_PIPELINE"),
        (lambda: pipeline(stage("a"), budget_micro=-1), "BAD_NUMBER"),
        (lambda: pipeline(stage("a"), deadline_at=float("inf")), "BAD_TIME"),
        (lambda: decide_pipeline(pipeline(stage("a"), deadline_at=NOW_AT), snapshot()), "DEADLINE_PAST"),
        (lambda: PipelineStage("", on_docs()), "BAD_NAME"),
    ],
)
def test_bad_input_is_refused(build: Any, code: str) -> None:
    with pytest.raises(InputError) as caught:
        build()
    assert caught.value.code == code
    assert caught.value.remedy


def test_a_share_leaves_the_others_what_the_plan_needs() -> None:
    world = snapshot(sites=(US,), datasets=_copies("cloud-us"))
    asked = pipeline(stage("a"), stage("b", "a"), stage("c"), deadline_at=NOW_AT + 9000, budget_micro=20 * USD)
    plan = decide_pipeline(asked, world)
    needs = {each.stage: each.needed_micro for each in plan.stages}
    placed = {each.stage: each for each in plan.stages}
    share = share_of(asked, plan, "a", 50 * USD)
    assert share.budget_micro == 20 * USD - needs["b"] - needs["c"]
    assert share.deadline_at == NOW_AT + 9000 - (placed["b"].finish_high_at - placed["a"].finish_high_at)
    assert share_of(asked, plan, "b", 50 * USD).deadline_at == NOW_AT + 9000
    assert share_of(asked, plan, "a", 5 * USD).budget_micro == 5 * USD - needs["b"] - needs["c"]
    assert share.narrow(on_docs(budget_micro=1, deadline_at=NOW_AT + 1)).budget_micro == 1
    assert Share().narrow(on_docs()) == on_docs()
    # The first stage uses its whole share, and the rest still finds its place.
    rest = remaining(asked, {"a": DatasetRef("docs", "v1")}, share.budget_micro)
    assert rest.budget_micro == needs["b"] + needs["c"]
    then = replace(world, now_at=share.deadline_at)
    assert decide_pipeline(rest, then).outcome is Outcome.RUN


def test_what_remains_reads_what_was_published() -> None:
    asked = pipeline(stage("a"), stage("b", "a"), stage("c", StageInput("a", reads=False)), budget_micro=10)
    model = DatasetRef("model", "v3")
    rest = remaining(asked, {"a": model}, 4)
    assert rest.budget_micro == 6
    assert [(each.name, each.inputs) for each in rest.stages] == [("b", ()), ("c", ())]
    assert model in rest.stages[0].request.datasets
    assert model not in rest.stages[1].request.datasets
    assert remaining(asked, {"a": model, "b": None, "c": None}, 4) is None


def test_no_wait_is_a_wish_of_each_stage() -> None:
    waits = replace(stage("a"), request=on_docs(fallbacks=(Fallback.WAIT,)))
    assert decide_pipeline(pipeline(waits, stage("b", "a", fallbacks=())), snapshot()).outcome is Outcome.RUN


@pytest.mark.parametrize(
    ("bound", "micro"), [(2.0, 2.0), (2.005, 2.0), (2.2, 3.0), (-2.2, -2.0), (1e9 + 0.5, 1e9), (math.inf, math.inf)]
)
def test_bounds_are_raised_to_whole_amounts_but_for_traces(bound: float, micro: float) -> None:
    assert whole(bound) == micro
    assert whole(np.array([bound, bound])).tolist() == [micro, micro]

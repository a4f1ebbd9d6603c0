"""What always holds of the plan of a pipeline: exact, possible whenever a plan exists, monotone, the same in any order."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.core.budget import Balance
from infra.core.canonical import canonical
from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site, TrustZone
from infra.core.placement.decide import decide
from infra.core.placement.decision import ChangeKind, Outcome
from infra.core.placement.pipelines import search
from infra.core.placement.pipelines.decide import (
    PipelineDecision,
    PipelineRequest,
    PipelineStage,
    StageInput,
    decide_pipeline,
)
from infra.core.placement.pipelines.remedies import apply_to_pipeline
from infra.core.placement.snapshot import Health, Rate, SiteHealth, Snapshot
from infra.core.policy import Policy
from infra.core.pricing import Price, PriceWindow
from infra.core.units import period_of
from infra.core.workload import DatasetRef, Fallback, Resources, WorkloadRequest
from tests.property import strategies as drawn
from tests.property.pipeline_oracle import Oracle
from tests.property.strategies import COUNTRIES, KINDS, NOW_AT, TENANTS, mostly, problems

COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
}


@st.composite
def usable_offers(draw: st.DrawFn, name: str) -> Offer:
    """Mostly one that can be bought and holds a run: what blocks a stage is drawn seldom, so that plans compete."""
    drawn_offer = draw(drawn.offers(name))
    if draw(mostly(False, True)):
        return drawn_offer
    price = drawn_offer.price or Price(2_000_000)
    windows = price.windows if draw(st.sampled_from((True, False, False))) else ()
    price = replace(price, valid_until_at=None, windows=windows)
    if draw(st.booleans()):
        price = replace(price, micro_per_hour=draw(st.sampled_from((300_000, 1_100_000, 3_300_000))))
    return replace(drawn_offer, price=price, capacity=max(1, drawn_offer.capacity), memory_gb=24.0)


@st.composite
def small_snapshots(draw: st.DrawFn) -> Snapshot:
    """At most five offers at one to three sites."""
    layout = draw(st.sampled_from(((2, 1, 1), (2, 2), (1, 1), (3,), (2, 2, 1), (1,))))
    sites = tuple(
        Site(
            name=f"s{index}",
            jurisdiction=draw(st.sampled_from(COUNTRIES)),
            trust_zone=draw(st.sampled_from((TrustZone.PRIVATE, TrustZone.PARTNER, TrustZone.PUBLIC))),
            pools=(Pool(f"s{index}", Cluster.LOCAL, tuple(draw(usable_offers(f"o{each}")) for each in range(count))),),
            egress_micro_per_gb=draw(st.sampled_from((0, 20_000, 90_000))),
            bandwidth_mbps=draw(st.sampled_from((100.0, 1000.0))),
            simulated=True,
        )
        for index, count in enumerate(layout)
    )
    whole = draw(drawn.snapshots())
    datasets = tuple(
        replace(each, residency=("PUBLIC",), trust_zone=TrustZone.PUBLIC, copies=("s0",))
        if draw(st.sampled_from((True, True, False)))
        else each
        for each in whole.datasets
    )
    rates = {(rate.kind, rate.device): rate for rate in whole.rates}
    for kind in KINDS:
        rates.setdefault((kind, ""), Rate(kind, "", 5.0, 0.05, 0.2, 3))
    rich = tuple(replace(each, limit_micro=10**9) for each in whole.balances)
    return replace(
        whole,
        datasets=datasets,
        rates=tuple(rates.values()),
        balances=draw(mostly(rich, whole.balances)),
        sites=sites,
        loads=draw(drawn.loads(sites)),
        health=draw(mostly((), (SiteHealth("s0", Health.DOWN, "no heartbeat"),))),
        # Rules about windows and money are held against a start now; kept starts against the first start only.
        policy=draw(mostly(Policy("p1"), Policy("p1") if whole.policy.timed else whole.policy)),
        queue=(),
    )


SHAPES = (
    ((),),
    ((), (0,)),
    ((), ()),
    ((), (0,), (1,)),
    ((), (0,), (0,)),
    ((), (), (0, 1)),
    ((), (), ()),
    ((), (0,), (0,), (1, 2)),
    ((), (0,), (1,), (2,)),
    ((), (0,), (0,), (0,)),
)


@st.composite
def pipelines(draw: st.DrawFn, snapshot: Snapshot, tenant: str, most: int = 4) -> PipelineRequest:
    shape = draw(st.sampled_from([each for each in SHAPES if len(each) <= most]))
    stages = []
    for index, parents in enumerate(shape):
        refs = draw(st.sampled_from(((), (DatasetRef("digits", "v1"),), (DatasetRef("docs", "v7"),))))
        tight = draw(mostly(False, True))
        request = WorkloadRequest(
            kind=draw(st.sampled_from(KINDS)),
            tenant=tenant,
            datasets=refs,
            units=draw(st.sampled_from((1_000.0, 50_000.0, 20_000.0, 60_000.0))),
            resources=Resources(draw(st.sampled_from((1, 1, 1, 2)))),
            deadline_at=NOW_AT + 5000 if tight else None,
            budget_micro=draw(mostly(None, 500_000)),
            residency=draw(mostly((), ("EU",), ("US", "CH"))),
            purchases=draw(mostly(tuple(Purchase), (Purchase.OWNED,), (Purchase.ON_DEMAND, Purchase.SPOT))),
            checkpointed=draw(st.booleans()),
            fallbacks=draw(mostly((Fallback.WAIT,), ())),
        )
        inputs = tuple(
            StageInput(f"n{parent}", draw(st.sampled_from((0, 7, 3_000_000_000, 20_000_000_000))))
            if draw(mostly(True, False))
            else StageInput(f"n{parent}", 0, reads=False)
            for parent in parents
        )
        stages.append(PipelineStage(f"n{index}", request, inputs))
    after_s = draw(st.sampled_from((None, None, 100_000, 40_000, 20_000, 12_000, 6000, 2500)))
    return PipelineRequest(
        name="p",
        tenant=tenant,
        stages=tuple(stages),
        deadline_at=None if after_s is None else NOW_AT + after_s,
        budget_micro=draw(st.sampled_from((None, None, None, 50_000_000, 8_000_000, 3_000_000, 600_000, 0))),
        kept_at=draw(mostly("", snapshot.sites[0].name)),
    )


@st.composite
def small_problems(draw: st.DrawFn) -> tuple[PipelineRequest, Snapshot]:
    snapshot = draw(small_snapshots())
    return draw(pipelines(snapshot, draw(st.sampled_from(TENANTS)))), snapshot


def oracle_agrees(request: PipelineRequest, snapshot: Snapshot, decision: PipelineDecision) -> None:
    """Possible exactly when some plan is, at the least cost of all plans and of those at the earliest end."""
    best = Oracle(request, snapshot).best
    assert (best is None) == (decision.outcome is Outcome.INFEASIBLE)
    if best is not None:
        assert decision.cost_micro == best[0]
        assert decision.finish_high_at == pytest.approx(best[1], abs=1e-3)
    assert decision.proven


def form_holds(request: PipelineRequest, snapshot: Snapshot, decision: PipelineDecision) -> None:
    """Parts add up, stages follow their inputs, limits hold, devices suffice; never dearer than stage by stage."""
    if decision.outcome is Outcome.INFEASIBLE:
        assert not decision.stages
        assert decision.binding
        assert decision.stage_by_stage.stuck_at
        return
    placed = {stage.stage: stage for stage in decision.stages}
    assert set(placed) == {stage.name for stage in request.stages}
    assert sum(stage.cost.total_micro for stage in decision.stages) == decision.cost_micro
    assert sum(stage.needed_micro for stage in decision.stages) == decision.needed_micro
    assert request.budget_micro is None or decision.needed_micro <= request.budget_micro
    assert request.deadline_at is None or decision.finish_high_at <= request.deadline_at
    for stage in request.stages:
        here = placed[stage.name]
        assert here.cost.egress_micro == sum(move.egress_micro for move in here.moves)
        assert here.time.transfer_s == pytest.approx(sum(move.transfer_s for move in here.moves))
        assert here.start_at <= here.start_high_at
        assert here.finish_at <= here.finish_high_at + 1e-3
        for item in stage.inputs:
            assert here.start_high_at >= placed[item.stage].finish_high_at
            assert here.start_at >= placed[item.stage].finish_at
        if here.alternative is not None:
            assert here.alternative.extra_micro >= 0
    if not decision.stage_by_stage.stuck_at:
        assert decision.cost_micro <= decision.stage_by_stage.cost_micro


def order_does_not_matter(request: PipelineRequest, snapshot: Snapshot, decision: PipelineDecision) -> None:
    generator = random.Random(3)

    def shuffled(values: tuple) -> tuple:
        return tuple(generator.sample(values, len(values)))

    sites = tuple(
        replace(s, pools=shuffled(tuple(replace(p, offers=shuffled(p.offers)) for p in s.pools)))
        for s in shuffled(snapshot.sites)
    )
    loads = shuffled(tuple(replace(x, releases=shuffled(x.releases)) for x in snapshot.loads))
    other = replace(snapshot, sites=sites, loads=loads, rates=shuffled(snapshot.rates))
    asked = replace(request, stages=shuffled(tuple(replace(s, inputs=shuffled(s.inputs)) for s in request.stages)))
    assert canonical(decide_pipeline(request, snapshot)) == canonical(decision)
    assert canonical(decide_pipeline(asked, other)) == canonical(decision)


def relaxing_never_costs(request: PipelineRequest, snapshot: Snapshot, decision: PipelineDecision) -> None:
    if decision.outcome is Outcome.INFEASIBLE:
        return
    wider = [replace(request, budget_micro=None), replace(request, deadline_at=None)]
    if request.deadline_at is not None:
        wider.append(replace(request, deadline_at=request.deadline_at + 777.0))
    if request.budget_micro is not None:
        wider.append(replace(request, budget_micro=request.budget_micro + 5_000))
    for change in ({"residency": ()}, {"deadline_at": None}, {"purchases": tuple(Purchase)}, {"budget_micro": None}):
        stages = tuple(replace(s, request=replace(s.request, **change)) for s in request.stages)
        wider.append(replace(request, stages=stages))
    for relaxed in wider:
        again = decide_pipeline(relaxed, snapshot)
        assert again.outcome is not Outcome.INFEASIBLE
        assert again.cost_micro <= decision.cost_micro


def counterfactuals_hold(request: PipelineRequest, snapshot: Snapshot, decision: PipelineDecision) -> None:
    """Each set of changes is enough, and a little less of any of them is not."""
    for found in decision.counterfactuals:
        again = decide_pipeline(*apply_to_pipeline(request, snapshot, found.changes))
        assert again.outcome is not Outcome.INFEASIBLE
        assert (again.cost_micro, again.finish_high_at) == (found.cost_micro, found.finish_high_at)
        for index, change in enumerate(found.changes):
            others = found.changes[:index] + found.changes[index + 1 :]
            less = others
            if change.kind is not ChangeKind.WAIT:
                less = (
                    *others,
                    replace(change, value=change.value - (1.0 if change.kind is ChangeKind.DEADLINE else 1)),
                )
            if change.kind is ChangeKind.DEADLINE and change.value - 1.0 <= snapshot.now_at:
                continue
            assert decide_pipeline(*apply_to_pipeline(request, snapshot, less)).outcome is Outcome.INFEASIBLE, change
    if decision.outcome is Outcome.INFEASIBLE and not decision.blocked:
        told = {found.changes[0].kind for found in decision.counterfactuals if len(found.changes) == 1}
        for kind, relaxed in (
            (ChangeKind.BUDGET, replace(request, budget_micro=None)),
            (ChangeKind.DEADLINE, replace(request, deadline_at=None)),
        ):
            possible = decide_pipeline(relaxed, snapshot).outcome is not Outcome.INFEASIBLE
            assert possible == (kind in told)


CHECKS = (oracle_agrees, form_holds, order_does_not_matter, relaxing_never_costs, counterfactuals_hold)


def hold_all(problem: tuple[PipelineRequest, Snapshot]) -> None:
    decision = decide_pipeline(*problem)
    for check in CHECKS:
        check(*problem, decision)


@settings(max_examples=75, **COMMON)
@given(small_problems())
def test_plans_hold_all_invariants(problem):
    hold_all(problem)


@pytest.fixture
def narrowed_at_once(monkeypatch):
    """The search leaves out what cannot be the best before it takes up the first label, as it does for hard pipelines."""
    monkeypatch.setattr(search, "CHEAP_TRIES", 0)


@pytest.mark.slow
@settings(max_examples=100, **{**COMMON, "suppress_health_check": list(HealthCheck)})
@given(small_problems())
def test_plans_of_a_narrowed_search_are_the_best_of_all(narrowed_at_once, problem):
    decision = decide_pipeline(*problem)
    oracle_agrees(*problem, decision)
    counterfactuals_hold(*problem, decision)


def crowded(seed: int, windowed: float) -> tuple[PipelineRequest, Snapshot]:
    """Three or four stages that want the few devices of two or three offers, so many of them at prices with windows."""
    rng = random.Random(seed)
    windows = ((1200, 360), (480, 1020), (0, 240), (60, 120))

    def offer(index: int) -> Offer:
        changing = (
            (PriceWindow(*rng.choice(windows), rng.choice((0.0, 0.4, 0.6, 1.5))),) if rng.random() < windowed else ()
        )
        return Offer(
            f"o{index}",
            Purchase.ON_DEMAND,
            "gpu",
            capacity=rng.choice((1, 2, 2, 3)),
            memory_gb=24.0,
            relative_speed=rng.choice((0.5, 1.0, 2.0)),
            price=Price(rng.choice((0, 500_000, 1_100_000, 3_300_000)), windows=changing),
            boot_s=rng.choice((0.0, 60.0)),
        )

    count = rng.choice((1, 2, 2))
    sites = tuple(
        Site(
            f"s{index}",
            "DE",
            TrustZone.PRIVATE,
            (Pool(f"s{index}", Cluster.LOCAL, tuple(offer(each) for each in range(rng.choice((1, 1, 2))))),),
            egress_micro_per_gb=rng.choice((0, 20_000)),
            bandwidth_mbps=1000.0,
            simulated=True,
        )
        for index in range(count)
    )
    shape = rng.choice([((), (), ()), ((), (0,), (0,), (0,)), ((), (0,), (0,), (1, 2)), ((), (), (0, 1))])
    stages = tuple(
        PipelineStage(
            f"n{index}",
            WorkloadRequest(
                KINDS[0],
                TENANTS[0],
                (),
                rng.choice((20_000.0, 60_000.0, 200_000.0)),
                Resources(
                    1 if rng.random() < 0.7 else min(2, max(o.capacity for s in sites for o in s.pools[0].offers))
                ),
                fallbacks=(Fallback.WAIT,),
            ),
            tuple(StageInput(f"n{parent}", rng.choice((0, 10**9, 10**10))) for parent in parents),
        )
        for index, parents in enumerate(shape)
    )
    now_at = NOW_AT + rng.uniform(0, 86_400)
    world = Snapshot(
        now_at=now_at,
        policy=Policy("p"),
        sites=sites,
        datasets=(),
        balances=(Balance(TENANTS[0], period_of(now_at), 10**10),),
        rates=(Rate(KINDS[0], "", 20.0, 0.05, 0.2),),
    )
    free = decide_pipeline(PipelineRequest("p", TENANTS[0], stages), world)
    deadline_at = budget_micro = None
    if free.finish_high_at is not None and rng.random() < 0.6:
        deadline_at = now_at + (free.finish_high_at - now_at) * rng.choice((0.5, 0.8, 1.0))
    if free.finish_high_at is not None and rng.random() < 0.4:
        budget_micro = int(free.needed_micro * rng.choice((0.9, 1.0, 1.3)))
    return PipelineRequest("p", TENANTS[0], stages, deadline_at, budget_micro), world


@pytest.mark.slow
@pytest.mark.parametrize("tries", [0, 30])
@pytest.mark.parametrize("windowed", [0.0, 0.7])
def test_stages_that_are_in_each_others_way(monkeypatch, windowed, tries):
    monkeypatch.setattr(search, "CHEAP_TRIES", tries)
    for seed in range(150):
        request, snapshot = crowded(seed, windowed)
        decision = decide_pipeline(request, snapshot)
        oracle_agrees(request, snapshot, decision)
        form_holds(request, snapshot, decision)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=400, **COMMON)
@given(small_problems())
def test_hundreds_of_plans_hold_all_invariants(problem):
    hold_all(problem)


@pytest.mark.slow
@settings(max_examples=150, **COMMON)
@given(problems())
def test_a_pipeline_of_one_stage_is_a_single_run(problem):
    """The same cost, start and limits as ``decide`` gives, where waits are certain and cost nothing: pipelines know no others."""
    request, snapshot = problem
    request = replace(request, wait_micro_per_hour=0)
    loads = [replace(x, releases=tuple(replace(r, late_at=None) for r in x.releases)) for x in snapshot.loads]
    snapshot = replace(snapshot, loads=tuple(loads))
    alone = decide(request, snapshot)
    limits = {"deadline_at": request.deadline_at, "budget_micro": request.budget_micro}
    for whole in (
        PipelineRequest("p", request.tenant, (PipelineStage("only", request),)),
        PipelineRequest(
            "p",
            request.tenant,
            (PipelineStage("only", replace(request, deadline_at=None, budget_micro=None)),),
            **limits,
        ),
    ):
        plan = decide_pipeline(whole, snapshot)
        assert plan.outcome is alone.outcome
        if alone.chosen is not None:
            assert plan.cost_micro == alone.chosen.cost.total_micro
            (stage,) = plan.stages
            assert stage.start_at == stage.start_high_at
            if (stage.site, stage.offer) == (alone.chosen.site, alone.chosen.offer):
                assert (stage.cost, stage.time) == (alone.chosen.cost, alone.chosen.time)
                assert stage.finish_high_at == pytest.approx(alone.chosen.finish_high_at)

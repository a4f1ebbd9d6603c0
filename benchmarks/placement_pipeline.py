"""How long it takes to place a pipeline of 6 stages on 20 offers, and what stage-by-stage placement would cost instead.

``python -m benchmarks.placement_pipeline [--pipelines N] [--stages S] [--offers O] [--seed K]`` draws pipelines in three
shapes with deadlines and budgets from loose to out of reach, and prints one table. Next best places and the stage-by-stage
comparison are worked out when looked at: the column *looked at* is the processor time of the decision and of all of them.
Infeasible pipelines, where the smallest changes that would help are part of the decision, have columns of their own.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from dataclasses import replace

from infra import precompile
from infra.core.budget import Balance
from infra.core.inventory import Cluster, DatasetVersion, Offer, Pool, Purchase, Site, TrustZone
from infra.core.placement.decision import Outcome
from infra.core.placement.pipelines.decide import (
    PipelineDecision,
    PipelineRequest,
    PipelineStage,
    StageInput,
    decide_pipeline,
)
from infra.core.placement.snapshot import OfferLoad, Rate, Release, Snapshot
from infra.core.policy import Policy
from infra.core.pricing import Price, PriceWindow
from infra.core.workload import DatasetRef, Resources, WorkKind, WorkloadRequest

NOW_AT = 1_795_521_600.0
Measured = tuple[float, float, PipelineDecision]
"""Seconds of the decision, of the decision with everything looked at, and what it says."""

SHAPES = ("chain", "diamond", "fan")
KINDS = (WorkKind.TRAINING, WorkKind.EVALUATION, WorkKind.EMBEDDING_REFRESH, WorkKind.BATCH_INFERENCE)


def snapshot(generator: random.Random, offers: int) -> Snapshot:
    """A world of a few owned, on-demand and spot offers at several sites."""
    sites, left = [], offers
    while left:
        name = f"site-{len(sites)}"
        here = [_offer(generator, index) for index in range(min(left, generator.randint(1, 4)))]
        left -= len(here)
        sites.append(
            Site(
                name,
                generator.choice(("DE", "DE", "FR", "US")),
                generator.choice((TrustZone.PRIVATE, TrustZone.PARTNER)),
                (Pool(name, Cluster.LOCAL, tuple(here)),),
                egress_micro_per_gb=generator.choice((0, 20_000, 50_000, 90_000)),
                bandwidth_mbps=generator.choice((200.0, 1000.0, 10_000.0)),
                simulated=True,
            )
        )
    loads = [
        OfferLoad(site.name, offer.name, (Release(NOW_AT + generator.uniform(60, 7200), offer.capacity),))
        for site in sites
        for offer in site.pools[0].offers
        if generator.random() < 0.25
    ]
    names = tuple(site.name for site in sites)
    return Snapshot(
        now_at=NOW_AT,
        policy=Policy("p"),
        sites=tuple(sites),
        datasets=(
            DatasetVersion("data", "v1", generator.randint(1, 80) * 10**9, (names[0],), ("EU", "US")),
            DatasetVersion("texts", "v1", generator.randint(1, 20) * 10**9, (names[-1],), ("PUBLIC",)),
        ),
        balances=(Balance("vision", "2026-11", 10**12),),
        rates=tuple(Rate(kind, "", 20.0, 1.0, generator.choice((0.2, 0.5))) for kind in KINDS),
        loads=tuple(loads),
    )


def _offer(generator: random.Random, index: int) -> Offer:
    purchase = generator.choice((Purchase.OWNED, Purchase.ON_DEMAND, Purchase.ON_DEMAND, Purchase.SPOT))
    speed = generator.choice((0.5, 1.0, 2.0, 4.0))
    per_hour = 0 if purchase is Purchase.OWNED else int(speed**0.8 * generator.uniform(1.0e6, 4.0e6))
    windows = (PriceWindow(1200, 360, 0.5),) if generator.random() < 0.15 else ()
    return Offer(
        f"offer-{index}",
        purchase,
        "gpu",
        capacity=generator.choice((2, 4, 8)),
        memory_gb=24.0,
        relative_speed=speed,
        price=Price(per_hour // (3 if purchase is Purchase.SPOT else 1), None, windows),
        boot_s=0.0 if purchase is Purchase.OWNED else generator.uniform(30, 200),
        interruptions_per_hour=generator.uniform(0.02, 0.3) if purchase is Purchase.SPOT else 0.0,
    )


def pipeline(generator: random.Random, shape: str, stages: int) -> PipelineRequest:
    """A pipeline in one of the shapes, without limits."""
    made = []
    for index in range(stages):
        if shape == "chain" or index == 0:
            parents = [index - 1] if index else []
        elif shape == "fan":
            parents = [0]
        else:
            parents = list(range(1, stages - 1)) if index == stages - 1 else [0]
        reads = [DatasetRef("data", "v1")] if index == 0 else []
        reads += [DatasetRef("texts", "v1")] if generator.random() < 0.3 else []
        made.append(
            PipelineStage(
                f"stage-{index}",
                WorkloadRequest(
                    generator.choice(KINDS),
                    "vision",
                    tuple(reads),
                    generator.uniform(600, 20_000),
                    Resources(generator.choice((1, 1, 2))),
                    checkpointed=generator.random() < 0.8,
                ),
                tuple(StageInput(f"stage-{parent}", generator.randint(0, 40) * 10**9) for parent in parents),
            )
        )
    return PipelineRequest(shape, "vision", tuple(made))


def limited(generator: random.Random, request: PipelineRequest, free: PipelineDecision) -> PipelineRequest:
    """The same with a deadline and a budget around what it would take without them."""
    if free.finish_high_at is None:
        return request
    after_s = (free.finish_high_at - NOW_AT) * generator.choice((0.5, 0.7, 0.9, 1.2))
    budget = int(free.needed_micro * generator.choice((1.0, 1.5, 3.0, 10.0))) + 1
    return replace(request, deadline_at=NOW_AT + after_s, budget_micro=budget)


def main() -> None:
    """Draw, decide, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipelines", type=int, default=300)
    parser.add_argument("--stages", type=int, default=6)
    parser.add_argument("--offers", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    precompile.pipelines()  # what is compiled is read from its cache once in a process
    generator = random.Random(options.seed)
    print(
        "| shape | limits | pipelines | feasible | proven | p50 CPU ms | p99 CPU ms | max CPU ms | looked at p50 | p99 "
        "| infeasible p50 | p99 | max | stuck | gap mean | gap p90 |"
    )
    print("| --- | --- |" + " ---: |" * 14)
    for shape in SHAPES:
        rows: dict[str, list[Measured]] = {"none": [], "deadline and budget": []}
        for _ in range(options.pipelines):
            world, request = snapshot(generator, options.offers), pipeline(generator, shape, options.stages)
            for limits in rows:
                if limits != "none":
                    request = limited(generator, request, rows["none"][-1][2])
                gc.collect()
                began = time.process_time()
                decision = decide_pipeline(request, world)
                decided = time.process_time()
                look_at(decision)
                rows[limits].append((decided - began, time.process_time() - began, decision))
        for limits, measured in rows.items():
            print(_row(shape, limits, measured))


def look_at(decision: PipelineDecision) -> None:
    """Have everything worked out that is worked out when looked at."""
    len(decision.compared)
    for stage in decision.stages:
        len(stage.next_best)


def _times(seconds: list[float]) -> tuple[float, float, float]:
    """Median, 99th percentile and largest, in milliseconds."""
    times = sorted(each * 1000 for each in seconds) or [0.0]
    return statistics.median(times), times[int(0.99 * (len(times) - 1))], times[-1]


def _row(shape: str, limits: str, measured: list[Measured]) -> str:
    feasible = [each for each in measured if each[2].outcome is not Outcome.INFEASIBLE]
    times, looked = _times([each[0] for each in feasible]), _times([each[1] for each in feasible])
    refused = _times([each[0] for each in measured if each[2].outcome is Outcome.INFEASIBLE])
    decisions = [each[2] for each in feasible]
    stuck = sum(bool(decision.stage_by_stage.stuck_at) for decision in decisions)
    gaps = sorted(
        decision.stage_by_stage.cost_micro / max(1, decision.cost_micro) - 1
        for decision in decisions
        if not decision.stage_by_stage.stuck_at and decision.cost_micro > 1000
    ) or [0.0]
    proven = sum(decision.proven for decision in decisions)
    return (
        f"| {shape} | {limits} | {len(measured)} | {len(feasible)} | {proven} | {times[0]:.2f} | {times[1]:.2f} "
        f"| {times[2]:.2f} | {looked[0]:.2f} | {looked[1]:.2f} | {refused[0]:.2f} | {refused[1]:.2f} | {refused[2]:.2f} | {stuck} "
        f"| {statistics.mean(gaps):.1%} | {gaps[int(0.9 * (len(gaps) - 1))]:.1%} |"
    )


if __name__ == "__main__":
    main()

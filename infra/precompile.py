"""Compile the planners ahead of their first use: ``python -m infra.precompile``.

Plans of queues and of pipelines are compiled when they are first called, which takes some seconds, and kept beside their sources. Whoever
has done this before starts at once; whoever has not only waits once.
"""

from __future__ import annotations

from infra.core.budget import Balance
from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site, TrustZone
from infra.core.placement.pipelines.bounds import Bounds
from infra.core.placement.pipelines.decide import PipelineRequest, PipelineStage, StageInput, decide_pipeline
from infra.core.placement.pipelines.problem import Problem
from infra.core.placement.snapshot import Rate, Snapshot
from infra.core.planning.queue import Cluster as Nodes
from infra.core.planning.queue import Rules, WaitingJob, plan_queue
from infra.core.policy import Policy
from infra.core.pricing import Price
from infra.core.units import period_of
from infra.core.workload import Resources, WorkKind, WorkloadRequest

_NOW_AT = 1_800_000_000.0


def queues() -> None:
    """Plan a queue in each manner."""
    waiting = [WaitingJob(f"job-{place}", "tenant", _NOW_AT, 1, 60.0, 1_000, 1_000) for place in range(3)]
    for ahead in (True, False):
        plan_queue(Nodes(1, 1), waiting, _NOW_AT, Rules(ahead=ahead))


def pipelines() -> None:
    """Place three stages that want one device from each other, and ask for all that bounds can tell."""
    work = WorkloadRequest(WorkKind.PROBE, "tenant", (), 60.0, Resources(1))
    first, *others = (PipelineStage(f"stage-{place}", work) for place in range(3))
    fan = [PipelineStage(each.name, work, (StageInput(first.name, 1),)) for each in others]
    request = PipelineRequest("pipeline", "tenant", (first, *fan), deadline_at=_NOW_AT + 86_400.0)
    offer = Offer("offer", Purchase.ON_DEMAND, "gpu", 1, 1.0, 1.0, Price(1_000), boot_s=0.0)
    pool = Pool("pool", Cluster.LOCAL, (offer,))
    site = Site("site", "DE", TrustZone.PRIVATE, (pool,), egress_micro_per_gb=0, bandwidth_mbps=1.0, simulated=True)
    snapshot = Snapshot(
        now_at=_NOW_AT,
        policy=Policy("none"),
        sites=(site,),
        datasets=(),
        balances=(Balance("tenant", period_of(_NOW_AT), 10**9),),
        rates=(Rate(WorkKind.PROBE, "", 1.0, 1.0, 0.1),),
    )
    decide_pipeline(request, snapshot)
    bounds = Bounds(Problem(request, snapshot)).with_tolls()
    bounds.ends()
    bounds.totals(bounds.cost)
    bounds.best_options(bounds.time)
    bounds.priced(False, _NOW_AT + 86_400.0)


if __name__ == "__main__":
    queues()
    pipelines()

"""All plans of a small pipeline, one after the other: every offer, every order, every start. Slow and plain.

What one stage takes and costs at one offer is asked of the functions that decide a single run, which have an oracle of
their own; everything that makes a pipeline — who may read what, when inputs are there, who holds which devices, what moves
from where — is worked out here in another way than in the product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from statistics import NormalDist

from infra.core.inventory import Offer, Site
from infra.core.placement.costing import needed, run_cost
from infra.core.placement.estimate import BOOT_SPREAD, estimate
from infra.core.placement.pipelines.decide import PipelineRequest, PipelineStage
from infra.core.placement.snapshot import Release, Snapshot
from infra.core.units import period_of
from infra.core.workload import Fallback
from tests.property.oracle import (
    _down,
    _offer_fits,
    _policy_allows,
    _site_fits,
    _source,
    allowed_countries,
    zone_number,
)

DAY_S = 86_400.0


def _late(request: PipelineRequest, snapshot: Snapshot) -> Snapshot:
    """Whoever holds devices brings them back as late as the most cautious stage has to expect."""
    wanted = max(stage.request.deadline_probability for stage in request.stages)
    steps = NormalDist().inv_cdf(wanted) / NormalDist().inv_cdf(0.9)
    loads = []
    for load in snapshot.loads:
        releases = tuple(
            Release(r.at if r.late_at is None else r.at + (r.late_at - r.at) * steps, r.devices) for r in load.releases
        )
        loads.append(replace(load, releases=releases))
    return replace(snapshot, loads=tuple(loads))


@dataclass
class Plan:
    """A plan in the making."""

    placed: dict[str, tuple[Site, Offer, float, float]] = field(default_factory=dict)
    cost: int = 0
    need: int = 0


class Oracle:
    """The best of all plans by (cost, finish); ``None`` when there is none."""

    def __init__(self, request: PipelineRequest, snapshot: Snapshot) -> None:
        self.request, self.snapshot, self.now = request, _late(request, snapshot), snapshot.now_at
        self.by_name = {stage.name: stage for stage in request.stages}
        balance = next(
            b for b in snapshot.balances if b.tenant == request.tenant and b.period == period_of(snapshot.now_at)
        )
        self.money = balance.limit_micro - balance.reserved_micro - balance.settled_micro
        if request.budget_micro is not None:
            self.money = min(self.money, request.budget_micro)
        self.best: tuple[int, float] | None = None
        self.made_from = {stage.name: self._made_from(stage) for stage in request.stages}
        self.offers = {stage.name: list(self._offers(stage)) for stage in request.stages}
        self._memo: dict[tuple, object] = {}
        if snapshot.policy.valid_until_at is None or snapshot.policy.valid_until_at >= snapshot.now_at:
            self._extend(Plan())

    def _dataset(self, ref):
        return next(v for v in self.snapshot.datasets if (v.name, v.version) == (ref.name, ref.version))

    def _made_from(self, stage: PipelineStage) -> set:
        found = set(stage.request.datasets)
        for item in stage.inputs:
            if item.reads:
                found |= self._made_from(self.by_name[item.stage])
        return found

    def _offers(self, stage: PipelineStage) -> Iterator[tuple[Site, Offer]]:
        wanted = [self._dataset(ref) for ref in stage.request.datasets]
        everything = [self._dataset(ref) for ref in self.made_from[stage.name]]
        for site in self.snapshot.sites:
            if not _site_fits(stage.request, self.snapshot, wanted, site):
                continue
            if not all(
                site.jurisdiction in allowed_countries(d.residency)
                and zone_number(d.trust_zone) <= zone_number(site.trust_zone)
                for d in everything
            ):
                continue
            if None in [_source(self.snapshot, dataset, site) for dataset in wanted]:
                continue
            for offer in chain.from_iterable(pool.offers for pool in site.pools):
                allowed = _policy_allows(stage.request, self.snapshot, site, offer, self.now)
                if allowed and _offer_fits(stage.request, self.snapshot, site, offer):
                    yield site, offer

    def _lies_at(self, name: str, plan: Plan) -> Site:
        made_at = plan.placed[name][0]
        if not self.request.kept_at or _down(self.snapshot, self.request.kept_at):
            return made_at
        keeper = next(site for site in self.snapshot.sites if site.name == self.request.kept_at)
        for ref in self.made_from[name]:
            dataset = self._dataset(ref)
            if keeper.jurisdiction not in allowed_countries(dataset.residency):
                return made_at
            if zone_number(dataset.trust_zone) > zone_number(keeper.trust_zone):
                return made_at
        return keeper

    def _run(self, stage: PipelineStage, site: Site, offer: Offer, plan: Plan):
        sources = tuple(self._lies_at(item.stage, plan).name for item in stage.inputs)
        key = (stage.name, site.name, offer.name, sources)
        if key not in self._memo:
            self._memo[key] = self._figures(stage, site, offer, sources)
        return self._memo[key]

    def _figures(self, stage: PipelineStage, site: Site, offer: Offer, sources: tuple[str, ...]):
        sites = {each.name: each for each in self.snapshot.sites}
        moves = [(item.bytes, sites[name]) for item, name in zip(stage.inputs, sources, strict=True)]
        moves += [(d.bytes, _source(self.snapshot, d, site)) for d in map(self._dataset, stage.request.datasets)]
        moves = [(size, source) for size, source in moves if source is not site]
        egress = sum(math.ceil(size * source.egress_micro_per_gb / 10**9) for size, source in moves)
        seconds = sum(size * 8 / (min(source.bandwidth_mbps, site.bandwidth_mbps) * 1e6) for size, source in moves)
        load = next((x for x in self.snapshot.loads if (x.site, x.offer) == (site.name, offer.name)), None)
        boot = load.boot_s if load and load.boot_s is not None else offer.boot_s
        boot_spread = load.boot_spread if load and load.boot_spread is not None else BOOT_SPREAD
        handover = (load.handover_s, load.handover_spread) if load else (0.0, 0.0)
        rates = {rate.device: rate for rate in self.snapshot.rates if rate.kind is stage.request.kind}
        durations = estimate(stage.request, offer, rates, boot, seconds, boot_spread, *handover)
        return None if durations is None else (durations, egress)

    def _extend(self, plan: Plan) -> None:
        if self.best is not None and plan.cost > self.best[0]:
            return
        if len(plan.placed) == len(self.by_name):
            found = (plan.cost, max(end for _, _, _, end in plan.placed.values()))
            self.best = found if self.best is None else min(self.best, found)
            return
        for stage in self.request.stages:
            if stage.name in plan.placed or any(item.stage not in plan.placed for item in stage.inputs):
                continue
            for site, offer in self.offers[stage.name]:
                self._place(plan, stage, site, offer)

    def _place(self, plan: Plan, stage: PipelineStage, site: Site, offer: Offer) -> None:
        run = self._run(stage, site, offer, plan)
        if run is None:
            return
        durations, egress = run
        devices = stage.request.resources.devices
        high_s = durations.at(stage.request.deadline_probability)
        for start in self._starts(plan, stage, site, offer, high_s):
            end = start + high_s
            parts, high = run_cost(offer.price, durations, high_s, devices, egress, start)
            need = needed(high, egress)
            late = [limit for limit in (self.request.deadline_at, stage.request.deadline_at) if limit is not None]
            if any(end > limit for limit in late) or plan.need + need > self.money:
                continue
            if stage.request.budget_micro is not None and need > stage.request.budget_micro:
                continue
            self._extend(
                Plan(
                    {**plan.placed, stage.name: (site, offer, start, end)},
                    plan.cost + parts.total_micro,
                    plan.need + need,
                )
            )

    def _starts(self, plan: Plan, stage: PipelineStage, site: Site, offer: Offer, high: float) -> list[float]:
        mine = [
            (self.by_name[name].request.resources.devices, start, end)
            for name, (there, other, start, end) in plan.placed.items()
            if (there.name, other.name) == (site.name, offer.name)
        ]
        load = next((x for x in self.snapshot.loads if (x.site, x.offer) == (site.name, offer.name)), None)
        others = [
            (r.devices, -math.inf, r.at if r.at > self.now else self.now + 60) for r in (load.releases if load else ())
        ]
        ready = max([self.now, *(plan.placed[item.stage][3] for item in stage.inputs)])
        # In the order in which stages are placed here, they also get the devices of one offer.
        ready_here = max([ready, *(start for _, start, _ in mine)])
        needed = stage.request.resources.devices
        earliest = None
        for at in sorted({ready_here, *(end for _, _, end in mine + others if end > ready_here)}):
            used = sum(count for count, start, end in mine + others if start <= at < end)
            if offer.capacity - used >= needed:
                earliest = at
                break
        if earliest is None or (earliest > self.now + 366 * DAY_S and not mine):
            return []
        waits = Fallback.WAIT in stage.request.fallbacks
        if not waits:
            return [] if not stage.inputs and earliest > self.now else [earliest]
        minutes = {m for w in offer.price.windows for m in (w.start_minute, w.end_minute)}
        midnight = math.floor(self.now / DAY_S) * DAY_S
        edges = {midnight + day * DAY_S + minute * 60 for day in range(4) for minute in minutes}
        return [earliest, *sorted(e for e in edges if earliest < e <= self.now + 48 * 3600)]

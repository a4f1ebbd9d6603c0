"""A pipeline and a snapshot, checked and indexed: for each stage the offers that can take it, and what each costs.

What a stage costs at an offer depends on where its inputs lie, so it is worked out for one (offer, places of the
inputs) at a time, when the search first asks, by the same functions that decide a single run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from infra.core.errors import InputError
from infra.core.inventory import Offer, Pool, Site, TrustZone
from infra.core.jurisdictions import combine, permits
from infra.core.placement.constraints import SiteView, offer_reasons, reason, view_site
from infra.core.placement.costing import run_total
from infra.core.placement.decision import Reason, ReasonCode
from infra.core.placement.estimate import LONGEST_RUN_S, Durations, rate_for
from infra.core.placement.optimise import HORIZON_S, availability, durations_at
from infra.core.placement.pipeline_plan import PipelineRequest, PipelineStage, ordered_stages
from infra.core.placement.policing import policy_reasons
from infra.core.placement.snapshot import Snapshot
from infra.core.placement.world import World
from infra.core.pricing import Price
from infra.core.units import BYTES_PER_GB, iso
from infra.core.workload import Fallback

OUTSIDE = -1
"""Index of the place of an input when there is none: a stage without inputs."""


@dataclass(frozen=True, slots=True)
class Run:
    """One stage at one offer with its inputs at given places.

    Attributes:
        cost_micro, needed_micro: For an offer whose price has no windows: they then do not depend on the start.
    """

    durations: Durations
    total_s: float
    high_s: float
    egress_micro: int
    cost_micro: int
    needed_micro: int


@dataclass(frozen=True, slots=True)
class Option:
    """One offer that can take a stage.

    Attributes:
        site: Index of the site.
        key: (site, offer) by name.
        free_at: From when on enough of its devices are free of the runs that are there already.
        edges: Later starts at edges of its price windows; empty when the stage may not wait or there are none.
        durations: Without moves of the results of other stages.
    """

    site: int
    where: Site
    pool: Pool
    offer: Offer
    view: SiteView
    price: Price
    key: tuple[str, str]
    free_at: float
    edges: tuple[float, ...]
    durations: Durations


@dataclass(slots=True)
class Stage:
    """One stage by index; parents have smaller indices.

    Attributes:
        parents: (stage, bytes) of its inputs, by index.
        residency: Where its result may go, one list of tags for each thing that it is made from.
        zone: Least trusted zone that may read its result.
        kept: Index of the site that keeps its result; ``OUTSIDE`` when it lies where it was made.
        refused: Offers that cannot take it, with the reasons.
        scarce: Options that this stage and others, which may run at the same time, could together want too many devices of.
        runs, prices: What was worked out before, by option and places, and by option, places and start.
    """

    index: int
    name: str
    world: World
    parents: tuple[tuple[int, int], ...]
    residency: frozenset[tuple[str, ...]]
    zone: TrustZone
    kept: int
    options: list[Option]
    refused: list[tuple[str, str, tuple[Reason, ...]]]
    scarce: frozenset[int]
    runs: dict[tuple[int, ...], Run | None]
    prices: dict[tuple[int, int, float], tuple[int, int]]
    devices: int
    may_wait: bool
    deadline_at: float | None
    budget_micro: int | None


class Problem:
    """The whole input of one search.

    Raises:
        InputError: What :class:`World` raises for a stage, ``DEADLINE_PAST`` and ``UNKNOWN_SITE``.
    """

    def __init__(self, request: PipelineRequest, snapshot: Snapshot) -> None:
        self.request, self.snapshot, self.now_at = request, snapshot, snapshot.now_at
        if request.deadline_at is not None and request.deadline_at <= self.now_at:
            raise InputError(
                "DEADLINE_PAST",
                f"the deadline {iso(request.deadline_at)} is over",
                "pipeline: deadline_at",
                f"it is {iso(self.now_at)}: give a later instant, or none",
            )
        self.sites = tuple(sorted(snapshot.sites, key=lambda site: site.name))
        self._site_index = {site.name: index for index, site in enumerate(self.sites)}
        self._edges: dict[Price, tuple[float, ...]] = {}
        if request.kept_at and request.kept_at not in self._site_index:
            raise InputError(
                "UNKNOWN_SITE",
                f"{request.kept_at!r} is no site",
                "pipeline: kept_at",
                f"use one of {', '.join(self._site_index)}, or leave it empty",
            )
        self.stages: list[Stage] = []
        ordered = ordered_stages(request)
        position = {stage.name: index for index, stage in enumerate(ordered)}
        for stage in ordered:
            parents = tuple(sorted((position[item.stage], item.bytes) for item in stage.inputs))
            self.stages.append(self._stage(stage, parents))
        self.balance = self.stages[0].world.balance
        self.children = [[v.index for v in self.stages if any(p == u.index for p, _ in v.parents)] for u in self.stages]
        self._parallel = _parallel(self.stages)
        sold = [{option.key for option in stage.options} for stage in self.stages]
        for each in self.stages:
            rivals = [(self.stages[other].devices, sold[other]) for other in sorted(self._parallel[each.index])]
            if rivals:
                each.scarce = frozenset(
                    choice for choice, option in enumerate(each.options) if _is_scarce(each, option, rivals)
                )

    def _stage(self, stage: PipelineStage, parents: tuple[tuple[int, int], ...]) -> Stage:
        world = World.of(stage.request, self.snapshot)
        read = {item.stage for item in stage.inputs if item.reads}
        made_from = [self.stages[parent] for parent, _ in parents if self.stages[parent].name in read]
        residency = frozenset(tuple(sorted(set(dataset.residency))) for dataset in world.datasets).union(
            *(parent.residency for parent in made_from)
        )
        zones = [*(dataset.trust_zone for dataset in world.datasets), *(parent.zone for parent in made_from)]
        zone = max(zones, key=lambda item: item.rank, default=TrustZone.PUBLIC)
        found = Stage(
            index=len(self.stages),
            name=stage.name,
            world=world,
            parents=parents,
            residency=residency,
            zone=zone,
            kept=self._kept(world, residency, zone),
            options=[],
            refused=[],
            scarce=frozenset(),
            runs={},
            prices={},
            devices=stage.request.resources.devices,
            may_wait=Fallback.WAIT in stage.request.fallbacks,
            deadline_at=stage.request.deadline_at,
            budget_micro=stage.request.budget_micro,
        )
        for index, site in enumerate(self.sites):
            view = view_site(world, site)
            shared = [*view.reasons, *_inherited(made_from, site)]
            for pool in site.pools:
                for offer in pool.offers:
                    self._add(found, index, site, pool, offer, view, shared)
        found.options.sort(key=lambda option: option.key)
        return found

    def _kept(self, world: World, residency: Iterable[tuple[str, ...]], zone: TrustZone) -> int:
        name = self.request.kept_at
        if not name or name in world.down:
            return OUTSIDE
        site = world.site_by_name[name]
        allowed = zone.rank <= site.trust_zone.rank and all(permits(tags, site.jurisdiction) for tags in residency)
        return self._site_index[name] if allowed else OUTSIDE

    def _add(
        self, stage: Stage, index: int, site: Site, pool: Pool, offer: Offer, view: SiteView, shared: list[Reason]
    ) -> None:
        """Make the offer an option of the stage, or keep the reasons why it is none."""
        world = stage.world
        reasons = [*shared, *offer_reasons(world, site, offer, view)]
        if world.snapshot.policy.timed:  # when a stage will start is not known yet
            reasons += policy_reasons(world, site, offer, view.moved, self.now_at)
        free_at = self.now_at
        durations = durations_at(world, site, offer, view.transfer_s)
        if durations is not None:
            available = availability(world, site, offer, durations.total_s)
            if available.enough_at is None or available.enough_at > self.now_at + LONGEST_RUN_S:
                reasons.append(reason(ReasonCode.CAPACITY_BUSY, free=available.free, needed=stage.devices))
            else:
                free_at = available.enough_at
        else:
            why = "TOO_LONG" if rate_for(world.rates, offer) else "NO_RATE"
            kind = world.request.kind.value
            reasons.append(
                reason(ReasonCode.ESTIMATE_UNKNOWN, kind=kind, device=offer.device, why=why, longest_s=LONGEST_RUN_S)
            )
        if reasons or offer.price is None or durations is None:
            stage.refused.append((site.name, offer.name, tuple(reasons)))
            return
        edges = self._edges_of(offer.price) if stage.may_wait and offer.price.windows else ()
        key = (site.name, offer.name)
        stage.options.append(Option(index, site, pool, offer, view, offer.price, key, free_at, edges, durations))

    def _edges_of(self, price: Price) -> tuple[float, ...]:
        """Edges of the price's windows after now, as far ahead as a cheaper window is waited for."""
        if price not in self._edges:
            found, at = [], price.next_change_at(self.now_at)
            while at <= self.now_at + HORIZON_S:
                found.append(at)
                at = price.next_change_at(at)
            self._edges[price] = tuple(found)
        return self._edges[price]

    def rivals(self, stage: int) -> frozenset[int]:
        """Stages that may run at the same time as this one: neither comes after the other."""
        return self._parallel[stage]

    def place_of(self, stage: int, site: int) -> int:
        """Index of the site where the stage's result lies when the stage runs at ``site``."""
        kept = self.stages[stage].kept
        return site if kept == OUTSIDE else kept

    def run(self, stage: Stage, choice: int, places: tuple[int, ...]) -> Run | None:
        """The stage at its option ``choice`` with its inputs at these places; ``None`` when it would take too long."""
        key = (choice, *places)
        if key not in stage.runs:
            stage.runs[key] = self._run(stage, stage.options[choice], places)
        return stage.runs[key]

    def _run(self, stage: Stage, option: Option, places: tuple[int, ...]) -> Run | None:
        egress_micro, transfer_s = option.view.egress_micro, option.view.transfer_s
        durations: Durations | None = option.durations
        for (_, size), place in zip(stage.parents, places, strict=True):
            if place not in (option.site, OUTSIDE) and size:
                egress_micro += egress_of(size, self.sites[place])
                transfer_s += transfer_of(size, self.sites[place], option.where)
        if transfer_s != option.view.transfer_s:
            if option.offer.interruptions_per_hour:
                durations = durations_at(stage.world, option.where, option.offer, transfer_s)
            else:  # what is never interrupted takes as much longer as the transfer does
                durations = replace(option.durations, transfer_s=transfer_s)
        if durations is None:
            return None
        high_s = durations.at(stage.world.request.deadline_probability)
        if high_s > LONGEST_RUN_S:
            return None
        cost_micro = needed_micro = 0
        if not option.price.windows:
            cost_micro, needed_micro = run_total(
                option.price, durations, high_s, stage.devices, egress_micro, self.now_at
            )
        return Run(durations, durations.total_s, high_s, egress_micro, cost_micro, needed_micro)

    def money(self, stage: Stage, choice: int, run: Run, start_at: float) -> tuple[int, int]:
        """Expected cost and need of a start, in micro-dollars."""
        price = stage.options[choice].price
        if not price.windows:
            return run.cost_micro, run.needed_micro
        key = (choice, id(run), start_at)  # runs live as long as their stage
        if key not in stage.prices:
            stage.prices[key] = run_total(price, run.durations, run.high_s, stage.devices, run.egress_micro, start_at)
        return stage.prices[key]

    def starts(self, stage: Stage, choice: int, ready_at: float, not_before_at: float = 0.0) -> list[float]:
        """Starts once the inputs are there: the earliest, and later edges of price windows.

        Args:
            not_before_at: When devices are free of the other stages of this pipeline.
        """
        option = stage.options[choice]
        earliest_at = max(ready_at, option.free_at, not_before_at)
        if not stage.may_wait and not stage.parents and earliest_at > self.now_at:
            return []
        return [earliest_at, *(edge for edge in option.edges if edge > earliest_at)]


def _is_scarce(stage: Stage, option: Option, rivals: list[tuple[int, set[tuple[str, str]]]]) -> bool:
    wanted = sum(devices for devices, sold in rivals if option.key in sold)
    load = stage.world.loads.get(option.key)
    used = sum(entry.devices for entry in load.releases) if load else 0
    return wanted > 0 and stage.devices + wanted > max(0, option.offer.capacity - used)


def egress_of(size: int, source: Site) -> int:
    """Micro-dollars for bytes that leave a site, rounded up."""
    return -(-size * source.egress_micro_per_gb // BYTES_PER_GB)


def transfer_of(size: int, source: Site, target: Site) -> float:
    """Seconds on the slower of the two sites' links."""
    return size / (min(source.bandwidth_mbps, target.bandwidth_mbps) * 1e6 / 8)


def _inherited(made_from: list[Stage], site: Site) -> list[Reason]:
    """Reasons why results of other stages may not be read at a site."""
    reasons = []
    for parent in made_from:
        for tags in sorted(parent.residency):
            if not permits(tags, site.jurisdiction):
                reasons.append(
                    reason(
                        ReasonCode.RESIDENCY_EXCLUDED, dataset=parent.name, tags=tags, jurisdiction=site.jurisdiction
                    )
                )
        if parent.zone.rank > site.trust_zone.rank:
            reasons.append(reason(ReasonCode.TRUST_ZONE_TOO_LOW, zone=site.trust_zone.value, needed=parent.zone.value))
    return reasons


def result_residency(stage: Stage) -> tuple[str, ...]:
    """Residency tags of the stage's result; empty when no country may hold everything that it is made from."""
    try:
        return combine(tuple(sorted(stage.residency)))
    except InputError:
        return ()


def _parallel(stages: list[Stage]) -> list[frozenset[int]]:
    before: list[frozenset[int]] = []
    for stage in stages:
        parents = [parent for parent, _ in stage.parents]
        before.append(frozenset(parents).union(*(before[parent] for parent in parents)))
    return [
        frozenset(j for j in range(len(stages)) if j != i and j not in before[i] and i not in before[j])
        for i in range(len(stages))
    ]

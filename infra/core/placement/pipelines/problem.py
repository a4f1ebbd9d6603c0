"""A pipeline and a snapshot, checked and indexed: for each stage the offers that can take it, and what each costs.

What a stage costs at an offer depends on where its inputs lie, so it is worked out for one (offer, places of the
inputs) at a time, when the search first asks, by the same functions that decide a single run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from infra.core.errors import InputError
from infra.core.inventory import Site, TrustZone
from infra.core.jurisdictions import combine, permits
from infra.core.placement.costing import least_total, run_total
from infra.core.placement.estimate import LONGEST_RUN_S, Durations
from infra.core.placement.fitting import back_at
from infra.core.placement.pipelines.options import Inherited, OfferBook, Option
from infra.core.placement.pipelines.plan import PipelineRequest, PipelineStage, ordered_stages
from infra.core.placement.pipelines.waits import at_high_estimates
from infra.core.placement.snapshot import Snapshot
from infra.core.placement.starts import durations_at
from infra.core.placement.world import World
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


@dataclass(slots=True)
class Stage:
    """One stage by index; parents have smaller indices.

    Attributes:
        parents: (stage, bytes) of its inputs, by index.
        residency: Where its result may go, one list of tags for each thing that it is made from.
        zone: Least trusted zone that may read its result.
        kept: Index of the site that keeps its result; ``OUTSIDE`` when it lies where it was made.
        inherited: What the stages that it reads from let it do.
        runs, prices: What was worked out before, by option and places, and by option, places and start.
        least: The least of all starts between two instants, likewise.
    """

    index: int
    name: str
    world: World
    parents: tuple[tuple[int, int], ...]
    residency: frozenset[tuple[str, ...]]
    zone: TrustZone
    kept: int
    options: list[Option]
    inherited: Inherited
    runs: dict[tuple[int, ...], Run | None]
    prices: dict[tuple[int, int, float], tuple[int, int]]
    least: dict[tuple[int, int, float, float], tuple[int, int]]
    devices: int
    may_wait: bool
    deadline_at: float | None
    budget_micro: int | None


class Problem:
    """The whole input of one search.

    Attributes:
        snapshot: As it is at the high estimates of when devices come back; ``expected`` is what was given.
        book: All offers; ``free`` are the devices of each that no run has that is there already.
        children: Stages that wait for a stage, by index.
        most_starts: How many starts a stage has at the most, at all of its options together.

    Raises:
        InputError: What :class:`World` raises for a stage, ``DEADLINE_PAST`` and ``UNKNOWN_SITE``.
    """

    def __init__(self, request: PipelineRequest, snapshot: Snapshot) -> None:
        self.request, self.expected, self.now_at = request, snapshot, snapshot.now_at
        probability = max([stage.request.deadline_probability for stage in request.stages], default=0.0)
        self.snapshot = snapshot = at_high_estimates(snapshot, probability)
        if request.deadline_at is not None and request.deadline_at <= self.now_at:
            raise InputError(
                "DEADLINE_PAST",
                f"the deadline {iso(request.deadline_at)} is over",
                "pipeline: deadline_at",
                f"it is {iso(self.now_at)}: give a later instant, or none",
            )
        self.book = OfferBook(snapshot)
        self.sites = self.book.sites
        self._site_index = {site.name: index for index, site in enumerate(self.sites)}
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
        self.most_starts = max(sum([1 + len(option.edges) for option in stage.options]) for stage in self.stages)
        self.balance = self.stages[0].world.balance
        self.children = [[v.index for v in self.stages if any(p == u.index for p, _ in v.parents)] for u in self.stages]
        self._parallel = _parallel(self.stages)
        self.free = [self._free(row) for row in range(len(self.book.rows))]

    def _stage(self, stage: PipelineStage, parents: tuple[tuple[int, int], ...]) -> Stage:
        world = World.of(stage.request, self.snapshot)
        read = {item.stage for item in stage.inputs if item.reads}
        made_from = [self.stages[parent] for parent, _ in parents if self.stages[parent].name in read]
        residency = frozenset(tuple(sorted(set(dataset.residency))) for dataset in world.datasets).union(
            *(parent.residency for parent in made_from)
        )
        inherited = Inherited(
            tuple((parent.name, parent.residency) for parent in made_from), tuple(parent.zone for parent in made_from)
        )
        zones = [*(dataset.trust_zone for dataset in world.datasets), *(parent.zone for parent in made_from)]
        zone = max(zones, key=lambda item: item.rank, default=TrustZone.PUBLIC)
        may_wait = Fallback.WAIT in stage.request.fallbacks
        return Stage(
            index=len(self.stages),
            name=stage.name,
            world=world,
            parents=parents,
            residency=residency,
            zone=zone,
            kept=self._kept(world, residency, zone),
            options=self.book.options(world, inherited, may_wait),
            inherited=inherited,
            runs={},
            prices={},
            least={},
            devices=stage.request.resources.devices,
            may_wait=may_wait,
            deadline_at=stage.request.deadline_at,
            budget_micro=stage.request.budget_micro,
        )

    def _kept(self, world: World, residency: Iterable[tuple[str, ...]], zone: TrustZone) -> int:
        name = self.request.kept_at
        if not name or name in world.down:
            return OUTSIDE
        site = world.site_by_name[name]
        allowed = zone.rank <= site.trust_zone.rank and all(permits(tags, site.jurisdiction) for tags in residency)
        return self._site_index[name] if allowed else OUTSIDE

    def releases(self, row: int) -> list[tuple[float, int]]:
        """Devices of an offer that runs have that are there already, as (until, devices)."""
        load = self.stages[0].world.loads.get(self.book.rows[row].key)
        return [(back_at(entry.at, self.now_at), entry.devices) for entry in load.releases] if load else []

    def _free(self, row: int) -> int:
        """Devices of an offer that no run has that is there already."""
        return max(0, self.book.rows[row].offer.capacity - sum([devices for _, devices in self.releases(row)]))

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
        egress_micro, transfer_s = option.egress_micro, option.transfer_s
        durations = option.durations
        for (_, size), place in zip(stage.parents, places, strict=True):
            if place not in (option.site, OUTSIDE) and size:
                egress_micro += egress_of(size, self.sites[place])
                transfer_s += transfer_of(size, self.sites[place], option.where)
        high_s = option.high_s
        if transfer_s != option.transfer_s:
            # What is never interrupted takes as much longer as the transfer does.
            found: Durations | None = option.durations.moving(transfer_s)
            if option.offer.interruptions_per_hour:
                found = durations_at(stage.world, option.where, option.offer, transfer_s)
            if found is None:
                return None
            durations = found
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

    def least_money(self, stage: Stage, choice: int, run: Run, earliest_at: float, end_at: float) -> tuple[int, int]:
        """The least expected cost and the least need, in micro-dollars, of all starts from an instant on.

        Args:
            end_at: By when it must have ended.
        """
        key = (choice, id(run), earliest_at, end_at)
        found = stage.least.get(key)
        if found is None:
            price, latest_at = stage.options[choice].price, end_at - run.high_s
            figures = run.durations, run.high_s, stage.devices, run.egress_micro
            found = stage.least[key] = least_total(price, *figures, earliest_at, latest_at)
        return found

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


def egress_of(size: int, source: Site) -> int:
    """Micro-dollars for bytes that leave a site, rounded up."""
    return -(-size * source.egress_micro_per_gb // BYTES_PER_GB)


def transfer_of(size: int, source: Site, target: Site) -> float:
    """Seconds on the slower of the two sites' links."""
    return size / (min(source.bandwidth_mbps, target.bandwidth_mbps) * 1e6 / 8)


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

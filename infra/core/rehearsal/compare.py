"""What became of many runs, in figures, and how two rehearsals of the same runs differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from infra.core.capacity import Advice, Cloud, NodePrice, advise, cloud_of, demand_of
from infra.core.frontier import Point
from infra.core.inventory import Purchase
from infra.core.placement.decision import Reason, ReasonCode
from infra.core.rehearsal.model import Ending, Fate
from infra.core.units import MICRO_PER_USD, SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class SiteUse:
    """What ran on one offer."""

    site: str
    offer: str
    purchase: str
    runs: int
    device_h: float
    cost_micro: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Many runs in figures.

    Attributes:
        endings: How many ended how.
        uses: By (site, offer).
        deadlines, deadlines_met: Runs with a deadline, and those that met it.
        mean_wait_s, p99_wait_s, max_wait_s: Of those that ran; 0 when none did.
    """

    runs: int
    endings: dict[Ending, int]
    uses: tuple[SiteUse, ...]
    cost_micro: int
    deadlines: int
    deadlines_met: int
    mean_wait_s: float
    p99_wait_s: float
    max_wait_s: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A run that fares otherwise.

    Attributes:
        why: What the later decision says about where the run went before.
        binding: The constraints that bind when it goes nowhere.
        gone: Where it went before is not there any more.
    """

    run_id: str
    before: Fate
    after: Fate
    why: tuple[Reason, ...] = ()
    binding: tuple[ReasonCode, ...] = ()
    gone: bool = False


def summarise(fates: Iterable[Fate]) -> Summary:
    """The figures of many runs."""
    told = list(fates)
    ran = [fate for fate in told if fate.ending is Ending.RAN]
    waits = sorted(fate.wait_s or 0.0 for fate in ran)
    with_deadline = [fate.in_time for fate in told if fate.in_time is not None]
    groups: dict[tuple[str, str, str], list[Fate]] = {}
    for fate in ran:
        groups.setdefault((fate.site, fate.offer, fate.purchase), []).append(fate)
    return Summary(
        runs=len(told),
        endings=dict(sorted(Counter(fate.ending for fate in told).items())),
        uses=tuple(
            SiteUse(*where, len(group), sum(map(device_hours, group)), sum(fate.cost_micro for fate in group))
            for where, group in sorted(groups.items())
        ),
        cost_micro=sum(fate.cost_micro for fate in told),
        deadlines=len(with_deadline),
        deadlines_met=sum(with_deadline),
        mean_wait_s=math.fsum(waits) / len(waits) if waits else 0.0,
        p99_wait_s=waits[math.ceil(0.99 * len(waits)) - 1] if waits else 0.0,
        max_wait_s=waits[-1] if waits else 0.0,
    )


def device_hours(fate: Fate) -> float:
    """Device-hours that a run held."""
    if fate.start_at is None or fate.finish_at is None:
        return 0.0
    return fate.devices * (fate.finish_at - fate.start_at) / SECONDS_PER_HOUR


def differences(before: Mapping[str, Fate], after: Mapping[str, Fate], least_s: float = 1.0) -> list[Difference]:
    """Runs that end otherwise, run elsewhere, cost something else, or start ``least_s`` earlier or later."""
    found = []
    for run_id, now in after.items():
        then = before[run_id]
        moved_s = abs((now.start_at or 0.0) - (then.start_at or 0.0))
        same = _place(then) == _place(now) and then.cost_micro == now.cost_micro and moved_s < least_s
        if not same:
            found.append(_explained(run_id, then, now))
    return found


def same_choices(recorded: Mapping[str, Fate], again: Mapping[str, Fate]) -> int:
    """How many runs end in the same way at the same place."""
    return sum(_place(recorded[run_id]) == _place(fate) for run_id, fate in again.items())


def _place(fate: Fate) -> tuple[Ending, str, str]:
    return fate.ending, fate.site, fate.offer


def _explained(run_id: str, then: Fate, now: Fate) -> Difference:
    decision = now.decision
    if decision is None:
        return Difference(run_id, then, now)
    if decision.chosen is None:
        return Difference(run_id, then, now, binding=tuple(decision.binding))
    if then.ending is not Ending.RAN or _place(then) == _place(now):
        return Difference(run_id, then, now)
    left = [each for each in decision.candidates if (each.site, each.offer) == (then.site, then.offer)]
    return Difference(run_id, then, now, left[0].reasons if left else (), gone=not left)


def point_of(label: str, fates: Sequence[Fate], wait_usd_per_h: float | None, owned_usd_per_month: float) -> Point:
    """A rehearsal as a point of the frontier. Bought devices count as cloud, whatever they are."""
    summary, cloud = summarise(fates), cloud_use(fates)
    bought = [use for use in summary.uses if use.purchase != Purchase.OWNED.value]
    return Point(
        label=label,
        wait_usd_per_h=wait_usd_per_h,
        mean_wait_h=summary.mean_wait_s / SECONDS_PER_HOUR,
        p99_wait_h=summary.p99_wait_s / SECONDS_PER_HOUR,
        max_wait_h=summary.max_wait_s / SECONDS_PER_HOUR,
        cloud_gpu_h=sum(use.device_h for use in bought),
        cloud_usd=summary.cost_micro / MICRO_PER_USD,
        cloud_usd_per_month=cloud.usd_per_month,
        owned_usd_per_month=owned_usd_per_month,
        jobs=summary.runs,
        jobs_cloud=sum(use.runs for use in bought),
    )


def cloud_use(fates: Sequence[Fate]) -> Cloud:
    """What was bought, by day, and what waiting put off beyond the last arrival, at the mean price of what was bought."""
    first, last = (choose(fate.arrived_at for fate in fates) / SECONDS_PER_HOUR for choose in (min, max))
    ran = [fate for fate in fates if fate.ending is Ending.RAN]
    away = [fate for fate in ran if fate.purchase != Purchase.OWNED.value]
    put_off = math.fsum(_put_off(fate, last) for fate in ran if fate.purchase == Purchase.OWNED.value)
    usd, hours = sum(fate.cost_micro for fate in away) / MICRO_PER_USD, math.fsum(map(device_hours, away))
    start, runtime, devices = _columns(away)
    price = usd / hours if hours > 0 else 0.0
    return cloud_of(start, runtime, devices, usd, first, last, put_off, put_off * price)


def _put_off(fate: Fate, last_h: float) -> float:
    runtime_h = device_hours(fate) / max(1, fate.devices)
    left, without_wait = (
        min(max(at / SECONDS_PER_HOUR + runtime_h - last_h, 0.0), runtime_h)
        for at in (fate.start_at or 0.0, fate.arrived_at)
    )
    return fate.devices * (left - without_wait)


def advice(
    fates: Sequence[Fate],
    owned: int,
    per_node: int,
    price: NodePrice,
    rehearsed: Callable[[int], Sequence[Fate]],
) -> Advice | None:
    """Whether to buy nodes; ``None`` when nothing ran.

    Args:
        owned: Devices that are owned.
        rehearsed: The runs' fates with so many more devices.
    """
    ran = sorted((fate for fate in fates if fate.ending is Ending.RAN), key=lambda fate: fate.arrived_at)
    if not ran:
        return None
    _, runtime, devices = _columns(ran)
    arrival = np.array([fate.arrived_at / SECONDS_PER_HOUR for fate in ran])
    seen: dict[int, float] = {}

    def cost(nodes: int) -> float:
        if nodes not in seen:
            seen[nodes] = cloud_use(rehearsed(nodes * per_node)).due_usd_per_month
        return seen[nodes]

    return advise(demand_of(arrival, runtime, devices), cloud_use(fates), 0, per_node, price, cost, owned)


def _columns(fates: Sequence[Fate]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start and run time in hours, and devices, of runs that ran."""
    start = np.array([(fate.start_at or 0.0) / SECONDS_PER_HOUR for fate in fates])
    runtime = np.array([((fate.finish_at or 0.0) - (fate.start_at or 0.0)) / SECONDS_PER_HOUR for fate in fates])
    return start, runtime, np.array([fate.devices for fate in fates], np.int64)

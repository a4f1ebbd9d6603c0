"""Whether to buy capacity: what the load asks for, what the cloud costs beside the owned nodes, and when a node pays for itself.

Hours, GPUs and dollars throughout. Everything here is arithmetic on figures that somebody has simulated or recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

HOURS_PER_DAY = 24.0
HOURS_PER_MONTH = 730.0
"""A twelfth of a year of 365 days."""

BASE_QUANTILE = 0.1
"""The base load is what is asked for during all but this share of the time."""

EVERY_DAY = 0.9
"""The cloud is needed every day when it is on at least this share of the days."""


class Need(StrEnum):
    """How the cloud is needed beside what is owned."""

    UNKNOWN = "unknown"
    """Less than a whole day was seen."""
    NEVER = "never"
    PEAKS = "peaks"
    """On some days; what is owned is enough on average."""
    EVERY_DAY = "every_day"
    """Every day; what is owned would be enough on average."""
    BASE_LOAD = "base_load"
    """More is asked for on average than is owned: however long jobs may wait, the cloud is needed."""


@dataclass(frozen=True, slots=True)
class Demand:
    """GPUs that would be held if every job started when it came, over the time from the first arrival to the last.

    Attributes:
        base_gpus: Exceeded for all but a tenth of the time.
        median_gpus, mean_gpus, peak_gpus: Of the same, weighted by time.
    """

    base_gpus: float
    median_gpus: float
    mean_gpus: float
    peak_gpus: float


@dataclass(frozen=True, slots=True)
class Cloud:
    """What the cloud did on each whole day.

    Attributes:
        days: Whole days from the first arrival to the last.
        days_used: Those on which something ran there.
        base_gpus: GPUs at work there, the day's mean, exceeded on nine days of ten.
        gpu_hours: On all days together, the part of a day at the end included.
        usd_per_month: What it cost, brought to a month.
        backlog_gpu_hours: Owned work that waiting put off beyond the last arrival.
        backlog_usd_per_month: What it would cost in the cloud. Where less is owned than is asked for, a queue can put off
            for as long as the record lasts what it never makes good, so sizes are compared with it.
    """

    days: int
    days_used: int
    base_gpus: float
    gpu_hours: float
    usd_per_month: float
    backlog_gpu_hours: float = 0.0
    backlog_usd_per_month: float = 0.0

    @property
    def due_usd_per_month(self) -> float:
        """What it cost and what was put off."""
        return self.usd_per_month + self.backlog_usd_per_month


@dataclass(frozen=True, slots=True)
class NodePrice:
    """What an owned node costs: everything, its purchase written off over its life, energy, room and hands included.

    Attributes:
        usd_per_month: Of one node.
        life_months: For so long is it paid once it is bought.
    """

    usd_per_month: float
    life_months: float


@dataclass(frozen=True, slots=True)
class Purchase:
    """Another number of nodes than the owned one, beside it.

    Attributes:
        nodes: How many there would be.
        more: How many more than owned; negative for fewer.
        cloud_usd_per_month: What the cloud would cost then, with what was put off.
        saved_usd_per_month: How much less than now.
        nodes_usd_per_month: What the additional nodes cost.
        break_even_months: When what is saved has paid for the additional nodes' whole life; ``None`` when it never does
            or none are added.
    """

    nodes: int
    more: int
    cloud_usd_per_month: float
    saved_usd_per_month: float
    nodes_usd_per_month: float
    break_even_months: float | None

    @property
    def net_usd_per_month(self) -> float:
        """What remains each month, over the life of the nodes."""
        return self.saved_usd_per_month - self.nodes_usd_per_month


@dataclass(frozen=True, slots=True)
class Advice:
    """The verdict.

    Attributes:
        owned_gpus: GPUs that are owned.
        next_node: One node more than owned; ``None`` where it was not worked out.
        best: The cheapest number of nodes; ``None`` when it is the owned one, or was not worked out.
    """

    need: Need
    owned_nodes: int
    owned_gpus: int
    demand: Demand
    cloud: Cloud
    price: NodePrice
    next_node: Purchase | None = None
    best: Purchase | None = None


def demand_of(arrival_h: np.ndarray, runtime_h: np.ndarray, held: np.ndarray) -> Demand:
    """The load without a queue.

    Args:
        arrival_h: When each job comes. [jobs] float64, sorted
        runtime_h: How long it runs. [jobs] float64
        held: GPUs that it holds. [jobs] int64
    """
    first, last = float(arrival_h[0]), float(arrival_h[-1])
    ends = arrival_h + runtime_h
    at = np.concatenate([arrival_h, ends[ends < last]])
    change = np.concatenate([held, -held[ends < last]]).astype(np.float64)
    # Where one ends as another begins, the end comes first: they share the GPUs.
    order = np.lexsort((change, at))
    level, at = np.cumsum(change[order]), at[order]
    spans = np.diff(np.append(at, last))
    if last <= first:
        peak = float(held.sum())
        return Demand(peak, peak, peak, peak)
    return Demand(
        base_gpus=_quantile(level, spans, BASE_QUANTILE),
        median_gpus=_quantile(level, spans, 0.5),
        mean_gpus=float((level * spans).sum() / spans.sum()),
        peak_gpus=float(level[spans > 0].max()),
    )


def _quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, share * reached[-1])])


def cloud_of(
    start_h: np.ndarray,
    runtime_h: np.ndarray,
    gpus: np.ndarray,
    usd: float,
    first_h: float,
    last_h: float,
    backlog_gpu_hours: float = 0.0,
    backlog_usd: float = 0.0,
) -> Cloud:
    """What ran in the cloud, by day.

    Args:
        start_h: When each job that ran there began. [jobs] float64
        runtime_h: How long it ran. [jobs] float64
        gpus: Its GPUs. [jobs] int64
        usd: What all of them cost.
        first_h, last_h: The first and the last arrival of all jobs: days are counted from the first, and a month's cost
            is that of this time.
        backlog_gpu_hours, backlog_usd: Owned work that waiting put off beyond that, and its price in the cloud.
    """
    span_h = last_h - first_h
    monthly = HOURS_PER_MONTH / span_h if span_h > 0 else 0.0
    days = int(span_h // HOURS_PER_DAY)
    total = float((gpus * runtime_h).sum())
    until = np.array(
        [
            float((gpus * np.clip(edge - start_h, 0.0, runtime_h)).sum())
            for edge in first_h + HOURS_PER_DAY * np.arange(days + 1)
        ]
    )
    by_day = np.diff(until)
    return Cloud(
        days=days,
        days_used=int((by_day > 1e-9).sum()),
        base_gpus=float(np.quantile(by_day, BASE_QUANTILE)) / HOURS_PER_DAY if days else 0.0,
        gpu_hours=total,
        usd_per_month=usd * monthly,
        backlog_gpu_hours=backlog_gpu_hours,
        backlog_usd_per_month=backlog_usd * monthly,
    )


def need_of(demand: Demand, cloud: Cloud, owned_gpus: int) -> Need:
    """How the cloud is needed."""
    if cloud.days < 1:
        return Need.UNKNOWN
    if demand.mean_gpus > owned_gpus:
        return Need.BASE_LOAD
    if cloud.gpu_hours == 0.0:
        return Need.NEVER
    return Need.EVERY_DAY if cloud.days_used >= EVERY_DAY * cloud.days else Need.PEAKS


def purchase(nodes: int, owned: int, cost: Callable[[int], float], price: NodePrice) -> Purchase:
    """What ``nodes`` would mean instead of the owned ones.

    Args:
        cost: Cloud dollars per month with a number of nodes.
    """
    more, then = nodes - owned, cost(nodes)
    saved, paid = cost(owned) - then, more * price.usd_per_month
    months = price.life_months * paid / saved if more > 0 and saved > 0 else math.inf
    return Purchase(nodes, more, then, saved, paid, months if months <= price.life_months else None)


def cheapest_size(cost: Callable[[int], float], least: int, most: int, usd_per_month: float) -> int:
    """The number of nodes from ``least`` to ``most`` with the least cost of cloud and nodes together.

    Golden-section search: exact when that cost falls and then rises, which it does when each further node saves no more
    than the one before; it asks for about 1.4 times the binary logarithm of the range.
    """

    def total(nodes: int) -> float:
        return cost(nodes) + nodes * usd_per_month

    golden = (math.sqrt(5.0) - 1.0) / 2.0
    low, high = least, most
    while high - low > 3:
        step = max(1, round(golden * (high - low)))
        left, right = high - step, low + step
        if left >= right:
            left, right = right - 1, right
        if total(left) <= total(right):
            high = right
        else:
            low = left
    return min(range(low, high + 1), key=lambda nodes: (total(nodes), nodes))


def advise(
    demand: Demand,
    cloud: Cloud,
    owned_nodes: int,
    gpus_per_node: int,
    price: NodePrice,
    cost: Callable[[int], float],
    owned_gpus: int | None = None,
) -> Advice:
    """The verdict: how the cloud is needed, and the number of nodes that would cost least.

    Args:
        cloud: With the owned nodes.
        cost: Cloud dollars per month with a number of nodes (``Cloud.due_usd_per_month``), 0 and more where ``owned_gpus`` is given, else 1 and more.
            Asked for a few numbers, each of which may be asked for more than once.
        owned_gpus: GPUs that are owned where they stand in no nodes; the number of nodes is then that of added ones.
    """
    gpus = owned_nodes * gpus_per_node if owned_gpus is None else owned_gpus
    need = need_of(demand, cloud, gpus)
    advice = Advice(need, owned_nodes, gpus, demand, cloud, price)
    if need is Need.UNKNOWN:
        return advice
    least = 1 if owned_gpus is None else 0
    beyond = demand.peak_gpus - (0 if owned_gpus is None else owned_gpus)
    most = max(owned_nodes + 1, math.ceil(beyond / gpus_per_node))
    nodes = cheapest_size(cost, least, most, price.usd_per_month)
    best = purchase(nodes, owned_nodes, cost, price)
    return Advice(
        need,
        owned_nodes,
        gpus,
        demand,
        cloud,
        price,
        next_node=purchase(owned_nodes + 1, owned_nodes, cost, price) if cost(owned_nodes) > 0 else None,
        best=best if best.more and best.net_usd_per_month > 0 else None,
    )

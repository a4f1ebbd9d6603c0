"""What a trace would cost with other nodes, prices of the cloud and prices of waiting, and whether to buy nodes.

Every point is one run of the production planner over the trace, as in :mod:`infra.simulate.batch`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from infra.core.capacity import HOURS_PER_MONTH, Advice, Cloud, NodePrice, advise, cloud_of, demand_of
from infra.core.frontier import Point
from infra.simulate.batch import Outcome, Planner, Setting, measures
from infra.simulate.trace import Trace

NODE_USD_PER_GPU_MONTH = 750.0
"""Price of an owned GPU in its node for a month where none is given: 27,000 USD over three years."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is compared; the first of each list is what there is today.

    Attributes:
        nodes: Numbers of owned nodes.
        usd_per_gpu_h: Prices of a GPU-hour in the cloud.
        wait_usd_per_h: Prices of one job's waiting one hour.
        node_price: Of an owned node.
    """

    nodes: Sequence[int]
    usd_per_gpu_h: Sequence[float]
    wait_usd_per_h: Sequence[float]
    node_price: NodePrice


class WhatIf:
    """A trace that can be asked; what was simulated once is not simulated again."""

    def __init__(self, trace: Trace, setting: Setting, tell: Callable[[str], None] = lambda text: None) -> None:
        """Prepare the questions.

        Args:
            setting: What stays the same: GPUs per node, errors of run times, the cloud's boot, latest starts.
            tell: Told about progress.
        """
        self._trace, self._setting, self._tell = trace, setting, tell
        self._seen: dict[tuple[int, float, float], tuple[Point, Cloud]] = {}

    def frontier(self, question: Question) -> list[Point]:
        """One point for each number of nodes, price of the cloud and price of waiting, in that order."""
        return [
            self._point(nodes, price, wait, question.node_price)[0]
            for nodes in question.nodes
            for price in question.usd_per_gpu_h
            for wait in sorted(question.wait_usd_per_h)
        ]

    def advice(self, question: Question) -> Advice:
        """Whether to buy nodes, at today's price of the cloud and of waiting."""
        trace, per_node = self._trace, self._setting.gpus_per_node
        held = np.where(trace.gpus > per_node, -(-trace.gpus // per_node) * per_node, trace.gpus)
        owned, price, wait = question.nodes[0], question.usd_per_gpu_h[0], question.wait_usd_per_h[0]

        def cost(nodes: int) -> float:
            return self._point(nodes, price, wait, question.node_price)[1].due_usd_per_month

        return advise(
            demand_of(trace.arrival_h, trace.runtime_h, held),
            self._point(owned, price, wait, question.node_price)[1],
            owned,
            per_node,
            question.node_price,
            cost,
        )

    def _point(self, nodes: int, price: float, wait: float, node_price: NodePrice) -> tuple[Point, Cloud]:
        key = (nodes, price, wait)
        if key not in self._seen:
            self._tell(f"{len(self._seen) + 1}: {nodes} nodes, {price:g} USD/GPU-h, waiting {wait:g} USD/h")
            trace = self._trace
            setting = replace(self._setting, nodes=nodes, usd_per_gpu_h=price, wait_usd_per_h=wait)
            outcome = Planner(trace, setting).run(wait, setting.longest_wait_h or math.inf)
            told, cloud = measures(trace, setting, outcome), cloud_use(trace, setting, outcome)
            point = Point(
                label=f"{nodes} nodes" + (f", {price:g} USD/GPU-h" if price != self._setting.usd_per_gpu_h else ""),
                wait_usd_per_h=wait,
                mean_wait_h=float(told["mean_wait_h"] or 0.0),
                p99_wait_h=float(told["p99_wait_h"] or 0.0),
                max_wait_h=float(told["max_wait_h"] or 0.0),
                cloud_gpu_h=float(told["cloud_gpu_h"] or 0.0),
                cloud_usd=float(told["cost_usd"] or 0.0),
                cloud_usd_per_month=cloud.usd_per_month,
                owned_usd_per_month=nodes * node_price.usd_per_month,
                jobs=trace.gpus.size,
                jobs_cloud=int(outcome.cloud.sum()),
                nodes=nodes,
                usd_per_gpu_h=price,
                utilisation=float(told["utilisation"] or 0.0),
            )
            self._seen[key] = point, cloud
        return self._seen[key]


def cloud_use(trace: Trace, setting: Setting, outcome: Outcome) -> Cloud:
    """What an outcome used the cloud for, by day."""
    away = outcome.cloud
    usd = float(trace.gpu_hours[away].sum()) * setting.usd_per_gpu_h
    first, last = float(trace.arrival_h[0]), float(trace.arrival_h[-1])
    left, without_wait = (
        np.clip(start + trace.runtime_h - last, 0.0, trace.runtime_h) for start in (outcome.start_h, trace.arrival_h)
    )
    put_off = float((trace.gpus * (left - without_wait))[~away].sum())
    return cloud_of(
        outcome.start_h[away],
        trace.runtime_h[away],
        trace.gpus[away],
        usd,
        first,
        last,
        put_off,
        put_off * setting.usd_per_gpu_h,
    )


def months_of(trace: Trace) -> float:
    """Length of the trace from the first arrival to the last, in months."""
    return float(trace.arrival_h[-1] - trace.arrival_h[0]) / HOURS_PER_MONTH

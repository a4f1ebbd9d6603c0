"""Simulating batch jobs on nodes that are owned and a cloud that is paid: policies, their measures, and the price of waiting.

The model: equal nodes, free of charge; jobs are rigid gangs that run to their end; a job of no more GPUs than a node has
needs one node, a wider one whole nodes; the cloud is endless and starts a job after its boot time, which counts as waiting.
Hours and dollars throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from infra.simulate.trace import Trace

if TYPE_CHECKING:
    from infra.core.planning.columns import Manner

POLICIES = ("headrace", "no-wait", "constant", "starburst")
PACKINGS = ("first-fit", "best-fit")

DEFAULT_WAIT_USD_PER_H = 10.0
"""Price of one job waiting one hour when none is given and no mean wait is asked for."""


@dataclass(frozen=True, slots=True)
class Style:
    """How the planner plans, besides the price of waiting.

    Attributes:
        overtaking: A job may be overtaken by cheaper ones for this share of the time in which waiting costs as much as
            its burst.
        congestion: What waits count when a job is burst for the others' sake, as a multiple of their price.
    """

    overtaking: float = 0.5
    congestion: float = 1.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What a simulation is about, besides the trace.

    Attributes:
        nodes: Nodes that are owned.
        gpus_per_node: GPUs of each.
        policy: One of ``POLICIES``.
        usd_per_gpu_h: Price of a GPU-hour in the cloud.
        wait_budget: Of the baselines: mean longest wait as a multiple of the mean run time.
        mean_wait_h: Of ``headrace``: find the price of waiting that keeps the mean wait at or under this.
        wait_usd_per_h: Of ``headrace``: the price of waiting, when no mean wait is asked for.
        longest_wait_h: Of ``headrace``: latest start after arrival; ``None`` for none, or, when a mean wait is asked for, for
            the rule of `search.LONGEST_SHARE`.
        runtime_sigma: Standard deviation of the logarithm of the error of estimated run times.
        seed: Of those errors.
        cloud_boot_h: A job starts so much later in the cloud.
        packing: Of the baselines.
    """

    nodes: int
    gpus_per_node: int = 8
    policy: str = "headrace"
    usd_per_gpu_h: float = 2.5
    wait_budget: float = 0.25
    mean_wait_h: float | None = None
    wait_usd_per_h: float = DEFAULT_WAIT_USD_PER_H
    longest_wait_h: float | None = None
    runtime_sigma: float = 0.0
    seed: int = 0
    cloud_boot_h: float = 0.0
    packing: str = "first-fit"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where and when each job ran, and the price of waiting that led to it (``None`` for the baselines).

    Attributes:
        start_h: When each job began to run. [jobs] float64
        cloud: Whether in the cloud. [jobs] bool
        wait_usd_per_h: The price of waiting.
    """

    start_h: np.ndarray
    cloud: np.ndarray
    wait_usd_per_h: float | None = None


def estimates(trace: Trace, setting: Setting) -> np.ndarray:
    """Run times as a policy sees them: the trace's, times a seeded log-normal error of median 1. [jobs] float64"""
    if setting.runtime_sigma == 0.0:
        return trace.runtime_h
    random = np.random.default_rng(setting.seed)
    return trace.runtime_h * np.exp(random.normal(0.0, setting.runtime_sigma, trace.runtime_h.size))


def simulate(trace: Trace, setting: Setting, tell: Callable[[str], None] = lambda text: None) -> Outcome:
    """Run the trace under the setting's policy.

    Args:
        trace: The jobs.
        setting: The cluster, the policy and its options.
        tell: Told about progress.

    Raises:
        InputError: ``MEAN_WAIT_UNREACHABLE`` when no price of waiting keeps the mean wait.
    """
    if setting.policy != "headrace":
        return baseline(trace, setting)
    if setting.mean_wait_h is None:
        return Planner(trace, setting).run(setting.wait_usd_per_h, setting.longest_wait_h or math.inf)
    from infra.simulate.search import at_mean_wait

    return at_mean_wait(trace, setting, setting.mean_wait_h, tell)


def baseline(trace: Trace, setting: Setting) -> Outcome:
    """Run one of the published policies."""
    from infra.simulate.starburst import longest_waits, replay_waits

    longest = longest_waits(setting.policy, estimates(trace, setting), trace.gpus, setting.wait_budget)
    start, cloud = replay_waits(
        trace.arrival_h,
        trace.runtime_h,
        trace.gpus,
        longest,
        setting.nodes,
        setting.gpus_per_node,
        setting.packing == "best-fit",
        setting.policy == "constant",
    )
    return Outcome(np.where(cloud, start + setting.cloud_boot_h, start), cloud)


class Planner:
    """The trace as the production planner sees it, ready to be run at any price of waiting."""

    def __init__(self, trace: Trace, setting: Setting) -> None:
        from infra.core.planning.columns import plan_for, scratch_for

        self._trace, self._setting = trace, setting
        self._estimated = estimates(trace, setting)
        self._burst = trace.gpus * self._estimated * setting.usd_per_gpu_h
        count = trace.gpus.size
        widest = -(-int(trace.gpus.max()) // setting.gpus_per_node)
        self._scratch = scratch_for(setting.nodes, setting.gpus_per_node, count, widest)
        self._plan = plan_for(count, widest)

    def run(self, wait_usd_per_h: float, longest_wait_h: float, style: Style | None = None) -> Outcome:
        """Run the trace at a price of waiting, with latest starts so long after each arrival."""
        from infra.core.planning.columns import Manner

        style = style or Style()
        arrival_h = self._trace.arrival_h
        rank = arrival_h + style.overtaking * self._burst / wait_usd_per_h
        return self._run(wait_usd_per_h, arrival_h + longest_wait_h, rank, Manner(congestion=style.congestion))

    def run_unplanned(self, wait_budget: float, first_fit: bool) -> Outcome:
        """Run the trace in the planner's simplest manner, with the longest waits that Starburst has at a budget."""
        from infra.core.planning.columns import Manner
        from infra.simulate.starburst import longest_waits

        trace = self._trace
        longest_h = longest_waits("starburst", self._estimated, trace.gpus, wait_budget)
        manner = Manner(ahead=False, first_fit=first_fit)
        return replace(self._run(0.0, trace.arrival_h + longest_h, trace.arrival_h, manner), wait_usd_per_h=None)

    def _run(self, wait_usd_per_h: float, latest_h: np.ndarray, rank: np.ndarray, manner: Manner) -> Outcome:
        from infra.core.planning.columns import Jobs
        from infra.simulate.replay import replay

        trace, setting = self._trace, self._setting
        count = trace.gpus.size
        boot_h, price = np.full(count, setting.cloud_boot_h), np.full(count, wait_usd_per_h)
        jobs = Jobs(trace.arrival_h, trace.gpus, self._estimated, self._burst, boot_h, price, latest_h, rank)
        self._scratch.first[:] = False
        self._plan.nodes[:] = -1
        sizes = setting.nodes, setting.gpus_per_node
        start, cloud, _ = replay(jobs, trace.runtime_h, *sizes, manner, self._scratch, self._plan, count)
        return Outcome(start, cloud, wait_usd_per_h)


def cloud_gpu_hours(trace: Trace, outcome: Outcome) -> float:
    """GPU-hours that ran in the cloud."""
    return float(trace.gpu_hours[outcome.cloud].sum())


def measures(trace: Trace, setting: Setting, outcome: Outcome) -> dict[str, float | int | str | None]:
    """What is told about a run, by key.

    ``utilisation`` is the share of the owned GPU-hours between the first arrival and the last that work: the whole
    nodes of wide jobs count as used only by the GPUs that the job asked for. ``mean_jct_h`` is from arrival to end.
    """
    waits = outcome.start_h - trace.arrival_h
    first, last = float(trace.arrival_h[0]), float(trace.arrival_h[-1])
    span_h = last - first
    here = ~outcome.cloud
    busy = np.minimum(outcome.start_h + trace.runtime_h, last) - np.maximum(outcome.start_h, first)
    used = float((trace.gpus * np.clip(busy, 0.0, None))[here].sum())
    capacity = setting.nodes * setting.gpus_per_node * span_h
    gpu_hours = cloud_gpu_hours(trace, outcome)
    return {
        "policy": setting.policy,
        "jobs": int(waits.size),
        "jobs_cloud": int(outcome.cloud.sum()),
        "cloud_gpu_h": gpu_hours,
        "cost_usd": gpu_hours * setting.usd_per_gpu_h,
        "mean_wait_h": float(waits.mean()),
        "p99_wait_h": float(np.quantile(waits, 0.99)),
        "max_wait_h": float(waits.max()),
        "mean_jct_h": float((waits + trace.runtime_h).mean()),
        # The sum of many spans may be off in its last digit.
        "utilisation": min(1.0, used / capacity) if capacity > 0 else 0.0,
        "wait_price_usd_per_h": outcome.wait_usd_per_h,
    }

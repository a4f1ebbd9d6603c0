"""Simulating batch jobs on nodes that are owned and a cloud that is paid: policies, their measures, and the price of waiting.

The model: equal nodes, free of charge; jobs are rigid gangs that run to their end; a job of no more GPUs than a node has
needs one node, a wider one whole nodes; the cloud is endless and starts a job after its boot time, which counts as waiting.
Hours and dollars throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from infra.core.errors import InputError
from infra.simulate.trace import Trace

POLICIES = ("headrace", "no-wait", "constant", "starburst")
PACKINGS = ("first-fit", "best-fit")

DEFAULT_WAIT_USD_PER_H = 10.0
"""Price of one job waiting one hour when none is given and no mean wait is asked for."""

OVERTAKING = 0.5
"""A job may be overtaken by cheaper ones for so much of the time that waiting costs as much as its burst."""

LONGEST_SHARE = 0.99
"""With a mean wait given: latest starts, as a share of the longest wait of Starburst at that mean wait."""

SEARCH, ROUNDS = 24, 4
_CHEAPEST, _DEAREST = 0.05, 1000.0
_HALVINGS = 8
_SHORT_TRACE = 5000
"""Jobs up to which a single one can move the mean: such traces are searched more finely around the end."""

_TAIL = 1.05
"""Runs whose 99th percentile of waits is above this many times Starburst's come after all others."""


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
        longest_wait_h: Of ``headrace``: latest start after arrival; ``None`` for the rule of ``LONGEST_SHARE``.
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
    return _at_mean_wait(trace, setting, setting.mean_wait_h, tell)


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
        from infra.core.planning.kernel import plan_for, scratch_for

        self._trace, self._setting = trace, setting
        self._estimated = estimates(trace, setting)
        self._burst = trace.gpus * self._estimated * setting.usd_per_gpu_h
        count = trace.gpus.size
        widest = -(-int(trace.gpus.max()) // setting.gpus_per_node)
        self._scratch = scratch_for(setting.nodes, setting.gpus_per_node, count, widest)
        self._plan = plan_for(count, widest)

    def run(self, wait_usd_per_h: float, longest_wait_h: float) -> Outcome:
        """Run the trace at a price of waiting, with latest starts so long after each arrival."""
        from infra.core.planning.kernel import Jobs
        from infra.simulate.replay import replay

        trace, setting = self._trace, self._setting
        count = trace.gpus.size
        jobs = Jobs(
            trace.arrival_h,
            trace.gpus,
            self._estimated,
            self._burst,
            np.full(count, setting.cloud_boot_h),
            np.full(count, wait_usd_per_h),
            trace.arrival_h + longest_wait_h,
            trace.arrival_h + OVERTAKING * self._burst / wait_usd_per_h,
        )
        self._scratch.first[:] = False
        self._plan.nodes[:] = -1
        start, cloud, _ = replay(
            jobs,
            trace.runtime_h,
            setting.nodes,
            setting.gpus_per_node,
            SEARCH,
            ROUNDS,
            self._scratch,
            self._plan,
            count,
        )
        return Outcome(start, cloud, wait_usd_per_h)


def _at_mean_wait(trace: Trace, setting: Setting, mean_wait_h: float, tell: Callable[[str], None]) -> Outcome:
    """The cheapest run of those whose mean wait is no more than asked for.

    One number is searched, the price of waiting, by halving the interval of its logarithm and then over neighbours
    of the end: the mean wait falls with the price, but not everywhere. Runs whose 99th percentile is longer than
    Starburst's by more than ``_TAIL`` allows come last.
    """
    reference = starburst_waits(trace, setting, mean_wait_h)
    longest_h = setting.longest_wait_h
    if longest_h is None:
        longest_h = LONGEST_SHARE * float(reference.max())
    planner = Planner(trace, setting)
    within: list[tuple[bool, float, Outcome]] = []

    def kept_at(logarithm: float) -> bool:
        tell(f"price of waiting {math.exp(logarithm):.4g} USD/h")
        outcome = planner.run(math.exp(logarithm), longest_h)
        waits = outcome.start_h - trace.arrival_h
        if float(waits.mean()) > mean_wait_h:
            return False
        longer_tail = bool(np.quantile(waits, 0.99) > _TAIL * np.quantile(reference, 0.99))
        within.append((longer_tail, cloud_gpu_hours(trace, outcome), outcome))
        return True

    low, high = (math.log(bound * setting.usd_per_gpu_h) for bound in (_CHEAPEST, _DEAREST))
    kept_at(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if kept_at(middle) else (middle, high)
    short = trace.gpus.size <= _SHORT_TRACE
    for step in np.linspace(-0.5, 0.3, 192) if short else np.linspace(-0.24, 0.09, 12):
        kept_at(high + float(step))
    if not within:
        raise InputError(
            "MEAN_WAIT_UNREACHABLE",
            f"no price of waiting keeps the mean wait at or under {mean_wait_h:g} h",
            "--mean-wait-h",
            "ask for a longer mean wait, or for a shorter boot time of the cloud",
        )
    return min(within, key=lambda run: run[:2])[2]


def starburst_waits(trace: Trace, setting: Setting, mean_wait_h: float) -> np.ndarray:
    """The waits of Starburst on this trace, at the wait budget whose mean wait comes closest to the one given. [jobs] h"""
    best_gap, best = math.inf, np.zeros(1)
    low, high = math.log(1e-4), math.log(1e2)
    for _ in range(24):
        middle = (low + high) / 2
        reference = replace(setting, policy="starburst", wait_budget=math.exp(middle))
        waits = baseline(trace, reference).start_h - trace.arrival_h
        mean = float(waits.mean())
        if abs(mean - mean_wait_h) < best_gap:
            best_gap, best = abs(mean - mean_wait_h), waits
        low, high = (middle, high) if mean <= mean_wait_h else (low, middle)
    return best


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
        "utilisation": used / capacity if capacity > 0 else 0.0,
        "wait_price_usd_per_h": outcome.wait_usd_per_h,
    }

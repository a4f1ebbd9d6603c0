"""Finding the cheapest run of the planner that keeps a mean wait: which price of waiting, and which manner of planning.

This is hindsight over a few numbers per run, said plainly: the price of waiting, one of a few manners (how far cheap jobs
overtake, what the waits of others count), and, for the planner's simplest manner, the longest waits. The simplest manner
starts what fits and reserves nothing; with the longest waits of Starburst it does what Starburst does, so what is
found is never dearer than the best of the budgets tried. A production queue would take what was found on its own past.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from infra.core.errors import InputError
from infra.simulate.batch import PACKINGS, Outcome, Planner, Setting, Style, baseline, cloud_gpu_hours
from infra.simulate.trace import Trace

STYLES = (Style(), Style(1.0, 1.0), Style(0.5, 2.0), Style(1.0, 2.0), Style(0.5, 4.0), Style(1.0, 8.0))

LONGEST_SHARE = 0.99
"""Latest starts, as a share of the longest wait of Starburst at the mean wait asked for."""

WORTH_A_TAIL = 0.98
"""A run whose 99th percentile of waits is longer than Starburst's is taken when it costs less than this share of the
cheapest whose is not."""

_CHEAPEST, _DEAREST = 0.05, 1000.0
_SPREAD = 1.35
_SHORT_TRACE, _LONG_TRACE = 5000, 60_000
"""Jobs up to which a single one can move the mean, so that a grid of budgets is tried; and from which one manner is."""

_RUNS_OF_JOBS = 24_000
"""So many jobs are run per manner, in as many runs as that makes, over the neighbours of the end of the halving."""


@dataclass(frozen=True, slots=True)
class Found:
    """A run that keeps the mean wait, with what it is chosen by."""

    cost: float
    tail_h: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Peer:
    """A run of Starburst: its budget and packing, and what came out. Hours and GPU-hours."""

    budget: float
    packing: str
    cost: float
    mean_h: float
    tail_h: float
    longest_h: float


def at_mean_wait(trace: Trace, setting: Setting, mean_wait_h: float, tell: Callable[[str], None]) -> Outcome:
    """The cheapest run of those whose mean wait is no more than asked for.

    Raises:
        InputError: ``MEAN_WAIT_UNREACHABLE`` when none keeps it.
    """
    peers = starburst_runs(trace, setting, mean_wait_h)
    closest = [min(runs, key=lambda peer: abs(peer.mean_h - mean_wait_h)) for runs in peers]
    longest_h = setting.longest_wait_h
    if longest_h is None:
        longest_h = LONGEST_SHARE * min(peer.longest_h for peer in closest)
        # Where run times are wrong, plans are: a latest start then bursts many jobs that would not have been late.
        limits = (longest_h,) if setting.runtime_sigma == 0.0 else (longest_h, math.inf)
    else:
        limits = (longest_h,)
    planner = Planner(trace, setting)
    found: list[Found] = []

    def keeps(style: Style, logarithm: float, limit_h: float) -> bool:
        tell(f"price of waiting {math.exp(logarithm):.4g} USD/h, {style}")
        outcome = planner.run(math.exp(logarithm), limit_h, style)
        return _kept(trace, outcome, mean_wait_h, found)

    def halve(style: Style, low: float, high: float, times: int, limit_h: float) -> float:
        for _ in range(times):
            middle = (low + high) / 2
            low, high = (low, middle) if keeps(style, middle, limit_h) else (middle, high)
        return high

    jobs = trace.gpus.size
    long = jobs > _LONG_TRACE
    low, high = (math.log(bound * setting.usd_per_gpu_h) for bound in (_CHEAPEST, _DEAREST))
    for limit_h in limits:
        keeps(STYLES[0], high, limit_h)
        centre = halve(STYLES[0], low, high, 8, limit_h)
        for style in STYLES[: 1 if long else None]:
            middle = centre - math.log(style.congestion)
            times = 4 if long else 5
            end = halve(style, middle - math.log(_SPREAD), middle + math.log(_SPREAD), times, limit_h)
            for step in np.linspace(-0.3, 0.15, min(40, _RUNS_OF_JOBS // jobs)):
                keeps(style, end + float(step), limit_h)
    within = [peer for runs in peers for peer in runs if peer.mean_h <= mean_wait_h]
    if within:
        best = min(within, key=lambda peer: (peer.cost, peer.tail_h))
        if best.cost < min((run.cost for run in found), default=math.inf):
            _kept(trace, planner.run_unplanned(best.budget, best.packing == "first-fit"), mean_wait_h, found)
    if not found:
        raise InputError(
            "MEAN_WAIT_UNREACHABLE",
            f"no price of waiting keeps the mean wait at or under {mean_wait_h:g} h",
            "--mean-wait-h",
            "ask for a longer mean wait, or for a shorter boot time of the cloud",
        )
    return _chosen(found, min(peer.tail_h for peer in closest)).outcome


def _kept(trace: Trace, outcome: Outcome, mean_wait_h: float, found: list[Found]) -> bool:
    waits = outcome.start_h - trace.arrival_h
    if float(waits.mean()) > mean_wait_h:
        return False
    found.append(Found(cloud_gpu_hours(trace, outcome), float(np.quantile(waits, 0.99)), outcome))
    return True


def _chosen(found: list[Found], tail_h: float) -> Found:
    cheapest = min(found, key=lambda run: (run.cost, run.tail_h))
    no_longer = [run for run in found if run.tail_h <= tail_h]
    if not no_longer:
        return cheapest
    best = min(no_longer, key=lambda run: (run.cost, run.tail_h))
    return cheapest if cheapest.cost < WORTH_A_TAIL * best.cost else best


def starburst_runs(trace: Trace, setting: Setting, mean_wait_h: float) -> list[list[Peer]]:
    """Runs of Starburst by packing: budgets that close in on the mean wait and, on short traces, a grid of them."""
    tried = [0.0, setting.wait_budget]
    if trace.gpus.size <= _SHORT_TRACE:
        tried += [float(budget) for budget in np.geomspace(1e-3, 20.0, 240)]
    return [
        _runs(trace, replace(setting, policy="starburst", packing=packing), mean_wait_h, tried) for packing in PACKINGS
    ]


def _runs(trace: Trace, setting: Setting, mean_wait_h: float, tried: list[float]) -> list[Peer]:
    def run(budget: float) -> Peer:
        outcome = baseline(trace, replace(setting, wait_budget=budget))
        waits = outcome.start_h - trace.arrival_h
        measured = float(waits.mean()), float(np.quantile(waits, 0.99)), float(waits.max())
        return Peer(budget, setting.packing, cloud_gpu_hours(trace, outcome), *measured)

    runs = [run(budget) for budget in tried]
    low, high = math.log(1e-4), math.log(1e2)
    for _ in range(16):
        middle = (low + high) / 2
        runs.append(run(math.exp(middle)))
        low, high = (middle, high) if runs[-1].mean_h <= mean_wait_h else (low, middle)
    return runs

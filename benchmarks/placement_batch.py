"""Batch placement on a hybrid of owned nodes and a cloud: the planner beside Starburst, at Starburst's own mean wait.

``python benchmarks/placement_batch.py TRACES_DIR`` prints one table: cloud GPU-hours, mean, 99th percentile and longest wait of both, at
the cluster sizes of the targets, with exact and with wrong run times; then the speed of one plan and of a long simulation.
TRACES_DIR holds ``batch/*.csv``. All rows use the same settings, those of the code. ``bound`` is what no policy
with Starburst's longest wait can go under, whatever its mean wait.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from infra.core.planning.queue import Cluster, RunningJob, WaitingJob, plan_queue
from infra.simulate.batch import Outcome, Planner, Setting, baseline, cloud_gpu_hours, simulate
from infra.simulate.trace import Trace, read_trace, table4_like

HELIOS_SIZES = (12, 14, 16, 17, 18, 19, 20, 21, 22, 24, 28, 32, 40, 48)
FACTORS = (*np.geomspace(0.004, 8.0, 45), 0.25)
SIGMA, SEEDS = 0.7, (1, 2)
TABLE4_WAIT_H = 0.0516


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", type=Path, nargs="?", help="without it, only the speed is measured")
    parser.add_argument("--only", choices=("table4", "philly", "helios", "error", "speed"))
    given = parser.parse_args()
    parts = {"table4": table4, "philly": philly, "helios": helios, "error": error, "speed": lambda folder: speed()}
    print("| case | ours | Starburst | difference | bound | mean wait h | p99 wait h | max wait h | s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, part in parts.items():
        if given.only in (None, name) and (given.traces or name == "speed"):
            for row in part((given.traces or Path()) / "batch"):
                print(row, flush=True)


def table4(folder: Path) -> Iterator[str]:
    """Table 4 of the paper: dollars; Starburst with best fit, at the budget that gives it the mean wait of the constant policy."""
    trace = read_trace(folder / "starburst_tab4_s1.csv")
    setting = Setting(4, packing="best-fit")
    yield _compared("Table 4, load 1, USD", trace, setting, TABLE4_WAIT_H, 0.155, usd=2.5)
    for seed in (11, 12, 13):
        yield _compared(
            f"made like Table 4, seed {seed}, USD", table4_like(500, 1.0, seed), setting, None, 0.155, usd=2.5
        )


def philly(folder: Path) -> Iterator[str]:
    """The Philly trace at four sizes."""
    trace = read_trace(folder / "philly_nov.csv")
    for nodes in (54, 41, 32, 27):
        yield _compared(f"philly_nov, {nodes} nodes", trace, Setting(nodes), None, 0.25)


def helios(folder: Path) -> Iterator[str]:
    """The Helios trace; Starburst at its best budget of those with no more mean wait than the budget 0.25 has."""
    trace = read_trace(folder / "helios_venus2vc.csv")
    for nodes in HELIOS_SIZES:
        setting = Setting(nodes)
        runs = {factor: _starburst(trace, setting, factor) for factor in FACTORS}
        limit = _waits(trace, runs[0.25]).mean()
        within = [factor for factor in FACTORS if _waits(trace, runs[factor]).mean() <= limit]
        best = min(within, key=lambda factor: cloud_gpu_hours(trace, runs[factor]))
        yield _compared(f"helios_venus2vc, {nodes} nodes", trace, setting, float(limit), best)


def error(folder: Path) -> Iterator[str]:
    """Run times known with a log-normal error only, to both."""
    trace = read_trace(folder / "philly_nov.csv")
    for nodes in (54, 41, 32):
        for seed in SEEDS:
            setting = Setting(nodes, runtime_sigma=SIGMA, seed=seed)
            yield _compared(f"philly_nov, {nodes} nodes, error {SIGMA}, seed {seed}", trace, setting, None, 0.25)


def speed() -> Iterator[str]:
    """One plan of 10,000 waiting jobs on 125 nodes of 8, as production calls it; simulations of up to a million jobs."""
    random = np.random.default_rng(1)
    running = tuple(
        RunningJob(f"r{node}-{device}", "t", ((node, 1),), 0.0, float(1e6 + random.exponential(7200.0)))
        for node in range(125)
        for device in range(8)
    )
    for name, may_burst in (("all may burst", True), ("none may burst", False)):
        waiting = [
            WaitingJob(
                id=f"j{number}",
                tenant=f"t{number % 5}",
                arrival_at=1e6 - float(random.uniform(0, 86_400.0)),
                devices=int(random.choice((1, 2, 4, 8, 16, 64), p=(0.6, 0.13, 0.1, 0.12, 0.03, 0.02))),
                runtime_s=float(random.exponential(7200.0)),
                burst_micro=int(random.exponential(5e8)) if may_burst else None,
                wait_micro_per_hour=2_000_000,
                latest_start_at=1e6 + 20 * 3600.0 if number % 10 == 0 else None,
            )
            for number in range(10_000)
        ]
        times = []
        for _ in range(6):
            began = time.perf_counter()
            plan_queue(Cluster(125, 8, running), waiting, 1e6)
            times.append(time.perf_counter() - began)
        yield f"| re-plan 10,000 waiting on 1,000 GPUs, {name} | {1000 * sorted(times[1:])[2]:.0f} ms | | | | | | | |"
    for jobs in (100_000, 300_000, 1_000_000):
        trace = table4_like(jobs, 1.1, 1, 1000)
        planner = Planner(trace, Setting(125))
        began = time.perf_counter()
        outcome = planner.run(10.0, np.inf)
        seconds = time.perf_counter() - began
        mean_h = _waits(trace, outcome).mean()
        yield f"| simulate {jobs:,} jobs on 1,000 GPUs, load 1.1 | {cloud_gpu_hours(trace, outcome):,.0f} | | | | {mean_h:.4f} | | | {seconds:.1f} |"


def _starburst(trace: Trace, setting: Setting, factor: float) -> Outcome:
    return baseline(trace, replace(setting, policy="starburst", wait_budget=float(factor)))


def _waits(trace: Trace, outcome: Outcome) -> np.ndarray:
    return outcome.start_h - trace.arrival_h


def _bound(trace: Trace, setting: Setting, longest_wait_h: float) -> float:
    """Cloud GPU-hours of a fluid that knows the future and waits for nothing: a job may run, in pieces, at any time from
    its arrival to its end had it waited the longest; the owned GPUs take what is there, up to their number.
    """
    begins, ends = trace.arrival_h, trace.arrival_h + longest_wait_h + trace.runtime_h
    instants = np.concatenate([begins, ends])
    order = np.argsort(instants, kind="stable")
    there = np.cumsum(np.concatenate([trace.gpus, -trace.gpus])[order])[:-1]
    used = np.minimum(there, setting.nodes * setting.gpus_per_node) * np.diff(instants[order])
    return max(0.0, float(trace.gpu_hours.sum() - used.sum()))


def _compared(
    name: str, trace: Trace, setting: Setting, mean_wait_h: float | None, factor: float, usd: float = 1.0
) -> str:
    peer = _starburst(trace, setting, factor)
    limit = float(_waits(trace, peer).mean()) if mean_wait_h is None else mean_wait_h
    began = time.perf_counter()
    ours = simulate(trace, replace(setting, mean_wait_h=limit))
    seconds = time.perf_counter() - began
    costs = [usd * cloud_gpu_hours(trace, outcome) for outcome in (ours, peer)]
    difference = f"{100 * (costs[0] / costs[1] - 1):+.1f} %" if costs[1] else "—"
    cells = [
        name,
        f"{costs[0]:,.0f}",
        f"{costs[1]:,.0f}",
        difference,
        f"{usd * _bound(trace, setting, float(_waits(trace, peer).max())):,.0f}",
    ]
    for measure, digits in ((np.mean, 4), (lambda w: np.quantile(w, 0.99), 2), (np.max, 1)):
        cells.append(" / ".join(f"{measure(_waits(trace, outcome)):.{digits}f}" for outcome in (ours, peer)))
    return f"| {' | '.join(cells)} | {seconds:.0f} |"


if __name__ == "__main__":
    main()

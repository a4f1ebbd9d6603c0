"""Spot under a deadline: cost of the production policy and of others, relative to on-demand, on availability traces.

    python -m benchmarks.placement_spot TRACES_DIR [--starts 12] [--short-starts 24] [--warm-h H] [--cross-validate] [--fit]

Jobs of 48 h (deadlines 52, 60, 70, 92 h) and 12 h (13, 15, 17.5, 23 h), overheads of 0.02, 0.2 and 0.4 h, spot at 0.318 of
on-demand. Every trace has the same number of starts, evenly spread. *Gap closed* is the share of the way from Uniform Progress
to the offline optimum. Without a directory, traces drawn from the policy's own prior are used: a smoke test, no result.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.core.spot.availability import SpellModel, end_chance, first_spell, observe
from infra.core.spot.guard import Job
from infra.core.spot.model import POOLED
from infra.documents.spot_trace import SpotTrace, load_spot_trace
from infra.simulate.spot import Prices, on_demand_cost, run_from, starts_of
from infra.simulate.spot_fit import fit_model

LONG = tuple((48.0, deadline_h) for deadline_h in (52.0, 60.0, 70.0, 92.0))
SHORT = tuple((12.0, deadline_h) for deadline_h in (13.0, 15.0, 17.5, 23.0))
OVERHEADS_H = (0.02, 0.2, 0.4)
PRICES = Prices()
COMPARED = ("on-demand", "greedy", "uniform-progress", "headrace", "optimal")

Models = Callable[[SpotTrace], SpellModel]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("traces", nargs="?", type=Path)
    parser.add_argument("--starts", type=int, default=12, help="long jobs per trace, deadline and overhead")
    parser.add_argument("--short-starts", type=int, default=24, help="short ones")
    parser.add_argument("--warm-h", type=float, help="hours before its start that a job knows; all when not given")
    parser.add_argument("--fit", action="store_true", help="print the prior fitted on the traces, and stop")
    parser.add_argument(
        "--cross-validate",
        action="store_true",
        help="also with priors fitted without the trace, and without its month",
    )
    parser.add_argument("--by", choices=("trace", "deadline", "overhead"), help="also the gap closed, by this")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    traces = (
        _drawn()
        if options.traces is None
        else [load_spot_trace(path) for path in sorted(options.traces.glob("*.json"))]
    )
    if not traces:
        sys.exit(f"no *.json in {options.traces}")
    if options.fit:
        print(fit_model(traces))
        return
    columns = [(name, name, lambda _trace: POOLED) for name in COMPARED]
    if options.cross_validate:
        columns[4:4] = [
            ("headrace, prior without the trace", "headrace", _without(traces, lambda trace: trace.name)),
            ("headrace, prior without its month", "headrace", _without(traces, family)),
        ]
    results = {}
    for kind, jobs, starts in (("long", LONG, options.starts), ("short", SHORT, options.short_starts)):
        for title, policy, models in columns:
            results[kind, title] = measure(traces, jobs, starts, policy, options.warm_h, models)
    _print(results, [title for title, _, _ in columns], traces, options)


def family(trace: SpotTrace) -> str:
    """Traces of one month, whatever the zone and the device: ``aws-2022-10-us-west-2a_k80_1`` is of ``aws-2022-10``."""
    return "-".join(trace.name.split("-")[:3])


def _without(traces: Sequence[SpotTrace], group: Callable[[SpotTrace], str]) -> Models:
    fitted = {
        name: fit_model([trace for trace in traces if group(trace) != name] or list(traces))
        for name in {group(trace) for trace in traces}
    }
    return lambda trace: fitted[group(trace)]


def measure(
    traces: Sequence[SpotTrace],
    jobs: Sequence[tuple[float, float]],
    starts: int,
    policy: str,
    warm_h: float | None,
    models: Models,
) -> dict[str, object]:
    """Each job's relative cost by (trace, deadline, overhead, start), how many were late, and the seconds it took."""
    began, costs, misses = time.perf_counter(), {}, 0
    for total_h, deadline_h in jobs:
        for overhead_h in OVERHEADS_H:
            for trace in traces:
                job = Job(total_h, deadline_h, overhead_h, trace.tick_h)
                whole = on_demand_cost(job, PRICES)
                for start in starts_of(trace, deadline_h, count=starts):
                    outcome = run_from(trace, start, job, PRICES, policy, warm_h=warm_h, model=models(trace))
                    costs[trace.name, deadline_h, overhead_h, start] = outcome.cost / whole
                    misses += outcome.missed
    return {"costs": costs, "misses": misses, "wall_s": time.perf_counter() - began}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _print(results: dict, titles: Sequence[str], traces: Sequence[SpotTrace], options: argparse.Namespace) -> None:
    rows, table = [], Table(title=f"{len(traces)} traces", title_justify="left")
    for heading in ("jobs", "policy", "cost / on-demand", "gap closed", "missed", "wall s"):
        table.add_column(heading, justify="left" if heading in ("jobs", "policy") else "right")
    for kind in ("long", "short"):
        bound, peer = results[kind, "optimal"]["costs"], results[kind, "uniform-progress"]["costs"]
        for title in titles:
            result = results[kind, title]
            cost, closed = _mean(list(result["costs"].values())), _closed(result["costs"], peer, bound)
            rows.append({"jobs": kind, "policy": title, "cost": cost, "gap_closed": closed, "misses": result["misses"]})
            rows[-1] |= {"number": len(result["costs"]), "wall_s": result["wall_s"]}
            cells = (f"{cost:.4f}", f"{closed:.1%}", str(result["misses"]), f"{result['wall_s']:.0f}")
            table.add_row(f"{kind}, {len(result['costs'])}", title, *cells)
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        Console(width=110).print(table)
    if options.by:
        place = {"trace": 0, "deadline": 1, "overhead": 2}[options.by]
        for kind in ("long", "short"):
            ours, peer, bound = (results[kind, name]["costs"] for name in ("headrace", "uniform-progress", "optimal"))
            for value in sorted({key[place] for key in ours}):
                keys = [key for key in ours if key[place] == value]
                part = [{key: costs[key] for key in keys} for costs in (ours, peer, bound)]
                print(
                    f"{kind} {options.by} {value}: cost {_mean(list(part[0].values())):.4f}, gap closed {_closed(*part):.1%}"
                )


def _closed(costs: dict, peer: dict, bound: dict) -> float:
    gap = sum(peer.values()) - sum(bound.values())
    return (sum(peer.values()) - sum(costs.values())) / gap if gap > 1e-12 else 0.0


def _drawn() -> list[SpotTrace]:
    """Three traces of three weeks drawn from the prior, each from its own seed."""
    traces = []
    for seed in range(3):
        draw = random.Random(seed)
        spell = first_spell(POOLED, True, 1 / 6)
        available = [True]
        for _ in range(21 * 144):
            ends = draw.random() < end_chance(POOLED, spell, 1 / 6)
            available.append(spell.available != ends)
            spell = observe(POOLED, spell, available[-1], 1 / 6)
        traces.append(SpotTrace(f"drawn-{seed}", 1 / 6, tuple(available)))
    return traces


if __name__ == "__main__":
    main()

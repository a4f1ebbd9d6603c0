"""``headrace simulate batch``: a trace of batch jobs on owned nodes and a cloud, under one policy."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from infra.commands.shared import handle_errors, print_json
from infra.core.errors import InputError
from infra.core.units import SECONDS_PER_HOUR

_POLICIES = ("headrace", "no-wait", "constant", "starburst")
_PACKINGS = ("first-fit", "best-fit")
_MOST_JOBS = 10_000_000
_MOST_NODES = 100_000
_MOST_PER_NODE = 4096

_HELP = """Replay a trace of batch jobs (CSV: job_id,arrival_h,runtime_h,gpus) under a policy.

Policy headrace is the production planner. Without --trace a job set like Table 4 of the Starburst paper is made from
--jobs, --load and --seed.
"""


def batch(
    trace: Annotated[Path | None, typer.Option(metavar="FILE", help="Trace, .csv or .csv.gz.")] = None,
    nodes: Annotated[int, typer.Option(help="Nodes that are owned.")] = 4,
    gpus_per_node: Annotated[int, typer.Option(help="GPUs of each node.")] = 8,
    policy: Annotated[str, typer.Option(help=f"One of {', '.join(_POLICIES)}.")] = "headrace",
    wait_budget: Annotated[
        float, typer.Option(help="constant, starburst: mean longest wait as a multiple of the mean run time.")
    ] = 0.25,
    mean_wait_h: Annotated[
        float | None, typer.Option(help="headrace: find the price of waiting that keeps the mean wait within this.")
    ] = None,
    wait_price: Annotated[
        float | None, typer.Option(help="headrace: USD for one hour of one job's waiting. Default 10.")
    ] = None,
    longest_wait_h: Annotated[float | None, typer.Option(help="headrace: latest start after a job's arrival.")] = None,
    runtime_sigma: Annotated[float, typer.Option(help="The planner sees run times with a log-normal error.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the errors, and of the made trace.")] = 0,
    cloud_boot_s: Annotated[float, typer.Option(help="A burst job starts so much later; counts as waiting.")] = 0.0,
    price_per_gpu_h: Annotated[float, typer.Option(help="USD for a GPU-hour in the cloud.")] = 2.5,
    packing: Annotated[str, typer.Option(help=f"Of the baselines: {' or '.join(_PACKINGS)}.")] = "first-fit",
    jobs: Annotated[int, typer.Option(help="Without --trace: how many jobs.")] = 500,
    load: Annotated[float, typer.Option(help="Without --trace: arriving GPU-hours per owned GPU and hour.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    with handle_errors(as_json):
        _one_of(policy, _POLICIES, "--policy")
        _one_of(packing, _PACKINGS, "--packing")
        _within(nodes, "--nodes", 1, _MOST_NODES)
        _within(gpus_per_node, "--gpus-per-node", 1, _MOST_PER_NODE)
        _within(jobs, "--jobs", 1, _MOST_JOBS)
        _within(seed, "--seed", 0, 2**63 - 1)
        _within(load, "--load", 1e-6, 1e6)
        _within(wait_budget, "--wait-budget", 0, 1e6)
        _within(runtime_sigma, "--runtime-sigma", 0, 10)
        _within(cloud_boot_s, "--cloud-boot-s", 0, 1e9)
        _within(price_per_gpu_h, "--price-per-gpu-h", 1e-6, 1e6)
        for value, option in ((mean_wait_h, "--mean-wait-h"), (longest_wait_h, "--longest-wait-h")):
            if value is not None:
                _within(value, option, 0, 1e7)
        if wait_price is not None:
            _within(wait_price, "--wait-price", 1e-6, 1e9)
            if mean_wait_h is not None:
                raise InputError(
                    "CONTRADICTORY_OPTIONS",
                    "a mean wait and a price of waiting were given",
                    "--wait-price",
                    "give one of them: the price is found for the mean wait",
                )
        from infra.simulate.batch import DEFAULT_WAIT_USD_PER_H, Setting, measures, simulate
        from infra.simulate.trace import read_trace, table4_like

        began = time.perf_counter()
        given = read_trace(trace) if trace else table4_like(jobs, load, seed, nodes * gpus_per_node)
        setting = Setting(
            nodes=nodes,
            gpus_per_node=gpus_per_node,
            policy=policy,
            usd_per_gpu_h=price_per_gpu_h,
            wait_budget=wait_budget,
            mean_wait_h=mean_wait_h,
            wait_usd_per_h=DEFAULT_WAIT_USD_PER_H if wait_price is None else wait_price,
            longest_wait_h=longest_wait_h,
            runtime_sigma=runtime_sigma,
            seed=seed,
            cloud_boot_h=cloud_boot_s / SECONDS_PER_HOUR,
            packing=packing,
        )
        outcome = simulate(given, setting, _tell)
        answer = measures(given, setting, outcome) | {"wall_s": round(time.perf_counter() - began, 3)}
    if as_json:
        print_json(answer)
    else:
        Console().print(_table(answer))


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _one_of(value: str, known: tuple[str, ...], option: str) -> None:
    if value not in known:
        raise InputError("UNKNOWN_VALUE", f"{value!r} is not known", option, f"use one of {', '.join(known)}")


def _within(value: float, option: str, least: float, most: float) -> None:
    # A NaN compares false with everything, so it is refused here too.
    if not least <= value <= most:
        raise InputError("BAD_NUMBER", f"{value!r} is not allowed", option, f"give a number from {least:g} to {most:g}")


def _table(answer: dict[str, float | int | str | None]) -> Table:
    table = Table("measure", "value", title=f"Batch simulation, policy {answer['policy']}", title_justify="left")
    for key, value in answer.items():
        if key != "policy" and value is not None:
            table.add_row(key, f"{value:,.4f}" if isinstance(value, float) else f"{value:,}")
    return table


def register(group: typer.Typer) -> None:
    """Add ``simulate batch``."""
    group.command("batch", help=_HELP)(batch)

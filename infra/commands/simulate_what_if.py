"""``headrace simulate what-if``: a trace, or the runs of this platform, with other sites, prices, budgets or policies."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from infra.commands.shared import handle_errors, print_json, tell, told_end, write
from infra.core.errors import InputError
from infra.core.units import SECONDS_PER_HOUR
from infra.documents.files import display

_MOST_SETTINGS = 400
_TODAY = "The first is what there is today."

_HELP = """What would it have cost, and who would have waited, with other nodes, sites, prices, budgets or a changed policy.

With --trace (CSV: job_id,arrival_h,runtime_h,gpus): the production planner on every combination of --nodes, --price-per-gpu-h
and --wait-price, as a cost-wait frontier, and whether to buy nodes. Without it: the recorded runs of this platform,
decided again in order of time with --sites, --policy, --budget, --price, --wait-price.
"""


def what_if(
    trace: Annotated[Path | None, typer.Option(metavar="FILE", help="Trace, .csv or .csv.gz.")] = None,
    nodes: Annotated[
        str | None, typer.Option(metavar="N,…", help=f"Trace: owned nodes to compare. {_TODAY} Default 4.")
    ] = None,
    gpus_per_node: Annotated[int | None, typer.Option(help="GPUs of each node. Default 8.")] = None,
    price_per_gpu_h: Annotated[
        str | None, typer.Option(metavar="USD,…", help=f"Trace: prices of a cloud GPU-hour. {_TODAY} Default 2.5.")
    ] = None,
    wait_price: Annotated[
        str | None,
        typer.Option(
            metavar="USD,…",
            help=f"Prices of one job's waiting one hour. {_TODAY} Trace: default 10,1,3,30,100. Runs: each its own.",
        ),
    ] = None,
    node_usd_per_month: Annotated[
        float | None, typer.Option(help="All that an owned node costs in a month. Default 750 per GPU.")
    ] = None,
    node_months: Annotated[float, typer.Option(help="Months for which a bought node is paid.")] = 36.0,
    longest_wait_h: Annotated[float | None, typer.Option(help="Trace: latest start after a job's arrival.")] = None,
    runtime_sigma: Annotated[
        float | None, typer.Option(help="Trace: the planner sees run times with a log-normal error.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of these errors.")] = 0,
    cloud_boot_s: Annotated[float | None, typer.Option(help="Trace: a burst job starts so much later.")] = None,
    sites: Annotated[Path | None, typer.Option(metavar="DIR", help="Runs: these sites instead.")] = None,
    policy: Annotated[Path | None, typer.Option(metavar="FILE", help="Runs: this policy (.cedar) instead.")] = None,
    budget: Annotated[
        list[str] | None, typer.Option(metavar="TENANT=USD", help="Runs: a month's budget; may be repeated.")
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(metavar="SITE/OFFER=USD", help="Runs: price of a device for an hour; may be repeated."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Also draw the frontier.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    with handle_errors(as_json):
        if plot is not None and plot.suffix != ".svg":
            raise InputError("BAD_NAME", f"{plot.name!r} is no .svg", "--plot", "name a file that ends in .svg")
        per_node = _whole(gpus_per_node if gpus_per_node is not None else 8, "--gpus-per-node", 1, 4096)
        _within(node_months, "--node-months", 0.01, 1200)
        waits = None if wait_price is None else _numbers(wait_price, "--wait-price", 1e-6, 1e9)
        if node_usd_per_month is not None:
            _within(node_usd_per_month, "--node-usd-per-month", 0, 1e9)
        for_runs = {"--sites": sites, "--policy": policy, "--budget": budget or None, "--price": price or None}
        for_trace = {
            "--nodes": nodes,
            "--price-per-gpu-h": price_per_gpu_h,
            "--longest-wait-h": longest_wait_h,
            "--runtime-sigma": runtime_sigma,
            "--cloud-boot-s": cloud_boot_s,
        }
        _refuse_given(for_runs if trace is not None else for_trace, trace is not None)
        from infra.core.capacity import NodePrice
        from infra.simulate.what_if import NODE_USD_PER_GPU_MONTH

        monthly = NODE_USD_PER_GPU_MONTH * per_node if node_usd_per_month is None else node_usd_per_month
        node_price = NodePrice(monthly, node_months)
        if trace is None:
            from infra.commands.simulate_what_if_runs import recorded

            recorded(sites, policy, budget or [], price or [], waits, node_price, per_node, plot, as_json)
            return
        from infra.simulate.batch import Setting
        from infra.simulate.what_if import Question

        question = Question(
            nodes=[_whole(n, "--nodes", 1, 100_000) for n in _numbers(nodes or "4", "--nodes", 1, 100_000)],
            usd_per_gpu_h=_numbers(price_per_gpu_h or "2.5", "--price-per-gpu-h", 1e-6, 1e6),
            wait_usd_per_h=waits or [10.0, 1.0, 3.0, 30.0, 100.0],
            node_price=node_price,
        )
        settings = len(question.nodes) * len(question.usd_per_gpu_h) * len(question.wait_usd_per_h)
        _within(settings, "--nodes, --price-per-gpu-h, --wait-price: combinations", 1, _MOST_SETTINGS)
        setting = Setting(
            nodes=question.nodes[0],
            gpus_per_node=per_node,
            usd_per_gpu_h=question.usd_per_gpu_h[0],
            longest_wait_h=None if longest_wait_h is None else _within(longest_wait_h, "--longest-wait-h", 1e-9, 1e7),
            runtime_sigma=_within(runtime_sigma or 0.0, "--runtime-sigma", 0, 10),
            seed=_whole(seed, "--seed", 0, 2**63 - 1),
            cloud_boot_h=_within(cloud_boot_s or 0.0, "--cloud-boot-s", 0, 1e9) / SECONDS_PER_HOUR,
        )
        _on_trace(trace, question, setting, plot, as_json)


def _on_trace(trace: Path, question: Any, setting: Any, plot: Path | None, as_json: bool) -> None:
    from infra.render.frontier import advice_json, advice_text, frontier_json, frontier_svg, frontier_table
    from infra.simulate.trace import read_trace
    from infra.simulate.what_if import WhatIf, months_of

    began = time.perf_counter()
    jobs = read_trace(trace)
    asked = WhatIf(jobs, setting, tell)
    points, advice = asked.frontier(question), asked.advice(question)
    told_end()
    wall_s = round(time.perf_counter() - began, 3)
    if plot is not None:
        write(plot, frontier_svg(points, f"Cost and wait of {trace.name}"))
    if as_json:
        print_json(
            {
                "trace": display(trace),
                "jobs": int(jobs.gpus.size),
                "gpu_h": float(jobs.gpu_hours.sum()),
                "months": months_of(jobs),
                "today": {
                    "nodes": question.nodes[0],
                    "usd_per_gpu_h": question.usd_per_gpu_h[0],
                    "wait_usd_per_h": question.wait_usd_per_h[0],
                },
                "frontier": frontier_json(points),
                "verdict": advice_json(advice),
                "wall_s": wall_s,
            }
        )
        return
    console = Console()
    console.print(frontier_table(points))
    today = f"With {question.nodes[0]} nodes, waiting {question.wait_usd_per_h[0]:g} USD/h: "
    console.print(Text(today, style="bold").append(advice_text(advice), style=""))


def _refuse_given(options: dict[str, Any], with_trace: bool) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        other = "a trace has no sites, tenants or policy" if with_trace else "it is about a trace, and none was given"
        remedy = "leave it out, or leave --trace out" if with_trace else "give --trace, or leave it out"
        raise InputError("CONTRADICTORY_OPTIONS", other, given[0], remedy)


def _numbers(text: str, option: str, least: float, most: float) -> list[float]:
    """Numbers between commas, each once, in their order."""
    found: list[float] = []
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            raise InputError("BAD_NUMBER", f"{part!r} is no number", option, "give numbers, as 24,32,40") from None
        if _within(value, option, least, most) not in found:
            found.append(value)
    return found


def _within(value: float, option: str, least: float, most: float) -> float:
    # A NaN compares false with everything, so it is refused here too.
    if not least <= value <= most:
        raise InputError("BAD_NUMBER", f"{value!r} is not allowed", option, f"give a number from {least:g} to {most:g}")
    return value


def _whole(value: float, option: str, least: int, most: int) -> int:
    if _within(value, option, least, most) != int(value):
        raise InputError("BAD_NUMBER", f"{value!r} is not whole", option, "give whole numbers")
    return int(value)


def register(group: typer.Typer) -> None:
    """Add ``simulate what-if``."""
    group.command("what-if", help=_HELP)(what_if)

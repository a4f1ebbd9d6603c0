"""``headrace simulate spot``: what spot, on-demand and pauses would have cost on recorded availability."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from infra.commands.shared import handle_errors, print_json
from infra.core.canonical import plain
from infra.core.errors import InputError
from infra.core.units import require_number

_POLICY_HELP = "headrace, on-demand, greedy, uniform-progress, or optimal: the least cost in hindsight."


def spot(
    trace: Annotated[
        list[Path], typer.Option("--trace", metavar="FILE.json", help="Availability of a zone; may be given again.")
    ],
    policy: Annotated[str, typer.Option(help=_POLICY_HELP)] = "headrace",
    job_h: Annotated[float, typer.Option(metavar="H", help="Hours of work of a job.")] = 48.0,
    deadline_h: Annotated[float, typer.Option(metavar="H", help="Hours from a job's start to its deadline.")] = 60.0,
    overhead_h: Annotated[float, typer.Option(metavar="H", help="Hours that each start costs.")] = 0.2,
    spot_price: Annotated[float, typer.Option(metavar="P", help="Price of an hour of spot capacity.")] = 0.318,
    on_demand_price: Annotated[float, typer.Option(metavar="P", help="Price of an hour of on-demand capacity.")] = 1.0,
    starts: Annotated[int, typer.Option(metavar="N", help="Jobs per trace, spread evenly over it.")] = 12,
    start_every_h: Annotated[
        float | None, typer.Option(metavar="H", help="A job each so many hours, instead of --starts.")
    ] = None,
    warm_h: Annotated[
        float | None, typer.Option(metavar="H", help="Hours before its start that a job knows; all when not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Replay checkpointed jobs under a deadline on traces of spot availability.

    Exit status: 0, or 2 for bad input. A missed deadline is a result, told as such.
    """
    # Simulation needs numpy and compiled loops, which the other commands need not wait for.
    from infra.documents.spot_trace import load_spot_trace
    from infra.simulate.spot import Prices, simulate_spot

    with handle_errors(as_json):
        for value, option in ((start_every_h, "--start-every-h"), (warm_h, "--warm-h")):
            if value is not None:
                require_number(value, option, exclusive=option == "--start-every-h")
        if starts < 1:
            raise InputError("BAD_NUMBER", f"{starts} is not allowed", "--starts", "give at least 1")
        began = time.perf_counter()
        summary = simulate_spot(
            [load_spot_trace(path) for path in trace],
            job_h,
            deadline_h,
            overhead_h,
            Prices(spot_price, on_demand_price),
            policy,
            starts=starts,
            every_h=start_every_h,
            warm_h=warm_h,
        )
        wall_s = time.perf_counter() - began
    answer = {"policy": policy, "cost": summary.cost_relative, **plain(summary), "wall_s": round(wall_s, 3)}
    if as_json:
        print_json(answer)
        return
    table = Table(
        title=f"{policy}: {summary.jobs} jobs of {job_h:g} h, deadline {deadline_h:g} h", title_justify="left"
    )
    for heading in ("cost / on-demand", "missed", "spot h", "on-demand h", "idle h", "starts", "wall s"):
        table.add_column(heading, justify="right")
    hours = (f"{value:.1f}" for value in (summary.spot_h, summary.on_demand_h, summary.idle_h))
    table.add_row(f"{summary.cost_relative:.4f}", str(summary.misses), *hours, str(summary.switches), f"{wall_s:.1f}")
    Console().print(table)


def register(group: typer.Typer) -> None:
    """Add ``simulate spot``."""
    group.command("spot")(spot)

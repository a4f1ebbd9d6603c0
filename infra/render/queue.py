"""The queue in the terminal, as a Rich renderable."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.table import Table
from rich.text import Text

from infra.core.placement.snapshot import QueueEntry
from infra.render.prose import clock, money, short_run, span

_WHY = {
    "FREE_NOW": "its devices are free",
    "CHEAPER_THAN_CLOUD": "waiting costs less than the cloud",
    "LATEST_START_KEPT": "kept first for its deadline",
    "LATEST_START_MISSED": "too late for its deadline here",
    "CANNOT_BURST": "waits for these devices",
    "WAIT_COSTS_MORE": "waiting costs more than the cloud",
    "LATEST_START_NEEDS_CLOUD": "its deadline needs the cloud",
    "TOO_WIDE": "wider than what there is",
    "": "as it was decided",
}


def queue_table(entries: Iterable[QueueEntry], now_at: float) -> Table:
    """One line per waiting run, by site, offer and planned start."""
    table = Table(title="Runs that wait for devices", title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column("run", no_wrap=True)
    for heading in ("tenant", "site / offer"):
        table.add_column(heading, overflow="fold")
    for heading in ("devices", "waits for", "starts", "elsewhere"):
        table.add_column(heading, justify="right")
    table.add_column("why")
    for entry in sorted(entries, key=lambda entry: (entry.site, entry.offer, entry.start_at, entry.run_id)):
        table.add_row(
            Text(short_run(entry.run_id)),
            Text(entry.tenant),
            Text(f"{entry.site}/{entry.offer}"),
            str(entry.devices),
            span(max(0.0, now_at - entry.arrived_at)),
            clock(entry.start_at, now_at) if entry.start_at > now_at else "now",
            "–" if entry.burst_micro is None else f"{money(entry.burst_micro)} more",
            _WHY.get(entry.why, entry.why),
        )
    return table

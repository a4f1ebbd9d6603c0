"""A cost–wait frontier as a table, as JSON and as an SVG picture, and the verdict about capacity in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from xml.sax.saxutils import escape

from rich import box
from rich.table import Table

from infra.core.capacity import HOURS_PER_DAY, Advice, Need, Purchase
from infra.core.frontier import Point, efficient, lines

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 860, 540, 90, 30, 92, 60
# Okabe and Ito's palette: told apart with every kind of colour vision.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000")
_WIDE = 30.0
"""Waits that differ by more than this factor are drawn on a logarithmic axis."""

_FEW_DAYS = 7
_BACKLOG_DAYS = 0.5
"""More work than this, put off beyond the end, is told."""


def frontier_table(points: Sequence[Point]) -> Table:
    """One row per point; a star marks those that no other beats in both money and wait."""
    table = Table(title="Cost and wait", title_justify="left", box=box.SIMPLE, caption_justify="left")
    table.caption = "GPU-h: in the cloud. * no other row costs less and waits no longer."
    table.add_column("setting", min_width=9, overflow="fold")
    for heading in ("wait $/h", "mean wait", "p99", "GPU-h", "cloud/mo.", "all/mo.", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    before = ""
    for point, best in zip(points, efficient(points), strict=True):
        if before not in ("", point.label):
            table.add_section()
        before = point.label
        table.add_row(
            point.label,
            "own" if point.wait_usd_per_h is None else f"{point.wait_usd_per_h:g}",
            _hours(point.mean_wait_h),
            _hours(point.p99_wait_h),
            f"{point.cloud_gpu_h:,.0f}" if point.cloud_gpu_h >= 100 else f"{point.cloud_gpu_h:.3g}",
            dollars(point.cloud_usd_per_month),
            dollars(point.usd_per_month),
            "*" if best else "",
        )
    return table


def frontier_json(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Plain JSON values, the fields of :class:`Point` and whether another beats it."""
    return [
        {**asdict(point), "usd_per_month": point.usd_per_month, "efficient": best}
        for point, best in zip(points, efficient(points), strict=True)
    ]


def advice_json(advice: Advice) -> dict[str, Any]:
    """Plain JSON values, with the verdict's sentences."""
    return {
        "need": advice.need.value,
        "owned_nodes": advice.owned_nodes,
        "owned_gpus": advice.owned_gpus,
        "demand": asdict(advice.demand),
        "cloud": {
            **asdict(advice.cloud),
            "days_used_share": advice.cloud.days_used / advice.cloud.days if advice.cloud.days else None,
        },
        "node_price": asdict(advice.price),
        "next_node": _purchase_json(advice.next_node),
        "best": _purchase_json(advice.best),
        "buy_nodes": max(0, advice.best.more) if advice.best else 0,
        "break_even_months": advice.best.break_even_months if advice.best else None,
        "text": advice_text(advice),
    }


def _purchase_json(found: Purchase | None) -> dict[str, Any] | None:
    return None if found is None else {**asdict(found), "net_usd_per_month": found.net_usd_per_month}


def advice_text(advice: Advice) -> str:
    """The verdict in plain words."""
    told = [_need_text(advice)]
    if advice.need is not Need.UNKNOWN:
        told.append(_money_text(advice))
        if advice.cloud.backlog_gpu_hours > _BACKLOG_DAYS * HOURS_PER_DAY * advice.owned_gpus:
            told.append(
                f"Waiting put off {advice.cloud.backlog_gpu_hours:,.0f} GPU-hours beyond the end; they are counted at "
                "the cloud's price."
            )
        if advice.cloud.days < _FEW_DAYS:
            days = "one day" if advice.cloud.days == 1 else f"{advice.cloud.days} days"
            told.append(f"This rests on {days} only.")
    return " ".join(told)


def _need_text(advice: Advice) -> str:
    demand, cloud, owned = advice.demand, advice.cloud, advice.owned_gpus
    asked = (
        f"{demand.mean_gpus:,.0f} GPUs are asked for on average, {demand.base_gpus:,.0f} or more nine tenths of the time and "
        f"{demand.peak_gpus:,.0f} at most; {owned:,} are owned"
    )
    if advice.need is Need.UNKNOWN:
        return "Less than a whole day was seen: too little to tell whether the cloud is needed every day."
    if advice.need is Need.NEVER:
        return f"The cloud was not needed: {asked}."
    shown = cloud.days >= _FEW_DAYS and cloud.base_gpus >= 0.05
    always = f", with {cloud.base_gpus:,.1f} GPUs or more on nine days of ten" if shown else ""
    used = f"the cloud was used on {cloud.days_used} of {cloud.days} days{always}"
    if advice.need is Need.PEAKS:
        return f"The cloud takes peaks: {asked}, and {used}."
    if advice.need is Need.EVERY_DAY:
        return f"Every day has a peak that goes to the cloud: {asked}, and {used}."
    return f"The base load itself needs the cloud, however long jobs may wait: {asked}, and {used}."


def _money_text(advice: Advice) -> str:
    price, best, after = advice.price, advice.best, advice.next_node
    each = f"{dollars(price.usd_per_month)} a month each over {price.life_months:g} months"
    if best is not None and best.more > 0:
        assert best.break_even_months is not None, "more nodes that cost less than they save break even"
        return (
            f"Buy {_nodes(best.more)} ({each}): the cloud's bill falls from {dollars(advice.cloud.due_usd_per_month)} to "
            f"{dollars(best.cloud_usd_per_month)} a month, which pays {'it' if best.more == 1 else 'them'} off after "
            f"{best.break_even_months:.1f} months and leaves {dollars(best.net_usd_per_month)} a month."
        )
    if best is not None:
        return (
            f"Buy nothing: with {_nodes(-best.more)} fewer the cloud would cost "
            f"{dollars(-best.saved_usd_per_month)} a month more and the nodes {dollars(-best.nodes_usd_per_month)} less "
            f"({each}). Those that are bought are paid for; when they wear out, do not replace all of them."
        )
    if after is None:
        return f"There is nothing to buy for, and with {each} none would better be given up."
    worth = f"one more ({each}) would save {dollars(max(0.0, after.saved_usd_per_month))} a month in the cloud"
    return f"Buy nothing: {worth}, which does not pay it off."


def _nodes(count: int) -> str:
    return "one node" if count == 1 else f"{count:,} nodes"


def dollars(amount: float) -> str:
    """Dollars for a table: whole from 1,000 on, cents from 1 on, three digits below."""
    size = abs(amount)
    digits = f"{size:,.0f}" if size >= 1000 else f"{size:,.2f}" if size >= 1 or size == 0 else f"{size:.3g}"
    return f"{'-' if amount < 0 else ''}${digits}"


def _hours(hours: float) -> str:
    if hours >= 1.0 or hours == 0.0:
        return f"{hours:,.2f} h"
    return f"{hours * 60:.1f} min" if hours >= 1 / 60 else f"{hours * 3600:.1f} s"


def frontier_svg(points: Sequence[Point], title: str = "Cost and wait") -> str:
    """A stand-alone SVG document: mean wait against dollars a month, a line per setting; the same points give the same bytes."""
    across = _Axis([point.mean_wait_h for point in points], _LEFT, _WIDTH - _RIGHT, _shortest(points))
    upward = _Axis([point.usd_per_month for point in points], _HEIGHT - _BOTTOM, _TOP, None)
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="system-ui, sans-serif" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(20, 28, title, size=16, extra=' font-weight="600"'),
    ]
    for value in across.ticks():
        x = across.place(value)
        body.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_HEIGHT - _BOTTOM}" stroke="#eaeef2"/>')
        body.append(_text(x, _HEIGHT - _BOTTOM + 18, _hours(value), size=11, extra=' text-anchor="middle"'))
    for value in upward.ticks():
        y = upward.place(value)
        body.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#eaeef2"/>')
        body.append(_text(_LEFT - 8, y + 4, dollars(value), size=11, extra=' text-anchor="end"'))
    scale = ", logarithmic" if across.logarithmic else ""
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    body.append(_text(middle, _HEIGHT - 18, f"mean wait{scale}", extra=' text-anchor="middle"'))
    body.append(_text(_LEFT, _TOP - 12, "cloud and owned nodes, USD a month", size=11, fill="#57606a"))
    legend_x = 20.0
    for index, (label, line) in enumerate(lines(points).items()):
        colour = _COLOURS[index % len(_COLOURS)]
        body.append(f'<rect x="{legend_x:.1f}" y="46" width="12" height="4" fill="{colour}"/>')
        body.append(_text(legend_x + 17, 52, label, size=11))
        legend_x += 40 + 6.5 * len(label)
        body += _line(label, line, colour, across, upward)
    return "\n".join([*body, "</svg>"]) + "\n"


def _line(label: str, line: list[Point], colour: str, across: _Axis, upward: _Axis) -> list[str]:
    places = [(across.place(point.mean_wait_h), upward.place(point.usd_per_month)) for point in line]
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    body = [f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for (x, y), point in zip(places, line, strict=True):
        wait = "each run's own price" if point.wait_usd_per_h is None else f"waiting {point.wait_usd_per_h:g} USD/h"
        told = f"{label}, {wait}: {_hours(point.mean_wait_h)}, {dollars(point.usd_per_month)} a month"
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(told)}</title></circle>')
    return body


def _text(x: float, y: float, text: str, *, size: int = 12, fill: str = "#24292f", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}"{extra}>{escape(text)}</text>'


def _shortest(points: Sequence[Point]) -> float | None:
    """Where a logarithmic axis of waits begins; ``None`` where a linear one will do."""
    waits = [point.mean_wait_h for point in points]
    above = [wait for wait in waits if wait > 0]
    if not above or max(above) <= _WIDE * min(above):
        return None
    return max(min(above), max(above) / 1e4)


class _Axis:
    """Values on a line of the picture, from zero, or logarithmic from ``shortest`` on."""

    def __init__(self, values: Sequence[float], start: float, end: float, shortest: float | None) -> None:
        self._start, self._end = start, end
        self._most = max(values, default=0.0) or 1.0
        self._least = shortest
        self.logarithmic = shortest is not None

    def place(self, value: float) -> float:
        if self._least is None:
            share = value / (1.08 * self._most)
        else:
            low, high = math.log(self._least) - 0.2, math.log(self._most) + 0.2
            share = (math.log(max(value, self._least)) - low) / (high - low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        if self._least is not None:
            first, last = math.floor(math.log10(self._least)), math.ceil(math.log10(self._most))
            values = [10.0**power for power in range(first, last + 1)]
            return [value for value in values if self._least * 0.82 <= value <= self._most * 1.22]
        step = 10.0 ** math.floor(math.log10(self._most / 2))
        step *= next(factor for factor in (1, 2, 5, 10) if self._most / (step * factor) <= 6)
        return [step * count for count in range(int(1.08 * self._most / step) + 1)]

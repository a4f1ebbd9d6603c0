"""Bars of letters for places that show no pictures: a decision's time line and prices, in a fixed-width block."""

from __future__ import annotations

import re

from infra.core.placement.decision import Candidate, Decision
from infra.core.workload import WorkloadRequest
from infra.render.prose import clock, money, span

_WIDTH = 40
_FAR = 4.0
"""A deadline further off than this many times the longest plan is told in words only: it would squeeze the bars to nothing."""

_UNUSUAL = re.compile(r"[^\w ./@:+-]")

TIME_KEY = "· wait   b boot   t transfer   █ compute   r rework   ─ until nine of ten are done   ! deadline"
PRICE_KEY = "█ expected   ─ what nine of ten cost at most   · what the wait is worth (nobody pays it)"


def time_bars(decision: Decision, request: WorkloadRequest, now_at: float) -> list[str]:
    """One line per candidate that has a start, and the scale; none when no candidate has."""
    planned = [each for each in decision.candidates if each.start_at is not None and each.finish_at is not None]
    if not planned:
        return []
    longest_s = max(_sure_at(each) - now_at for each in planned)
    deadline_s = None if request.deadline_at is None else request.deadline_at - now_at
    if deadline_s is not None and deadline_s <= _FAR * longest_s:
        longest_s = max(longest_s, deadline_s)
    longest_s = longest_s or 1.0
    mark = None if deadline_s is None or deadline_s > longest_s else round(_WIDTH * deadline_s / longest_s)
    names = _names(planned)
    rows = [
        f"{name} {_marked(_time_bar(each, now_at, longest_s), mark)} {span(_finish_s(each, now_at))}"
        + (f" ─ {span(_sure_at(each) - now_at)}" if _sure_at(each) > (each.finish_at or 0.0) else "")
        for name, each in zip(names, planned, strict=True)
    ]
    scale = f"{' ' * len(names[0])} {'now'.ljust(_WIDTH - len(span(longest_s)))}{span(longest_s)}"
    late = [] if request.deadline_at is None else [f"deadline {clock(request.deadline_at, now_at)}"]
    return [*rows, scale, *late, TIME_KEY]


def price_bars(decision: Decision) -> list[str]:
    """One line per candidate that has a price; none when everything is free and no wait is worth anything."""
    planned = [each for each in decision.candidates if each.start_at is not None]
    dearest = max((max(each.cost_p90_micro, each.weight_micro) for each in planned), default=0)
    if not dearest:
        return []
    rows = []
    for name, each in zip(_names(planned), planned, strict=True):
        solid = _length(each.cost.total_micro, dearest)
        whisker = max(0, _length(each.cost_p90_micro, dearest) - solid)
        worth = _length(each.wait_micro, dearest)
        bar = ("█" * solid + "─" * whisker + "·" * max(0, min(worth, _WIDTH - solid - whisker))).ljust(_WIDTH)
        told = money(each.cost.total_micro)
        if each.cost_p90_micro > each.cost.total_micro:
            told += f" ─ {money(each.cost_p90_micro)}"
        if each.wait_micro:
            told += f" · {money(each.wait_micro)}"
        rows.append(f"{name} {bar} {told}")
    return [*rows, PRICE_KEY]


def _names(candidates: list[Candidate]) -> list[str]:
    # Nothing is escaped in a fixed-width block, so what could end it is left out of the names.
    named = [_UNUSUAL.sub("?", f"{each.site}/{each.offer}") for each in candidates]
    names = [name + ("" if each.feasible else " ✗") for name, each in zip(named, candidates, strict=True)]
    width = max(map(len, names))
    return [name.ljust(width) for name in names]


def _finish_s(candidate: Candidate, now_at: float) -> float:
    return (candidate.finish_at or now_at) - now_at


def _sure_at(candidate: Candidate) -> float:
    """When nine of ten are done; records of older versions do not say."""
    return candidate.finish_p90_at or candidate.finish_at or 0.0


def _time_bar(candidate: Candidate, now_at: float, longest_s: float) -> str:
    time, at, bar = candidate.time, 0.0, ""
    for letter, seconds in (
        ("·", time.wait_s),
        ("b", time.boot_s),
        ("t", time.transfer_s),
        ("█", time.compute_s),
        ("r", time.rework_s),
    ):
        at += seconds
        bar += letter * max(0, _length(at, longest_s) - len(bar))
    return bar + "─" * max(0, _length(_sure_at(candidate) - now_at, longest_s) - len(bar))


def _marked(bar: str, mark: int | None) -> str:
    bar = bar.ljust(_WIDTH)
    return bar + " " if mark is None else f"{bar[:mark]}!{bar[mark:]}"


def _length(value: float, longest: float) -> int:
    return max(0, min(_WIDTH, round(_WIDTH * value / longest)))

"""A decision as an SVG picture: per candidate its cost by part and its time line against the deadline."""

from __future__ import annotations

from xml.sax.saxutils import escape

from infra.core.placement.decision import Candidate, Decision
from infra.core.placement.snapshot import Snapshot
from infra.core.workload import WorkloadRequest
from infra.render.prose import (
    SIMULATED,
    chance,
    changes_text,
    clock,
    is_simulated,
    money,
    outcome_text,
    reason_text,
    span,
)

_WIDTH, _ROW, _BAR, _TOP = 1040, 44, 16, 104
_COST_X, _COST_W = 250, 180
_TIME_X, _TIME_W = 620, 380
# Okabe and Ito's palette: told apart with every kind of colour vision.
_PARTS = (
    ("wait", "#bbbbbb"),
    ("boot", "#e69f00"),
    ("egress / transfer", "#009e73"),
    ("compute", "#0072b2"),
    ("rework", "#cc79a7"),
)
_COLOUR = dict(_PARTS)
_OUTCOME_COLOUR = {"run": "#1a7f37", "wait": "#9a6700", "infeasible": "#cf222e"}


def _text(x: float, y: float, text: str, *, size: int = 12, fill: str = "#24292f", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}"{extra}>{escape(text)}</text>'


def _bar(x: float, y: float, width: float, colour: str, title: str, opacity: float) -> str:
    return (
        f'<rect x="{x:.2f}" y="{y:.1f}" width="{max(width, 0.8):.2f}" height="{_BAR}" fill="{colour}" '
        f'opacity="{opacity}"><title>{escape(title)}</title></rect>'
    )


def decision_svg(decision: Decision, request: WorkloadRequest, snapshot: Snapshot) -> str:
    """A stand-alone SVG document; the same decision gives the same bytes."""
    now_at = snapshot.now_at
    candidates = decision.candidates
    planned = [candidate for candidate in candidates if candidate.start_at is not None]
    highest_micro = max((max(each.weight_micro, each.cost_p90_micro) for each in planned), default=0) or 1
    ends = [_last_s(candidate, now_at) for candidate in planned]
    if request.deadline_at is not None:
        # A far deadline would squeeze the bars to nothing: it is then told at the edge instead.
        deadline_s = request.deadline_at - now_at
        longest_s = max([*ends, min(deadline_s, 4 * max(ends, default=deadline_s))])
    else:
        deadline_s, longest_s = None, max(ends, default=1.0)
    longest_s = (longest_s or 1.0) * 1.05
    bottom = _TOP + _ROW * max(1, len(candidates))
    height = bottom + 48 + 18 * len(decision.counterfactuals)
    title = outcome_text(decision, now_at)
    # A bold letter of the widest usual font is 0.7 of its size wide: a long title gets smaller instead of being cut off.
    size = max(10, min(16, int((_WIDTH - 40) / (0.7 * len(title)))))
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" role="img">',
        f"<title>{escape(title)}</title>",
        _HATCHED,
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(20, 30, title, size=size, fill=_OUTCOME_COLOUR[decision.outcome.value], extra=' font-weight="600"'),
        *_legend(),
        _text(_COST_X, _TOP - 12, "expected cost", fill="#57606a"),
        _text(_TIME_X, _TOP - 12, f"time from {clock(now_at)}", fill="#57606a"),
    ]
    for index, candidate in enumerate(candidates):
        y = _TOP + index * _ROW
        body += _row(candidate, candidate == decision.chosen, y, now_at, highest_micro, longest_s)
    if deadline_s is not None:
        body += _deadline(deadline_s, longest_s, bottom)
    body += _remedies(decision, bottom + 26, now_at)
    if is_simulated(decision, {site.name: site.simulated for site in snapshot.sites}):
        body.append(_text(20, height - 14, SIMULATED, size=11, fill="#8250df"))
    return "\n".join([*body, "</svg>"]) + "\n"


def _end_s(candidate: Candidate, now_at: float) -> float:
    end_at = candidate.finish_high_at or candidate.finish_at or now_at
    return end_at - now_at


def _last_s(candidate: Candidate, now_at: float) -> float:
    """Where the row's time line ends: at the required probability, or where nine of ten do."""
    return max(_end_s(candidate, now_at), (candidate.finish_p90_at or now_at) - now_at)


def _legend() -> list[str]:
    parts, x = [], 20.0
    for name, colour in _PARTS:
        parts.append(f'<rect x="{x}" y="50" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(x + 17, 60, name, size=11, fill="#57606a"))
        x += 40 + 6 * len(name)
    parts.append(f'<line x1="{x}" y1="56" x2="{x + 22}" y2="56" stroke="#57606a" stroke-width="2"/>')
    parts.append(_text(x + 28, 60, "until the required probability", size=11, fill="#57606a"))
    x += 215
    parts.append(_whisker(x, x + 22, 48, "nine of ten", 1.0))
    parts.append(_text(x + 30, 60, "nine of ten", size=11, fill="#57606a"))
    x += 115
    parts.append(f'<rect x="{x}" y="50" width="12" height="12" fill="url(#worth)"/>')
    parts.append(_text(x + 17, 60, "worth of the wait", size=11, fill="#57606a"))
    return parts


# Hatched, because nobody pays it.
_HATCHED = (
    '<defs><pattern id="worth" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="5" height="5" fill="#f0f0f0"/><rect width="2" height="5" fill="#999999"/></pattern></defs>'
)


def _row(
    candidate: Candidate, chosen: bool, y: float, now_at: float, highest_micro: int, longest_s: float
) -> list[str]:
    opacity = 1.0 if candidate.feasible else 0.35
    fill = "#24292f" if candidate.feasible else "#57606a"
    weight = ' font-weight="600"' if chosen else ""
    mark = "▶ " if chosen else "" if candidate.feasible else "✗ "
    body = [_text(20, y + 13, f"{mark}{candidate.site} / {candidate.offer}", fill=fill, extra=weight)]
    if candidate.start_at is not None:
        body += _cost_bar(candidate, y, highest_micro, opacity)
        body += _time_bar(candidate, y, now_at, longest_s, opacity)
    why = "; ".join(reason_text(reason, now_at) for reason in candidate.reasons)
    if why:
        body.append(_text(20, y + 30, why if len(why) <= 160 else why[:159] + "…", size=10, fill="#57606a"))
    return body


def _cost_bar(candidate: Candidate, y: float, highest_micro: int, opacity: float) -> list[str]:
    cost, x, body = candidate.cost, float(_COST_X), []
    for name, micro in (
        ("boot", cost.boot_micro),
        ("egress / transfer", cost.egress_micro),
        ("compute", cost.compute_micro),
        ("rework", cost.rework_micro),
    ):
        if micro:
            width = _COST_W * micro / highest_micro
            body.append(_bar(x, y, width, _COLOUR[name], f"{name} {money(micro)}", opacity))
            x += width
    total, sure = cost.total_micro, candidate.cost_p90_micro
    end_x = x
    if candidate.wait_micro:
        width = _COST_W * candidate.wait_micro / highest_micro
        worth = f"its wait is worth {money(candidate.wait_micro)}; nobody pays it"
        body.append(_bar(x, y, width, "url(#worth)", worth, opacity))
        end_x = x + width
    if sure > total:
        sure_x = _COST_X + _COST_W * sure / highest_micro
        body.append(_whisker(x, sure_x, y, f"nine of ten at most {money(sure)}", opacity))
        end_x = max(end_x, sure_x)
    told = (money(total) if total else "free") + (f" ≤ {money(sure)}" if sure > total else "")
    told += f", wait {money(candidate.wait_micro)}" if candidate.wait_micro else ""
    body.append(_text(end_x + 6, y + 12, told, size=10))
    return body


def _whisker(x: float, end_x: float, y: float, title: str, opacity: float) -> str:
    """A line from where something is expected to end to where nine of ten end, with a stroke across."""
    middle, top, bottom = y + _BAR / 2, y + 4, y + _BAR - 4
    return (
        f'<path d="M{x:.2f} {middle}H{end_x:.2f}M{end_x:.2f} {top}V{bottom}" stroke="#24292f" stroke-width="1.5" fill="none" '
        f'opacity="{opacity}"><title>{escape(title)}</title></path>'
    )


def _time_bar(candidate: Candidate, y: float, now_at: float, longest_s: float, opacity: float) -> list[str]:
    time, x, body = candidate.time, float(_TIME_X), []
    for name, seconds in (
        ("wait", time.wait_s + time.handover_s),
        ("boot", time.boot_s),
        ("egress / transfer", time.transfer_s),
        ("compute", time.compute_s),
        ("rework", time.rework_s),
    ):
        if seconds > 0:
            width = _TIME_W * seconds / longest_s
            body.append(_bar(x, y, width, _COLOUR[name], f"{name} {span(seconds)}", opacity))
            x += width
    high_x = _TIME_X + _TIME_W * _end_s(candidate, now_at) / longest_s
    middle = y + _BAR / 2
    sure = "" if candidate.deadline_probability is None else f"in time with {chance(candidate.deadline_probability)}"
    body.append(
        f'<line x1="{x:.2f}" y1="{middle}" x2="{max(high_x, x):.2f}" y2="{middle}" stroke="#57606a" stroke-width="2" '
        f'opacity="{opacity}"><title>{escape(sure)}</title></line>'
    )
    if candidate.finish_p90_at is not None and candidate.finish_p90_at > (candidate.finish_at or 0.0):
        likely_s = candidate.finish_p90_at - now_at
        sure_x = _TIME_X + _TIME_W * likely_s / longest_s
        body.append(_whisker(x, sure_x, y, f"nine of ten within {span(likely_s)}", opacity))
    return body


def _deadline(deadline_s: float, longest_s: float, bottom: float) -> list[str]:
    label = f"deadline in {span(deadline_s)}"
    if deadline_s > longest_s:
        return [_text(_TIME_X + _TIME_W, bottom + 14, f"{label} →", fill="#cf222e", extra=' text-anchor="end"')]
    x = _TIME_X + _TIME_W * deadline_s / longest_s
    anchor = ' text-anchor="end"' if deadline_s > longest_s / 2 else ""
    return [
        f'<line x1="{x:.2f}" y1="{_TOP - 6}" x2="{x:.2f}" y2="{bottom:.1f}" stroke="#cf222e" stroke-width="1.5" '
        'stroke-dasharray="4 3"/>',
        _text(x, bottom + 14, label, fill="#cf222e", extra=anchor),
    ]


def _remedies(decision: Decision, y: float, now_at: float) -> list[str]:
    return [
        _text(
            20,
            y + 18 * index,
            f"feasible with {changes_text(item.changes, now_at)} → {item.site}/{item.offer}, "
            f"{money(item.cost_micro)}, done by {clock(item.finish_at, now_at)}",
        )
        for index, item in enumerate(decision.counterfactuals)
    ]

"""The plan of a pipeline as an SVG time line: one row per stage, its parts, its high estimate, and what moves."""

from __future__ import annotations

from xml.sax.saxutils import escape

from infra.core.placement.pipelines.decide import PipelineDecision, PipelineRequest
from infra.core.placement.pipelines.plan import StagePlacement
from infra.core.placement.snapshot import Snapshot
from infra.core.units import BYTES_PER_GB
from infra.render.pipeline import comparison_text, pipeline_outcome_text
from infra.render.prose import SIMULATED, changes_text, clock, money, span

_WIDTH, _ROW, _BAR, _TOP = 1040, 46, 16, 96
_LEFT, _TIME_W, _COST_X = 300.0, 560.0, 900.0
# Okabe and Ito's palette: told apart with every kind of colour vision.
_PARTS = (
    ("boot", "boot_s", "#e69f00"),
    ("transfer", "transfer_s", "#009e73"),
    ("compute", "compute_s", "#0072b2"),
    ("rework", "rework_s", "#cc79a7"),
)
_OUTCOME_COLOUR = {"run": "#1a7f37", "wait": "#9a6700", "infeasible": "#cf222e"}


def _text(x: float, y: float, text: str, *, size: int = 12, fill: str = "#24292f", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}"{extra}>{escape(text)}</text>'


def pipeline_svg(decision: PipelineDecision, request: PipelineRequest, snapshot: Snapshot) -> str:
    """A stand-alone SVG document; the same plan gives the same bytes."""
    now_at = snapshot.now_at
    bottom = _TOP + _ROW * max(1, len(decision.stages))
    height = bottom + 52 + 18 * len(decision.counterfactuals)
    longest_s = (max((stage.finish_high_at for stage in decision.stages), default=now_at + 1.0) - now_at) * 1.05 or 1.0
    deadline_s = None if request.deadline_at is None else request.deadline_at - now_at
    if deadline_s is not None and deadline_s <= 3 * longest_s:
        longest_s = max(longest_s, deadline_s * 1.02)
    title = pipeline_outcome_text(decision, now_at)
    size = max(10, min(16, int((_WIDTH - 40) / (0.7 * len(title)))))
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(20, 30, title, size=size, fill=_OUTCOME_COLOUR[decision.outcome.value], extra=' font-weight="600"'),
        *_legend(),
        _text(_LEFT, _TOP - 10, f"time from {clock(now_at)}", fill="#57606a"),
        _text(_COST_X, _TOP - 10, "expected cost", fill="#57606a"),
    ]
    for index, stage in enumerate(decision.stages):
        body += _row(stage, _TOP + index * _ROW, now_at, longest_s)
    if deadline_s is not None:
        body += _deadline(deadline_s, longest_s, bottom)
    body.append(_text(20, bottom + 14, comparison_text(decision), size=11, fill="#57606a"))
    for index, item in enumerate(decision.counterfactuals):
        then = f"{money(item.cost_micro)}, done by {clock(item.finish_high_at, now_at)} at the latest"
        body.append(_text(20, bottom + 34 + 18 * index, f"feasible with {changes_text(item.changes, now_at)} → {then}"))
    simulated = {site.name for site in snapshot.sites if site.simulated}
    if any(stage.site in simulated for stage in decision.stages):
        body.append(_text(20, height - 10, SIMULATED, size=11, fill="#8250df"))
    return "\n".join([*body, "</svg>"]) + "\n"


def _legend() -> list[str]:
    parts, x = [], 20.0
    for name, _, colour in _PARTS:
        parts.append(f'<rect x="{x}" y="48" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(x + 17, 58, name, size=11, fill="#57606a"))
        x += 44 + 6 * len(name)
    parts.append(f'<line x1="{x}" y1="54" x2="{x + 22}" y2="54" stroke="#57606a" stroke-width="2"/>')
    parts.append(_text(x + 28, 58, "until when at the high estimates", size=11, fill="#57606a"))
    return parts


def _row(stage: StagePlacement, y: float, now_at: float, longest_s: float) -> list[str]:
    scale = _TIME_W / longest_s
    body = [
        _text(20, y + 13, f"{stage.stage}", extra=' font-weight="600"'),
        _text(20, y + 29, f"{stage.site} / {stage.offer}", size=11, fill="#57606a"),
    ]
    x = _LEFT + (stage.start_at - now_at) * scale
    for name, field, colour in _PARTS:
        seconds = getattr(stage.time, field)
        if seconds > 0:
            width = max(0.8, seconds * scale)
            body.append(
                f'<rect x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" height="{_BAR}" fill="{colour}">'
                f"<title>{escape(f'{name} {span(seconds)}')}</title></rect>"
            )
            x += width
    high_x, middle = _LEFT + (stage.finish_high_at - now_at) * scale, y + _BAR / 2
    body.append(
        f'<line x1="{x:.2f}" y1="{middle}" x2="{max(x, high_x):.2f}" y2="{middle}" stroke="#57606a" stroke-width="2"/>'
    )
    total = stage.cost.total_micro
    body.append(_text(_COST_X, y + 13, money(total) if total else "free", size=11))
    moved = ", ".join(
        f"{move.what} from {move.source} ({move.bytes / BYTES_PER_GB:,.3g} GB, {money(move.egress_micro)})"
        for move in stage.moves
    )
    if moved:
        told = f"reads {moved}"
        body.append(_text(_LEFT, y + 31, told if len(told) <= 120 else told[:119] + "…", size=10, fill="#57606a"))
    return body


def _deadline(deadline_s: float, longest_s: float, bottom: float) -> list[str]:
    label = f"deadline in {span(deadline_s)}"
    if deadline_s > longest_s:
        return [_text(_LEFT + _TIME_W, bottom + 14, f"{label} →", fill="#cf222e", extra=' text-anchor="end"')]
    x = _LEFT + _TIME_W * deadline_s / longest_s
    return [
        f'<line x1="{x:.2f}" y1="{_TOP - 6}" x2="{x:.2f}" y2="{bottom:.1f}" stroke="#cf222e" stroke-width="1.5" '
        'stroke-dasharray="4 3"/>',
        _text(x, bottom + 14, label, fill="#cf222e", extra=' text-anchor="end"'),
    ]

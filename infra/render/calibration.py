"""Whether estimates came true, for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infra.core.placement.calibration import TOLD_LEVELS, Calibration, Verdict, judge
from infra.core.placement.decision import Outcome
from infra.core.workload import WorkKind
from infra.ports import ControlStore
from infra.render.story import read_story

_TOLD = {
    Verdict.TOO_FEW: "too few runs to tell",
    Verdict.CALIBRATED: "calibrated",
    Verdict.WITHIN_CHANCE: "off, but no more than chance explains",
    Verdict.TOO_SURE: "too sure: more runs are late than was said",
    Verdict.TOO_CAUTIOUS: "too cautious: fewer runs are late than was said",
}
_STYLE = {Verdict.CALIBRATED: "green", Verdict.TOO_SURE: "red", Verdict.TOO_CAUTIOUS: "yellow"}


@dataclass(frozen=True, slots=True)
class Kept:
    """What decisions promised of the finish, and how many attempts kept it.

    Attributes:
        stated: The promised probability; for deadlines the mean of those that were stated.
    """

    promise: str
    stated: float
    attempts: int
    kept: int

    @property
    def share(self) -> float:
        return self.kept / self.attempts if self.attempts else 0.0

    @property
    def verdict(self) -> Verdict:
        return judge(self.share, self.stated, self.attempts)


def kept_promises(store: ControlStore, most_runs: int) -> tuple[Kept, ...]:
    """Of the newest runs' attempts that ended with a site's report: how many ended by what their decision told."""
    likely: list[bool] = []
    nine: list[bool] = []
    in_time: list[tuple[float, bool]] = []
    for run in store.runs.runs(limit=most_runs):
        if run.kind is WorkKind.WARM:
            continue  # it ends when it is taken, or idle for long enough: nobody foretold when
        story = read_story(store, run)
        for attempt in story.attempts:
            led = [
                told
                for told in story.decisions
                if told.decision.outcome is Outcome.RUN and told.record.decided_at <= attempt.permit.issued_at
            ]
            chosen = led[-1].decision.chosen if led else None
            # An attempt without the site's measurement was lost, which no estimate of a duration speaks of.
            if chosen is None or attempt.finished_at is None or not attempt.metered or chosen.finish_at is None:
                continue
            likely.append(attempt.finished_at <= chosen.finish_at)
            if chosen.finish_p90_at is not None:
                nine.append(attempt.finished_at <= chosen.finish_p90_at)
            deadline_at = led[-1].request.deadline_at
            if chosen.deadline_probability is not None and deadline_at is not None:
                in_time.append((chosen.deadline_probability, attempt.finished_at <= deadline_at))
    stated = sum(probability for probability, _ in in_time) / len(in_time) if in_time else 0.0
    return (
        Kept("finish", 0.5, len(likely), sum(likely)),
        Kept("finish_p90", 0.9, len(nine), sum(nine)),
        Kept("deadline", stated, len(in_time), sum(kept for _, kept in in_time)),
    )


def calibration_json(found: Iterable[Calibration], kept: Sequence[Kept]) -> dict[str, Any]:
    """Plain JSON values; shares between 0 and 1."""
    return {
        "estimates": [
            {
                "kind": one.kind.value,
                "device": one.device,
                "samples": one.samples,
                "tested": one.tested,
                "median_ratio": one.median_ratio,
                "coverage": {f"{level:g}": share for level, share in zip(TOLD_LEVELS, one.coverage, strict=True)},
                "p90_over_estimate": one.width,
                "verdict": one.verdict.value,
                "text": _TOLD[one.verdict],
            }
            for one in found
        ],
        "decisions": [
            {
                "promise": one.promise,
                "stated": one.stated,
                "attempts": one.attempts,
                "kept": one.kept,
                "share": one.share if one.attempts else None,
                "verdict": one.verdict.value,
                "text": _TOLD[one.verdict],
            }
            for one in kept
        ],
    }


def calibration_view(found: Sequence[Calibration], kept: Sequence[Kept]) -> RenderableType:
    """Tables for a terminal."""
    parts: list[RenderableType] = []
    table = Table(title="Run times, each predicted from the runs before it", title_justify="left", box=box.SIMPLE)
    for heading in ("work", "runs", "actual / estimate", *(f"≤ {level:.0%}" for level in TOLD_LEVELS), "verdict"):
        table.add_column(heading, justify="left" if heading in ("work", "verdict") else "right")
    for one in found:
        shares = (f"{share:.1%}" if one.tested else "–" for share in one.coverage)
        verdict = Text(_TOLD[one.verdict], style=_STYLE.get(one.verdict, ""))
        work = f"{one.kind.value} on {one.device}"
        table.add_row(work, str(one.tested), f"{one.median_ratio:.2f}", *shares, verdict)
    parts.append(table if found else Text("No run has ended yet."))
    if any(one.attempts for one in kept):
        promises = Table(title="What decisions promised of the finish", title_justify="left", box=box.SIMPLE)
        for heading in ("promise", "stated", "attempts", "kept", "verdict"):
            promises.add_column(heading, justify="left" if heading in ("promise", "verdict") else "right")
        for told in kept:
            if told.attempts:
                verdict = Text(_TOLD[told.verdict], style=_STYLE.get(told.verdict, ""))
                shares = (f"{told.stated:.1%}", str(told.attempts), f"{told.share:.1%}")
                promises.add_row(told.promise, *shares, verdict)
        parts.append(promises)
    return Group(*parts)

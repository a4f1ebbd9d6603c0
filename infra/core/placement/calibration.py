"""Whether stated probabilities came true: each past run is predicted from those that had ended before it began."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from infra.core.placement.estimate import speed_up, spread_at
from infra.core.placement.learning import WINDOW, Observation, Underway, learn_rate, prior_for, running_beside
from infra.core.placement.snapshot import Rate
from infra.core.placement.uncertainty import HIGH, probability_below, ratios
from infra.core.workload import WorkKind

TOLD_LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Quantiles whose coverage is told."""

TOLERANCE = 0.03
"""A 0.9 quantile that between 87 and 93 of 100 runs keep is called calibrated."""

LEAST_TESTED = 20
"""Fewer predictions say nothing about a coverage."""


class Verdict(StrEnum):
    TOO_FEW = "too_few"
    CALIBRATED = "calibrated"
    WITHIN_CHANCE = "within_chance"
    """Off, and no more than two standard errors of so many predictions."""
    TOO_SURE = "too_sure"
    """More runs are late than was said."""
    TOO_CAUTIOUS = "too_cautious"


@dataclass(frozen=True, slots=True)
class Calibration:
    """How predictions of one kind of work on one kind of device came true.

    Attributes:
        samples: Past runs.
        tested: Predictions, each made from earlier runs or, before there were any, from the prior.
        median_ratio: Median of actual / estimated: 1 is unbiased.
        coverage: Share of runs that kept each of ``TOLD_LEVELS``.
        width: Geometric mean of the 0.9 quantile / the estimate: the smaller, the sharper.
    """

    kind: WorkKind
    device: str
    samples: int
    tested: int
    median_ratio: float
    coverage: tuple[float, ...]
    width: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """One prediction and what became of it.

    Attributes:
        ratio: Actual / estimated seconds.
        probability: What the prediction gave to a run time of at most the actual one; uniform when calibrated.
        high_ratio: The predicted 0.9 quantile / the estimate.
    """

    ratio: float
    probability: float
    high_ratio: float


def calibrate(observations: Iterable[Observation], priors: Iterable[Rate]) -> tuple[Calibration, ...]:
    """Calibration per (kind, device) that has past runs, sorted by them. How long warm runs idle is no estimate."""
    groups: dict[tuple[WorkKind, str], list[Observation]] = {}
    for seen in sorted(observations, key=lambda seen: (seen.at, seen.run_id, seen.attempt)):
        if seen.run_s > 0 and seen.devices >= 1 and seen.kind is not WorkKind.WARM:
            groups.setdefault((seen.kind, seen.device), []).append(seen)
    known = {(prior.kind, prior.device): prior for prior in priors}
    return tuple(
        summary(kind, device, len(seen), outcomes(seen, prior_for(known, kind, device)))
        for (kind, device), seen in sorted(groups.items())
    )


def outcomes(seen: Sequence[Observation], prior: Rate | None) -> list[Outcome]:
    """Each run of one kind and device, sorted by their end, predicted from those that had ended or were under way when it began."""
    ends = [run.at for run in seen]
    begun = [run.at - run.run_s for run in seen]
    points = [(run.units / speed_up(run.devices), run.run_s) for run in seen]
    in_turn = sorted(range(len(seen)), key=begun.__getitem__)
    turns = [begun[index] for index in in_turn]
    found = []
    for run, (units, run_s) in zip(seen, points, strict=True):
        now_at = run.at - run.run_s - run.boot_s
        before = bisect_right(ends, now_at)
        first = max(0, before - WINDOW)
        past, rate = points[first:before], prior
        if past:
            since = bisect_left(turns, min(begun[first:before]))
            others = [seen[index] for index in in_turn[since : bisect_left(turns, now_at)] if ends[index] > now_at]
            underway = [
                Underway(one.kind, one.device, one.devices, one.units, one.at - one.run_s, now_at - one.at + one.run_s)
                for one in others
            ]
            running = running_beside(begun[first:before], underway)
            rate = learn_rate(run.kind, run.device, past, prior, running)
        if rate is not None:
            found.append(outcome(rate, units, run_s))
    return found


def outcome(rate: Rate, units: float, run_s: float) -> Outcome:
    """What became of a prediction for ``units`` on one device."""
    quantiles = ratios(spread_at(rate, units))
    ratio = run_s / max(rate.fixed_s + units * rate.unit_s, 1e-9)
    return Outcome(ratio, probability_below(quantiles, ratio), quantiles[HIGH])


def summary(kind: WorkKind, device: str, samples: int, found: Sequence[Outcome]) -> Calibration:
    """The coverage of many predictions."""
    tested = len(found)
    coverage = tuple(
        sum(one.probability <= level for one in found) / tested if tested else 0.0 for level in TOLD_LEVELS
    )
    return Calibration(
        kind=kind,
        device=device,
        samples=samples,
        tested=tested,
        median_ratio=median(one.ratio for one in found) if found else 1.0,
        coverage=coverage,
        width=math.exp(sum(math.log(one.high_ratio) for one in found) / tested) if tested else 1.0,
        verdict=judge(coverage[TOLD_LEVELS.index(0.9)], 0.9, tested),
    )


def judge(share: float, stated: float, tested: int) -> Verdict:
    """Whether a share of ``tested`` predictions is what was stated."""
    if tested < LEAST_TESTED:
        return Verdict.TOO_FEW
    off = share - stated
    if abs(off) <= TOLERANCE + 1e-12:
        return Verdict.CALIBRATED
    if abs(off) <= 2.0 * math.sqrt(stated * (1.0 - stated) / tested):
        return Verdict.WITHIN_CHANCE
    return Verdict.TOO_SURE if off < 0 else Verdict.TOO_CAUTIOUS

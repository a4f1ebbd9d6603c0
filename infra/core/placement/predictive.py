"""Predictive quantiles from past errors: what the next duration may be, given how far earlier ones strayed.

Errors are logarithms of observed / estimated. The quantiles are *predictive*: the runs that were seen are pooled with a
bell shape (Student's t) whose width is their robust deviation drawn to the prior's, so that few runs are doubted,
many show their own tails, and a straggler moves the median little but stays in the high quantiles.

Runs that have not ended say something too: they take longer than they have taken so far. Without them the short runs of a burst, which
end first, would speak for all of it. Each one's weight goes to the errors that are larger than its own so far, in proportion to theirs
(Efron 1967, "redistribute to the right": the estimator of Kaplan and Meier), the bell shape's among them.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from statistics import NormalDist

from infra.core.placement.uncertainty import HIGH, LEVELS, MEDIAN, NORMALS, Spread, ratios

PRIOR_WEIGHT = 4.0
"""A prior's estimate counts as much as this many runs."""

NOISE_WEIGHT = 2.0
"""A prior's spread counts as much as this many runs in the width of the bell shape."""

SHAPE_WEIGHT = 4.0
"""The bell shape counts as much as this many runs beside those that were seen."""

PRIOR_SPREAD = 1.0
"""The spread where there is no prior: nine of ten take at most twice the time."""

HALF_LIFE = 60.0
"""After this many newer runs a run counts half."""

DRIFT_RUNS = 25
"""The level of drifting errors is the median of this many."""

DRIFT_GAIN = 0.97
"""Errors drift when following their level leaves less than this share of their mean size."""

OPTIMISM = 1.5
"""Errors around an estimate made from themselves are too small by this many runs' share."""

SPREAD_FLOOR = 0.01
"""Runs that all took the same time still may not next time."""

_MAD_TO_SIGMA = 1.4826  # of a normal distribution
_OUTER_LEVEL, _OUTER_TO_SIGMA = 0.8, 1 / 1.2816
_SHAPE = tuple(NormalDist().inv_cdf((step + 0.5) / 100) for step in range(100))

Weighted = list[tuple[float, float]]
"""Values with their weights, sorted by value."""


def learn_spread(
    errors: Sequence[float], prior: Spread | None = None, running: Sequence[tuple[float, float]] = ()
) -> tuple[float, tuple[float, ...]]:
    """How far the estimate should move, and the spread of the next run around the moved estimate.

    Args:
        errors: Natural logarithms of observed / estimated, oldest first; at least one.
        prior: The spread without any run, around an unmoved estimate; ``None`` when there is no prior.
        running: Of runs that have not ended the errors so far, with weights; the newest run that has ended has the weight 1.

    Returns:
        What to add to the logarithm of the estimate, and the quantiles at ``LEVELS`` as ratios.
    """
    newest = len(errors) - 1
    weights = [0.5 ** ((newest - index) / HALF_LIFE) for index in range(len(errors))]
    total = sum(weights)
    runs = total * total / sum(weight * weight for weight in weights)  # equal weights would count as this many
    level, left = _steady(errors, weights)
    pairs = sorted(zip(left, weights, strict=True))
    prior_sigma = math.log(ratios(PRIOR_SPREAD if prior is None else prior)[HIGH]) / NORMALS[HIGH]
    middle, variance = _middle_and_variance(pairs, total, runs, prior_sigma)
    if running:
        shape = _shape(middle, math.sqrt(variance), runs)
        pairs = _with_running(pairs, shape, sorted((error - level, weight) for error, weight in running))
        total = sum(weight for _, weight in pairs)
        middle, variance = _middle_and_variance(pairs, total, runs, prior_sigma)
    centre = level + middle
    shift = centre if prior is None else centre * runs / (runs + PRIOR_WEIGHT)
    held_back = centre - shift  # where the runs' own median lies from the estimate that the prior still holds
    stretch = 1.0 + OPTIMISM / max(runs, 2.0)
    seen = [((error - middle) * stretch + held_back, weight) for error, weight in pairs]
    pool = sorted(_shape(0.0, math.sqrt(variance + held_back**2), runs) + seen)
    weight = total + SHAPE_WEIGHT
    # Of n values and the next one, the k-th smallest is the k / (n + 1) quantile (conformal prediction). The shape
    # allows for that by itself, so that only the part of the pool that was seen is moved outwards.
    places = (level + (level - 0.5) * (total / weight) / weight for level in LEVELS)
    return shift, _spread([_quantile(pool, place, weight) for place in places])


def _middle_and_variance(pairs: Weighted, total: float, runs: float, prior_sigma: float) -> tuple[float, float]:
    """Median of errors, and the variance of the next one around it."""
    middle = _quantile(pairs, 0.5, total)
    sigma = _sigma(pairs, middle, total, runs)
    variance = (NOISE_WEIGHT * prior_sigma**2 + runs * sigma**2) / (NOISE_WEIGHT + runs)
    return middle, variance * (1.0 + 1.0 / (runs + 1.0))


def _shape(middle: float, scale: float, runs: float) -> Weighted:
    """The bell shape, as errors with weights, in their order."""
    return [(middle + scale * student(normal, NOISE_WEIGHT + runs), SHAPE_WEIGHT / len(_SHAPE)) for normal in _SHAPE]


def student(normal: float, freedom: float) -> float:
    """Quantile of Student's t from the standard normal one (Abramowitz and Stegun 26.7.5, two terms)."""
    cube, fifth = normal**3, normal**5
    first = (cube + normal) / 4.0
    second = (5.0 * fifth + 16.0 * cube + 3.0 * normal) / 96.0
    return normal + first / freedom + second / freedom**2


def _steady(errors: Sequence[float], weights: Sequence[float]) -> tuple[float, list[float]]:
    """The level that the next error is measured from, and the past errors measured likewise.

    Where errors are nearer to the median of those shortly before them than to the median of all, speeds drift. Each is
    then measured from the former, as the next one will be, so that the spread contains what the drift costs.
    """
    if len(errors) < 2 * DRIFT_RUNS:
        return 0.0, list(errors)
    recent = sorted(errors[:DRIFT_RUNS])
    left = [error - _middle(recent) for error in errors[:DRIFT_RUNS]]
    for oldest, error in zip(errors, errors[DRIFT_RUNS:], strict=False):
        left.append(error - _middle(recent))
        recent.pop(bisect_left(recent, oldest))
        insort(recent, error)
    centre = _quantile(sorted(zip(errors, weights, strict=True)), 0.5, sum(weights))
    still = sum(abs(error - centre) * weight for error, weight in zip(errors, weights, strict=True))
    moving = sum(abs(error) * weight for error, weight in zip(left, weights, strict=True))
    return (_middle(recent), left) if moving < DRIFT_GAIN * still else (0.0, list(errors))


def _middle(values: list[float]) -> float:
    """Median of sorted values, an odd number of them."""
    return values[len(values) // 2]


def _with_running(ended: Weighted, shape: Weighted, running: Weighted) -> Weighted:
    """The errors of runs that have ended, and those that the runs that go on may come to, with their weights.

    The weight of a run that goes on is shared out among all errors above its own so far: those that were seen and, so that there is
    something above the longest, those of the bell shape. One that is above all of these counts as if it ended now.
    """
    found: Weighted = []
    above = sorted(
        [(error, weight, True) for error, weight in ended] + [(error, weight, False) for error, weight in shape]
    )
    left, grown, place = sum(weight for _, weight, _ in above), 1.0, 0
    for error, weight in [*running, (math.inf, 0.0)]:
        while place < len(above) and above[place][0] <= error:
            value, own, seen = above[place]
            found.append((value, own * grown if seen else own * (grown - 1.0)))
            left -= own
            place += 1
        if place < len(above):
            grown *= 1.0 + weight / (left * grown)
        elif weight:
            found.append((error, weight))
    return [(error, weight) for error, weight in found if weight > 0.0]


def _sigma(pairs: Weighted, middle: float, total: float, runs: float) -> float:
    """Robust standard deviation, corrected for small samples: half from the middle of the errors, half from the outside.

    The middle alone would take two narrow heaps of runs (warm and cold caches) for one.
    """
    far = sorted((abs(error - middle), weight) for error, weight in pairs)
    inner = _MAD_TO_SIGMA * _quantile(far, 0.5, total)
    outer = _OUTER_TO_SIGMA * _quantile(far, _OUTER_LEVEL, total)
    return 0.5 * (inner + outer) * (runs / (runs - 0.8) if runs > 1.5 else 1.5)


def _quantile(pairs: Weighted, level: float, total: float) -> float:
    """Quantile of weighted values, interpolated between the middles of their weights."""
    target, cumulated, value_before, middle_before = level * total, 0.0, pairs[0][0], 0.0
    for value, weight in pairs:
        middle = cumulated + weight / 2.0
        if middle >= target:
            share = (target - middle_before) / (middle - middle_before)
            return value_before + (value - value_before) * share
        value_before, middle_before = value, middle
        cumulated += weight
    return pairs[-1][0]


def _spread(logs: list[float]) -> tuple[float, ...]:
    """Ratios of log quantiles: 1 in the middle, rising, and no narrower than the floor."""
    floor = math.log1p(SPREAD_FLOOR) / NORMALS[HIGH]
    found = [0.0] * len(LEVELS)
    for level in range(MEDIAN + 1, len(LEVELS)):
        found[level] = max(found[level - 1], logs[level], floor * NORMALS[level])
    for level in range(MEDIAN - 1, -1, -1):
        found[level] = min(found[level + 1], logs[level], floor * NORMALS[level])
    return tuple(round(math.exp(min(value, 30.0)), 6) for value in found)

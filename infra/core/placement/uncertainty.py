"""Distributions of durations, small enough to be stored: quantiles as multiples of an estimate.

A *spread* says how far a duration strays from its estimate, which is its median. It is either one number ``s``, the
prior's form (log-normal, nine of ten take no longer than ``1 + s`` times the estimate), or what history showed: the
quantiles at ``LEVELS`` as multiples of the estimate. Between the levels a quantile is interpolated, and beyond the last
one continued, as a log-normal would go: its logarithm is linear in the standard normal quantile.

The quantile of a sum of parts that do not depend on each other adds the parts' excesses over their medians as the sides
of a right angle: ``Q(p) = Σ m + sqrt(Σ (q(p) − m)²)``, with minus below the median. For normal parts this is exact; for
log-normal parts of one median and spreads up to 1 it is within a few percent of a simulation (see the tests).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import lru_cache
from statistics import NormalDist

from infra.core.errors import InputError
from infra.core.units import require_number

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Probabilities at which quantiles are kept."""

MEDIAN, HIGH = LEVELS.index(0.5), LEVELS.index(0.9)

Spread = float | tuple[float, ...]

STANDARD = NormalDist()
NORMALS = tuple(STANDARD.inv_cdf(level) for level in LEVELS)
"""Standard normal quantiles of the levels."""


def require_spread(spread: Spread, where: str) -> Spread:
    """Return ``spread`` when it is one.

    Raises:
        InputError: ``BAD_NUMBER``; ``BAD_SPREAD`` when quantiles are missing, fall, or have another median than 1.
    """
    if not isinstance(spread, tuple):
        return require_number(spread, where)
    for ratio in spread:
        require_number(ratio, where)
    if len(spread) != len(LEVELS) or list(spread) != sorted(spread) or spread[MEDIAN] != 1.0:
        told = ", ".join(f"{level:g}" for level in LEVELS)
        raise InputError(
            "BAD_SPREAD", "no quantiles", where, f"give the rising ratios at {told}, 1 in the middle, or one number"
        )
    return spread


@lru_cache(maxsize=4096)
def ratios(spread: Spread) -> tuple[float, ...]:
    """Quantiles at ``LEVELS`` as multiples of the estimate."""
    if isinstance(spread, tuple):
        return spread
    return tuple((1.0 + spread) ** (normal / NORMALS[HIGH]) for normal in NORMALS)


@lru_cache(maxsize=4096)
def widened(spread: Spread, power: float) -> Spread:
    """The same with each ratio raised to ``power``: wider above 1, narrower below."""
    return spread if power == 1.0 else tuple(ratio**power for ratio in ratios(spread))


@lru_cache(maxsize=256)
def place_of(probability: float) -> tuple[int, float]:
    """The level at or below a probability (the last but one for all above) and the share of the step to the next."""
    lower = min(max(bisect_right(LEVELS, probability) - 1, 0), len(LEVELS) - 1)
    if LEVELS[lower] == probability:
        return lower, 0.0
    lower = min(lower, len(LEVELS) - 2)
    return lower, (normal_of(probability) - NORMALS[lower]) / (NORMALS[lower + 1] - NORMALS[lower])


@lru_cache(maxsize=256)
def normal_of(probability: float) -> float:
    """The standard normal quantile."""
    return STANDARD.inv_cdf(probability)


def between(lower: float, upper: float, share: float) -> float:
    """The value at ``share`` of the way from one quantile to the next, beyond them as well."""
    if share == 0.0 or lower == upper:
        return lower
    if lower <= 0.0:
        return lower + share * (upper - lower)
    return lower * (upper / lower) ** share


def quantile(spread: Spread, probability: float) -> float:
    """The ratio to the estimate that is not exceeded with this probability."""
    lower, share = place_of(probability)
    found = ratios(spread)
    return between(found[lower], found[lower + 1], share) if share else found[lower]


def probability_below(quantiles: tuple[float, ...], value: float) -> float:
    """The probability of at most ``value``, given the quantiles at ``LEVELS``; the inverse of the interpolation."""
    index = bisect_right(quantiles, value) - 1
    lower = segment(index)
    return probability_in(index, quantiles[lower], quantiles[lower + 1], value)


def segment(index: int) -> int:
    """The lower level of the two between which values lie whose highest quantile below them is that of ``index``."""
    return min(max(index, 0), len(LEVELS) - 2)


def probability_in(index: int, low: float, high: float, value: float) -> float:
    """As :func:`probability_below`, given the level below the value (-1: none) and the quantiles of its segment."""
    last, lower = len(LEVELS) - 1, segment(index)
    if low == high or value <= 0.0:  # nothing is uncertain on this side
        return 1.0 if index == last else 0.0
    share = math.log(value / low) / math.log(high / low) if low > 0.0 else (value - low) / (high - low)
    return _normal_below(NORMALS[lower] + share * (NORMALS[lower + 1] - NORMALS[lower]))


def _normal_below(normal: float) -> float:
    """The standard normal distribution function."""
    return 0.5 * math.erfc(-normal / math.sqrt(2.0))

"""What past runs teach: rates, each a median and the quantiles of what the next run may take.

Everything is robust (medians, not means), recent runs count more, and few runs are drawn to the prior and doubted.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median

from infra.core.placement.estimate import BOOT_SPREAD, noise_at, speed_up
from infra.core.placement.predictive import HALF_LIFE, PRIOR_WEIGHT, learn_spread
from infra.core.placement.snapshot import Rate
from infra.core.workload import WorkKind


@dataclass(frozen=True, slots=True)
class Observation:
    """How long one attempt took, as its site metered it. Rates are learnt from these.

    Attributes:
        run_s: Seconds of work, without boot.
        at: When it ended.
        placed_at: When it was decided; ``None`` when that is not known. Stores fill it in from the attempt.
        warm: Whether it was given a warm cluster, so that its boot says nothing. Stores fill it in likewise.
    """

    run_id: str
    attempt: int
    kind: WorkKind
    site: str
    offer: str
    device: str
    devices: int
    units: float
    run_s: float
    boot_s: float
    at: float
    placed_at: float | None = None
    warm: bool = False

    @property
    def handover_s(self) -> float | None:
        """Seconds from the decision until the site asked for machines."""
        return None if self.placed_at is None else max(0.0, self.at - self.run_s - self.boot_s - self.placed_at)


@dataclass(frozen=True, slots=True)
class Underway:
    """An attempt that has not ended: it takes longer than it has taken so far.

    Attributes:
        begun_at: When its work began, as far as is known: boot and hand-over are no work.
        so_far_s: Seconds of work until now.
    """

    kind: WorkKind
    device: str
    devices: int
    units: float
    begun_at: float
    so_far_s: float


WINDOW = 200
"""So many runs of a kind are learnt from at most, the newest."""

SHORTEST_S = 0.05
"""Shorter boots and hand-overs are not told apart: a standing cluster's boot is nothing but the clock's noise."""

HANDOVER_S, HANDOVER_SPREAD = 1.0, 1.0
"""What a hand-over is drawn to while few were seen."""

_SLOPE_SAMPLES = 4
_SLOPE_RANGE = 2.0
_SLOPE_RUNS = 80  # the number of pairs grows with the square
_NOISE_SAMPLES = 30
_NOISE_DOUBLINGS = 2.0
_NOISE_SURE = 2.5
_NOISE_LEAST, _NOISE_MOST = 0.5, 2.0


def learn_rates(
    observations: Iterable[Observation],
    priors: Iterable[Rate],
    relative_speeds: Mapping[str, float] | None = None,
    underway: Iterable[Underway] = (),
) -> tuple[Rate, ...]:
    """Rates from past runs, one per (kind, device), learnt or prior, sorted by them.

    Args:
        observations: In any order; those without a positive run time are left out, and so are warm runs, which last for as
            long as nobody comes.
        priors: At most one per (kind, device). A device without one starts from the reference device's.
        relative_speeds: Speed of device kinds against the reference device, to translate its prior; 1.0 by default.
        underway: Attempts that have not ended. They widen what others have shown; alone they teach nothing.
    """
    rates = {(prior.kind, prior.device): prior for prior in priors}
    groups: dict[tuple[WorkKind, str], list[Observation]] = {}
    for seen in sorted(observations, key=lambda seen: (seen.at, seen.run_id, seen.attempt)):
        if seen.run_s > 0 and seen.devices >= 1 and seen.units >= 0 and seen.kind is not WorkKind.WARM:
            groups.setdefault((seen.kind, seen.device), []).append(seen)
    still: dict[tuple[WorkKind, str], list[Underway]] = {}
    for each in underway:
        still.setdefault((each.kind, each.device), []).append(each)
    learnt = {}
    for (kind, device), group in groups.items():
        prior = prior_for(rates, kind, device, (relative_speeds or {}).get(device, 1.0))
        running = running_beside([seen.at - seen.run_s for seen in group], still.get((kind, device), ()))
        points = [(seen.units / speed_up(seen.devices), seen.run_s) for seen in group]
        learnt[kind, device] = learn_rate(kind, device, points, prior, running)
    return tuple(rate for _, rate in sorted((rates | learnt).items()))


def prior_for(
    priors: Mapping[tuple[WorkKind, str], Rate], kind: WorkKind, device: str, relative_speed: float = 1.0
) -> Rate | None:
    """What is expected of a device without history: its own prior, or the reference device's in its speed."""
    own, reference = priors.get((kind, device)), priors.get((kind, ""))
    if own is not None or reference is None:
        return own
    return replace(reference, device=device, unit_s=reference.unit_s / relative_speed, samples=0)


def learn_boots(
    observations: Iterable[Observation], expected: Mapping[tuple[str, str], float]
) -> dict[tuple[str, str], tuple[float, tuple[float, ...]]]:
    """Boot times from past runs: for each (site, offer) that had any, the median in seconds and the spread.

    Args:
        expected: The site files' boot times in seconds, by (site, offer); others are left out.
    """
    groups: dict[tuple[str, str], list[float]] = {}
    for seen in sorted(observations, key=lambda seen: (seen.at, seen.run_id, seen.attempt)):
        if not seen.warm:
            groups.setdefault((seen.site, seen.offer), []).append(seen.boot_s)
    return {key: _duration(past, expected[key], BOOT_SPREAD) for key, past in groups.items() if key in expected}


def learn_handovers(
    observations: Iterable[Observation],
) -> dict[tuple[str, str], tuple[float, tuple[float, ...]]]:
    """Seconds from a decision until the site asks for machines, by (site, offer): the median and the spread."""
    groups: dict[tuple[str, str], list[float]] = {}
    for seen in sorted(observations, key=lambda seen: (seen.at, seen.run_id, seen.attempt)):
        if seen.handover_s is not None:
            groups.setdefault((seen.site, seen.offer), []).append(seen.handover_s)
    return {key: _duration(past, HANDOVER_S, HANDOVER_SPREAD) for key, past in groups.items()}


def _duration(past: list[float], expected_s: float, prior: float) -> tuple[float, tuple[float, ...]]:
    """Median and spread of a duration, oldest first, drawn to what was expected."""
    expected_s = max(expected_s, SHORTEST_S)
    shift, spread = learn_spread([math.log(max(seconds, SHORTEST_S) / expected_s) for seconds in past], prior)
    return expected_s * math.exp(shift), spread


def running_beside(begun_at: Sequence[float], underway: Iterable[Underway]) -> list[tuple[float, float, float]]:
    """Of attempts that have not ended, as (units on one device, seconds so far, weight), those that count beside some that have.

    Whoever began before all of these is left out: others that began with it and were short are no longer among them. Like
    those that have ended, it counts less the more have begun since.

    Args:
        begun_at: When those began that have ended.
    """
    oldest_at = min(begun_at)
    found = sorted(
        (each.begun_at, each.units / speed_up(each.devices), each.so_far_s)
        for each in underway
        if each.begun_at >= oldest_at and each.so_far_s > 0 and each.devices >= 1 and each.units >= 0
    )[-WINDOW:]
    begun = sorted([*begun_at, *[at for at, _, _ in found]])
    return [
        (units, so_far_s, 0.5 ** ((len(begun) - bisect_right(begun, at)) / HALF_LIFE)) for at, units, so_far_s in found
    ]


def learn_rate(
    kind: WorkKind,
    device: str,
    points: list[tuple[float, float]],
    prior: Rate | None,
    running: Sequence[tuple[float, float, float]] = (),
) -> Rate:
    """One rate from points of (units on one device, seconds), oldest first.

    Args:
        running: From :func:`running_beside`.
    """
    fixed_s, unit_s = _line(sorted(points[:: -(-len(points) // _SLOPE_RUNS)]), prior)
    if prior is not None:
        weight = len(points) / (len(points) + PRIOR_WEIGHT)
        fixed_s = weight * fixed_s + (1 - weight) * prior.fixed_s
        unit_s = weight * unit_s + (1 - weight) * prior.unit_s
    errors = [math.log(run_s / max(fixed_s + units * unit_s, 1e-9)) for units, run_s in points]
    doubling, usual = _noise_by_size([units for units, _ in points], errors)
    sized = Rate(kind, device, fixed_s, unit_s, 0.0, len(points), doubling, usual)
    usual_errors = [error / noise_at(sized, units) for error, (units, _) in zip(errors, points, strict=True)]
    so_far = [
        (math.log(so_far_s / max(fixed_s + units * unit_s, 1e-9)) / noise_at(sized, units), weight)
        for units, so_far_s, weight in running
    ]
    shift, spread = learn_spread(usual_errors, prior.spread if prior else None, so_far)
    factor = math.exp(min(max(shift, -50.0), 50.0))
    return replace(sized, fixed_s=fixed_s * factor, unit_s=unit_s * factor, spread=spread)


def _noise_by_size(sizes: list[float], errors: list[float]) -> tuple[float, float]:
    """The factor on the errors when the size doubles, and the size at which it is 1; (1, 0) when none shows.

    A line through the logarithms of the absolute errors over those of the sizes (Park's test): its slope counts when it
    is well above what chance gives, the logarithm of a normal variable's absolute value having the standard deviation
    ``pi / sqrt(8)``.
    """
    sized = [(math.log2(size), error) for size, error in zip(sizes, errors, strict=True) if size > 0]
    if len(sized) < _NOISE_SAMPLES:
        return 1.0, 0.0
    centre = median(error for _, error in sized)
    points = sorted((size, math.log(max(abs(error - centre), 1e-3))) for size, error in sized)
    tenth = len(points) // 10
    if points[-1 - tenth][0] - points[tenth][0] < _NOISE_DOUBLINGS:
        return 1.0, 0.0
    mean_size = sum(size for size, _ in points) / len(points)
    mean_noise = sum(noise for _, noise in points) / len(points)
    around = sum((size - mean_size) ** 2 for size, _ in points)
    slope = sum((size - mean_size) * (noise - mean_noise) for size, noise in points) / around
    if abs(slope) < _NOISE_SURE * math.pi / math.sqrt(8.0 * around):
        return 1.0, 0.0
    return min(max(math.exp(slope), _NOISE_LEAST), _NOISE_MOST), 2.0 ** median(size for size, _ in points)


def _line(points: list[tuple[float, float]], prior: Rate | None) -> tuple[float, float]:
    """Fixed seconds and seconds per unit of a robust line through the points, sorted."""
    sizes = [units for units, _ in points]
    if sizes[-1] == 0.0:  # runs without any work show only the fixed time
        return median(run_s for _, run_s in points), prior.unit_s if prior else 0.0
    if len(points) >= _SLOPE_SAMPLES and sizes[-1] >= _SLOPE_RANGE * sizes[0]:
        slope = median(
            (second[1] - first[1]) / (second[0] - first[0])
            for first, second in combinations(points, 2)
            if second[0] > first[0]
        )
        fixed_s = median(run_s - slope * units for units, run_s in points)
        if slope > 0 and fixed_s >= 0:
            return fixed_s, slope
    fixed_s = min(prior.fixed_s if prior else 0.0, min(run_s for _, run_s in points))
    return fixed_s, median((run_s - fixed_s) / units for units, run_s in points if units > 0)

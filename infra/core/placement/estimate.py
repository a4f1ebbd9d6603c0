"""How long work takes and how sure we are: durations of a run on an offer, and rates learnt from past runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median

from infra.core.inventory import Offer
from infra.core.placement.snapshot import Rate
from infra.core.units import SECONDS_PER_HOUR
from infra.core.workload import WorkKind, WorkloadRequest

SERIAL_SHARE = 0.05
"""Share of the work that more devices do not speed up (Amdahl)."""

CHECKPOINT_INTERVAL_S = 300.0
"""Expected time between checkpoints; an interruption loses half of it on average."""

LONGEST_RUN_S = 366 * 86_400.0
"""An estimate beyond a year says that the estimate, the request or the offer is wrong, not when it would finish."""


def speed_up(devices: int) -> float:
    """How much faster ``devices`` are than one: Amdahl's law, ``1 / (s + (1 - s) / n)`` with ``s = SERIAL_SHARE``."""
    return 1.0 / (SERIAL_SHARE + (1.0 - SERIAL_SHARE) / devices)


def rate_for(rates: Mapping[str, Rate], offer: Offer) -> tuple[Rate, float] | None:
    """The rate that describes this offer, and the relative speed that it still has to be divided by.

    A rate of the offer's own device kind is in that device's speed; the reference device's is not.
    """
    if offer.device in rates:
        return rates[offer.device], 1.0
    if "" in rates:
        return rates[""], offer.relative_speed
    return None


@dataclass(frozen=True, slots=True)
class Durations:
    """Expected seconds of a run from its start, by part, and the relative spread of their sum."""

    boot_s: float
    transfer_s: float
    compute_s: float
    rework_s: float
    spread: float

    @property
    def total_s(self) -> float:
        return self.boot_s + self.transfer_s + self.compute_s + self.rework_s

    @property
    def high_s(self) -> float:
        """The high estimate, which deadlines and caps are held against."""
        return self.total_s * (1.0 + self.spread)


def estimate(
    request: WorkloadRequest, offer: Offer, rates: Mapping[str, Rate], boot_s: float, transfer_s: float
) -> Durations | None:
    """Expected durations, or ``None`` when no rate fits or the run would take more than ``LONGEST_RUN_S``."""
    found = rate_for(rates, offer)
    if found is None:
        return None
    rate, speed = found
    devices = request.resources.devices
    compute_s = rate.fixed_s + request.units * rate.unit_s / (speed_up(devices) * speed)
    rework_s = expected_rework(
        work_s=transfer_s + compute_s,
        boot_s=boot_s,
        interruptions_per_hour=offer.interruptions_per_hour * devices,
        checkpointed=request.checkpointed,
    )
    durations = Durations(boot_s, transfer_s, compute_s, rework_s, rate.spread)
    return durations if durations.high_s <= LONGEST_RUN_S else None


def expected_rework(work_s: float, boot_s: float, interruptions_per_hour: float, checkpointed: bool) -> float:
    """Expected seconds that interruptions add to ``work_s`` of work. ``inf`` when it could never end.

    Interruptions come at random (Poisson) at a rate ``r``; losing one device of a run interrupts all of it.
    Checkpointed: ``r·T`` interruptions, each losing half a checkpoint interval (at most half the work) and a boot;
    interruptions of the rework itself are left out. Not checkpointed: every interruption starts the whole work
    again after a boot, so the expected time is ``(exp(r·T) - 1) · (1/r + boot)``, of which ``T`` is the work itself.
    """
    rate = interruptions_per_hour / SECONDS_PER_HOUR
    expected = rate * work_s
    if expected == 0.0:
        return 0.0
    if checkpointed:
        return expected * (min(CHECKPOINT_INTERVAL_S, work_s) / 2 + boot_s)
    if expected > 50.0:  # exp(50) runs: longer than the age of the universe, and near what a float can hold
        return math.inf
    return max(0.0, math.expm1(expected) * (1.0 / rate + boot_s) - work_s)


@dataclass(frozen=True, slots=True)
class Observation:
    """How long one attempt took, as its site metered it. Rates are learnt from these.

    Attributes:
        run_s: Seconds of work, without boot.
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


PRIOR_WEIGHT = 4.0
"""A prior counts as much as this many observations."""

SPREAD_FLOOR = 0.1
"""Runs that all took the same time still may not next time."""

_SIGMAS = 2.0
_MAD_TO_SIGMA = 1.4826  # of a normal distribution
_SLOPE_SAMPLES = 4
_SLOPE_RANGE = 2.0


def learn_rates(
    observations: Iterable[Observation], priors: Iterable[Rate], relative_speeds: Mapping[str, float] | None = None
) -> tuple[Rate, ...]:
    """Rates from past runs, robust against outliers and drawn to the priors while there are few.

    For each (kind, device) with observations: the seconds per unit are the Theil–Sen slope (median of pairwise slopes)
    of run time over ``units / speed_up(devices)`` when the runs differ enough in size, else the median of what is
    left after the fixed time; both are averaged with the prior at ``n : PRIOR_WEIGHT``. The spread is two robust
    standard deviations of the relative errors, averaged likewise, with a floor.

    Args:
        observations: In any order; those without a positive run time are left out.
        priors: At most one per (kind, device). A device without one starts from the reference device's.
        relative_speeds: Speed of device kinds against the reference device, to translate its prior; 1.0 by default.

    Returns:
        One rate per (kind, device), learnt or prior, sorted by them.
    """
    speeds = relative_speeds or {}
    rates = {(prior.kind, prior.device): prior for prior in priors}
    groups: dict[tuple[WorkKind, str], list[tuple[float, float]]] = {}
    for seen in observations:
        if seen.run_s > 0 and seen.devices >= 1 and seen.units >= 0:
            group = groups.setdefault((seen.kind, seen.device), [])
            group.append((seen.units / speed_up(seen.devices), seen.run_s))
    learnt = {}
    for (kind, device), points in groups.items():
        prior = rates.get((kind, device))
        reference = rates.get((kind, ""))
        if prior is None and reference is not None:
            prior = replace(reference, device=device, unit_s=reference.unit_s / speeds.get(device, 1.0), samples=0)
        learnt[kind, device] = _learn(kind, device, sorted(points), prior)
    return tuple(rate for _, rate in sorted((rates | learnt).items()))


def _learn(kind: WorkKind, device: str, points: list[tuple[float, float]], prior: Rate | None) -> Rate:
    """One rate from points of (units on one device, seconds), sorted."""
    fixed_s, unit_s = _line(points, prior)
    weight = 1.0
    if prior is not None:
        weight = len(points) / (len(points) + PRIOR_WEIGHT)
        fixed_s = weight * fixed_s + (1 - weight) * prior.fixed_s
        unit_s = weight * unit_s + (1 - weight) * prior.unit_s
    errors = [run_s / max(fixed_s + units * unit_s, 1e-9) - 1.0 for units, run_s in points]
    centre = median(errors)
    spread = _SIGMAS * _MAD_TO_SIGMA * median(abs(error - centre) for error in errors) + max(0.0, centre)
    spread = weight * spread + (1 - weight) * (prior.spread if prior else 0.0)
    if prior is None and len(points) < PRIOR_WEIGHT:
        spread = max(spread, 1.0)  # few runs and nothing else to go by: allow for twice the time
    return Rate(kind, device, fixed_s, unit_s, max(SPREAD_FLOOR, spread), len(points))


def _line(points: list[tuple[float, float]], prior: Rate | None) -> tuple[float, float]:
    """Fixed seconds and seconds per unit of a robust line through the points."""
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

"""How long a run takes on an offer and how sure we are of it: its parts and the quantiles of their sum."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from infra.core.inventory import Offer
from infra.core.placement.snapshot import Rate
from infra.core.placement.uncertainty import (
    LEVELS,
    MEDIAN,
    NORMALS,
    Spread,
    between,
    place_of,
    probability_in,
    ratios,
    segment,
    widened,
)
from infra.core.units import SECONDS_PER_HOUR
from infra.core.workload import WorkloadRequest

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


BOOT_SPREAD = 0.5
"""Spread of a boot time that nobody has measured: nine of ten take at most half as long again."""

TRANSFER_SPREAD = 0.5
"""Spread of a transfer. What a link gives besides other traffic is not measured apart from the work."""

_BELOW = range(len(LEVELS) - 1)

_NOISE_DOUBLINGS = 4.0
"""So far from the usual size the noise of a size is followed, and no farther."""

# A sum of few interruptions has an exponential tail, one of many a normal tail: the longer of the two counts.
REWORK_STEPS = tuple(
    max(normal, -math.log1p(-level) - 1.0) if level > 0.5 else normal
    for level, normal in zip(LEVELS, NORMALS, strict=True)
)


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds of a run from its start, by part, with what is known of their spread.

    Attributes:
        boot_s, transfer_s, compute_s: Medians.
        handover_s: Median of the time before the site asks for machines, which are not paid yet.
        rework_s: Expected value: most runs see no interruption at all, so the median would say nothing.
        rework_deviation_s: Standard deviation of the rework.
        boot_ratios, transfer_ratios, compute_ratios, handover_ratios: Quantiles at ``LEVELS`` as multiples of the median.
        delay_deviation_s: How far the start itself may stray, where it is awaited: the standard deviation of a normal.
    """

    boot_s: float
    transfer_s: float
    compute_s: float
    rework_s: float
    rework_deviation_s: float
    boot_ratios: tuple[float, ...]
    transfer_ratios: tuple[float, ...]
    compute_ratios: tuple[float, ...]
    handover_s: float = 0.0
    handover_ratios: tuple[float, ...] = ratios(0.0)
    delay_deviation_s: float = 0.0

    @property
    def machine_s(self) -> float:
        """Seconds for which machines are expected to be paid."""
        return self.boot_s + self.transfer_s + self.compute_s + self.rework_s

    @property
    def total_s(self) -> float:
        return self.machine_s + self.handover_s

    def moving(self, transfer_s: float) -> Durations:
        """The same with another transfer, of a run that nothing interrupts."""
        return Durations(
            self.boot_s,
            transfer_s,
            self.compute_s,
            self.rework_s,
            self.rework_deviation_s,
            self.boot_ratios,
            self.transfer_ratios,
            self.compute_ratios,
            self.handover_s,
            self.handover_ratios,
        )

    def at(self, probability: float) -> float:
        """Seconds that are not exceeded with this probability; the total at one half."""
        lower, share = place_of(probability)
        found = self.at_level(lower)
        return between(found, self.at_level(lower + 1), share) if share else found

    def at_level(self, level: int) -> float:
        """The quantile at ``LEVELS[level]``: the total, and the parts' excesses as sides of a right angle."""
        boot_s, transfer_s, compute_s = self.boot_s, self.transfer_s, self.compute_s
        total_s = boot_s + transfer_s + compute_s + self.rework_s + self.handover_s
        excess_s = math.hypot(
            boot_s * (self.boot_ratios[level] - 1.0),
            transfer_s * (self.transfer_ratios[level] - 1.0),
            compute_s * (self.compute_ratios[level] - 1.0),
            self._rework_excess(level) if self.rework_deviation_s else 0.0,
            self.handover_s * (self.handover_ratios[level] - 1.0) if self.handover_s else 0.0,
            self.delay_deviation_s * NORMALS[level],
        )
        return total_s + excess_s if level > MEDIAN else total_s - excess_s

    def quantiles(self) -> tuple[float, ...]:
        """Seconds at each of ``LEVELS``."""
        return tuple(self.at_level(level) for level in range(len(LEVELS)))

    def probability_within(self, seconds: float) -> float:
        """The probability that the run takes no longer."""
        last = len(LEVELS) - 1
        index = last if seconds >= self.at_level(last) else bisect_right(_BELOW, seconds, key=self.at_level) - 1
        lower = segment(index)
        return probability_in(index, self.at_level(lower), self.at_level(lower + 1), seconds)

    def parts_at(self, probability: float) -> tuple[float, float, float, float, float]:
        """Hand-over, boot, transfer, compute and rework, each at its own quantile; together they are rarer than that."""
        lower, share = place_of(probability)
        if share == 0.0:
            return (
                self.handover_s * self.handover_ratios[lower],
                self.boot_s * self.boot_ratios[lower],
                self.transfer_s * self.transfer_ratios[lower],
                self.compute_s * self.compute_ratios[lower],
                self.rework_s + self._rework_excess(lower),
            )
        upper = min(lower + 1, len(LEVELS) - 1)
        medians = (self.handover_s, self.boot_s, self.transfer_s, self.compute_s)
        spreads = (self.handover_ratios, self.boot_ratios, self.transfer_ratios, self.compute_ratios)
        handover_s, boot_s, transfer_s, compute_s = (
            median_s * between(found[lower], found[upper], share)
            for median_s, found in zip(medians, spreads, strict=True)
        )
        low_s, high_s = self.rework_s + self._rework_excess(lower), self.rework_s + self._rework_excess(upper)
        return handover_s, boot_s, transfer_s, compute_s, between(low_s, high_s, share)

    def _rework_excess(self, level: int) -> float:
        return max(-self.rework_s, self.rework_deviation_s * REWORK_STEPS[level])


def estimate(
    request: WorkloadRequest,
    offer: Offer,
    rates: Mapping[str, Rate],
    boot_s: float,
    transfer_s: float,
    boot_spread: Spread = BOOT_SPREAD,
    handover_s: float = 0.0,
    handover_spread: Spread = 0.0,
) -> Durations | None:
    """Durations by part, or ``None`` when no rate fits or the run might take more than ``LONGEST_RUN_S``.

    "Might" is at the probability with which the request wants its deadline met.
    """
    found = rate_for(rates, offer)
    if found is None:
        return None
    rate, speed = found
    devices = request.resources.devices
    gain = speed_up(devices)
    compute_s = rate.fixed_s + request.units * rate.unit_s / (gain * speed)
    rework_s, deviation_s = 0.0, 0.0
    if offer.interruptions_per_hour > 0.0:
        interruptions = (transfer_s + compute_s, boot_s, offer.interruptions_per_hour * devices, request.checkpointed)
        rework_s = expected_rework(*interruptions)
        if math.isinf(rework_s):
            return None
        deviation_s = rework_deviation(*interruptions)
    durations = Durations(
        boot_s=boot_s,
        transfer_s=transfer_s,
        compute_s=compute_s,
        rework_s=rework_s,
        rework_deviation_s=deviation_s,
        boot_ratios=ratios(boot_spread),
        transfer_ratios=ratios(TRANSFER_SPREAD),
        compute_ratios=ratios(spread_at(rate, request.units / gain)),
        handover_s=handover_s,
        handover_ratios=ratios(handover_spread),
    )
    return durations if durations.at(request.deadline_probability) <= LONGEST_RUN_S else None


def noise_at(rate: Rate, units: float) -> float:
    """How many times as large the logarithms of the rate's ratios are for ``units`` on one device."""
    if rate.noise_units == 0.0 or rate.noise_doubling == 1.0:
        return 1.0
    doublings = math.log2(units / rate.noise_units) if units > 0.0 else -_NOISE_DOUBLINGS
    return rate.noise_doubling ** min(max(doublings, -_NOISE_DOUBLINGS), _NOISE_DOUBLINGS)


def spread_at(rate: Rate, units: float) -> Spread:
    """The rate's spread for a run of this many units on one device."""
    return widened(rate.spread, noise_at(rate, units))


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


def rework_deviation(work_s: float, boot_s: float, interruptions_per_hour: float, checkpointed: bool) -> float:
    """Standard deviation of the seconds that :func:`expected_rework` expects, which must be finite.

    Checkpointed: a compound Poisson sum has the variance ``r·T · E[loss²]``, where a loss is uniform over the
    checkpoint interval (at most the work) plus a boot. Not checkpointed: a geometric number ``N`` of failed tries with
    the probability of success ``s = exp(-r·T)``, each lasting a truncated exponential time ``X`` and a boot, has
    ``E[N]·Var X + Var N·(E[X] + boot)²``, ``E[N] = (1 - s)/s``, ``Var N = (1 - s)/s²``.
    """
    rate = interruptions_per_hour / SECONDS_PER_HOUR
    expected = rate * work_s
    if expected == 0.0:
        return 0.0
    if checkpointed:
        longest_s = min(CHECKPOINT_INTERVAL_S, work_s)
        return math.sqrt(expected * (longest_s**2 / 3.0 + longest_s * boot_s + boot_s**2))
    if expected < 1e-6:  # the general formula would subtract nearly equal numbers
        return math.sqrt(expected * (work_s**2 / 3.0 + work_s * boot_s + boot_s**2))
    success = math.exp(-expected)
    failure = -math.expm1(-expected)
    mean_s = 1.0 / rate - work_s * success / failure
    square = 2.0 / rate**2 - success * (work_s**2 + 2.0 * work_s / rate) / failure
    variance = failure / success * max(0.0, square - mean_s**2) + failure / success**2 * (mean_s + boot_s) ** 2
    return math.sqrt(variance)

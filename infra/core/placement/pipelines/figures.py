"""What each stage of a pipeline costs and takes at least, at each of its options and for each place of its primary input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.core.placement.costing import CAP_MARGIN_PERCENT, least_total
from infra.core.placement.pipelines.problem import OUTSIDE, Problem, Stage
from infra.core.units import BYTES_PER_GB, SECONDS_PER_HOUR

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_MARGIN = (100 + CAP_MARGIN_PERCENT) / 100


@dataclass(frozen=True, slots=True)
class Figures:
    """Least cost, need and seconds of a stage, ``[choices, places] float64``; infinite where it is left out.

    Attributes:
        windowed: Whether the price has windows: ``[choices] bool``.
        alone: Cost and need that the first two are made from, without moves of results: ``[choices, 2]``.
    """

    cost: Floats
    need: Floats
    time: Floats
    windowed: Flags
    alone: Floats

    def among(self, stage: Stage, left: Flags, ready_at: float, end_at: Floats) -> Figures:
        """The same without some choices and places, and with no start before an instant and no end after one.

        Args:
            left: ``[choices, places]``.
            end_at: ``[choices]``.
        """
        cost, need, time = (np.where(left, each, np.inf) for each in (self.cost, self.need, self.time))
        alone = self.alone.copy()
        for choice in np.flatnonzero(left.any(axis=1) & self.windowed).tolist():
            option, earliest_at = stage.options[choice], max(ready_at, stage.options[choice].free_at)
            figures = option.durations, option.high_s, stage.devices, option.egress_micro
            latest_at = float(end_at[choice]) - option.high_s
            more = least_total(option.price, *figures, earliest_at, latest_at)
            grown = np.maximum(np.array(more) - alone[choice], 0.0)
            alone[choice] += grown
            cost[choice] += grown[0]
            need[choice] += grown[1]
        return Figures(cost, need, time, self.windowed, alone)


class Links:
    """What it takes to move a byte between sites, ``[sites, sites] float64`` as [where it is read, where it lies]."""

    def __init__(self, problem: Problem) -> None:
        mbps = np.array([site.bandwidth_mbps for site in problem.sites])
        micro_per_gb = np.array([float(site.egress_micro_per_gb) for site in problem.sites])
        away = 1.0 - np.eye(len(problem.sites))
        self.seconds = away * 8 / (np.minimum(mbps[:, None], mbps) * 1e6)
        self.micro = away * micro_per_gb / BYTES_PER_GB


def figures_of(problem: Problem, stage: Stage, primary: int, links: Links) -> Figures:
    """The figures of a stage that is charged for the way from its primary input."""
    cost, need, time, rate = _alone(stage, problem.now_at)
    windowed = np.array([bool(option.price.windows) for option in stage.options])
    alone = np.hstack([cost, need])
    if primary == OUTSIDE:
        return Figures(cost, need, time, windowed, alone)
    size, kept = dict(stage.parents)[primary], problem.stages[primary].kept
    here = np.array([option.site for option in stage.options], dtype=np.intp)
    seconds, egress = size * links.seconds[here], size * links.micro[here]
    if kept != OUTSIDE:
        seconds, egress = seconds[:, kept : kept + 1], egress[:, kept : kept + 1]
        seconds, egress = (np.repeat(each, len(problem.sites), axis=1) for each in (seconds, egress))
    # Each amount is rounded up once: less than one micro-dollar of two roundings may be counted twice.
    machine = np.maximum(0.0, rate * seconds - 1.0)
    return Figures(
        cost + egress + machine,
        need + egress + np.maximum(0.0, _MARGIN * machine - 1.0),
        time + seconds,
        windowed,
        alone,
    )


def _alone(stage: Stage, now_at: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Least cost, need, seconds, and micro-dollars per second, when no input has to be moved: ``[choices, 1]``."""
    rows = [
        (
            option.price.micro_per_hour * stage.devices,
            min((window.factor for window in option.price.windows), default=1.0),
            bool(option.price.windows),
            option.durations.machine_s,
            option.high_s,
            option.high_s - option.durations.handover_s,
            option.egress_micro,
            0.0 if stage.parents else option.free_at - now_at,
        )
        for option in stage.options
    ]
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), 8).T[:, :, None]
    per_hour, factor, windows, machine_s, high_s, paid_s, egress, wait_s = columns
    cost, paid = (np.ceil(per_hour * seconds / SECONDS_PER_HOUR - 1e-6) for seconds in (machine_s, paid_s))
    need = np.ceil(np.maximum(cost, paid) * (100 + CAP_MARGIN_PERCENT) / 100)
    # At the lowest price of its windows, where nothing is rounded.
    per_s = per_hour * np.minimum(1.0, factor) / SECONDS_PER_HOUR
    cost = np.where(windows > 0.0, np.maximum(0.0, per_s * machine_s - 1), cost)
    need = np.where(windows > 0.0, np.maximum(0.0, _MARGIN * per_s * paid_s - 2), need)
    return cost + egress, need + egress, high_s + wait_s, per_s

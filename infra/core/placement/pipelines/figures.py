"""What the stages of a pipeline cost and take at least, at each of their options and for each place of the primary input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from infra.core.placement.costing import CAP_MARGIN_PERCENT, least_total
from infra.core.placement.pipelines.arrays import Flags, Floats, Whole
from infra.core.placement.pipelines.forest import Forest
from infra.core.placement.pipelines.problem import OUTSIDE, Option, Problem, Stage
from infra.core.units import BYTES_PER_GB, SECONDS_PER_HOUR

_MARGIN = (100 + CAP_MARGIN_PERCENT) / 100


@dataclass(frozen=True, slots=True)
class Figures:
    """Least cost, need and seconds, ``[stages, choices, places] float64``; infinite where something is left out.

    Attributes:
        windowed: Whether the price has windows: ``[stages, choices]``.
        alone: Cost and need that the first two are made from, without moves of results: ``[stages, choices, 2]``.
    """

    cost: Floats
    need: Floats
    time: Floats
    windowed: Flags
    alone: Floats

    def among(self, problem: Problem, left: Flags, ready_at: Floats, end_at: Floats) -> Figures:
        """The same without some choices and places, and with no start before an instant and no end after one.

        Args:
            left: ``[stages, choices, places]``.
            ready_at: ``[stages]``.
            end_at: ``[stages, choices]``.
        """
        cost, need, time = (np.where(left, each, np.inf) for each in (self.cost, self.need, self.time))
        alone = self.alone.copy()
        for index, choice in np.argwhere(left.any(axis=2) & self.windowed).tolist():
            stage = problem.stages[index]
            option, earliest_at = stage.options[choice], max(float(ready_at[index]), stage.options[choice].free_at)
            figures = option.durations, option.high_s, stage.devices, option.egress_micro
            latest_at = float(end_at[index, choice]) - option.high_s
            more = least_total(option.price, *figures, earliest_at, latest_at)
            grown = np.maximum(np.array(more) - alone[index, choice], 0.0)
            alone[index, choice] += grown
            cost[index, choice] += grown[0]
            need[index, choice] += grown[1]
        return Figures(cost, need, time, self.windowed, alone)


class Links:
    """What it takes to move a byte between sites, ``[sites, sites] float64`` as [where it is read, where it lies]."""

    def __init__(self, problem: Problem) -> None:
        mbps = np.array([site.bandwidth_mbps for site in problem.sites])
        micro_per_gb = np.array([float(site.egress_micro_per_gb) for site in problem.sites])
        away = 1.0 - np.eye(len(problem.sites))
        self.seconds = away * 8 / (np.minimum(mbps[:, None], mbps) * 1e6)
        self.micro = away * micro_per_gb / BYTES_PER_GB


def sites_of(problem: Problem, most: int) -> Whole:
    """Index of the site of each option, ``[stages, most]``; 0 where there is none."""
    return np.array(
        [
            [option.site for option in stage.options] + [0] * (most - len(stage.options))
            for stage in problem.stages
        ],
        dtype=np.int64,
    )  # fmt: skip


def figures_of(problem: Problem, forest: Forest, sites: Whole, links: Links) -> Figures:
    """The figures of stages that are charged for the way from their primary inputs.

    Args:
        sites: From :func:`sites_of`.
    """
    stages, most = sites.shape
    cost, need, time, per_s, windowed = _alone(problem, most)
    alone = np.stack((cost, need), axis=2)
    sizes = np.array(
        [dict(stage.parents).get(at, 0) for stage, at in zip(problem.stages, forest.primary.tolist(), strict=True)]
    )
    # Where the primary input lies, if the site that keeps it is known: [stages, places].
    lies_at = np.broadcast_to(np.arange(len(problem.sites)), (stages, len(problem.sites))).copy()
    for index, primary in enumerate(forest.primary.tolist()):
        if primary != OUTSIDE and problem.stages[primary].kept != OUTSIDE:
            lies_at[index] = problem.stages[primary].kept
    seconds = sizes[:, None, None] * links.seconds[sites[:, :, None], lies_at[:, None, :]]
    egress = sizes[:, None, None] * links.micro[sites[:, :, None], lies_at[:, None, :]]
    # Each amount is rounded up once: less than one micro-dollar of two roundings may be counted twice.
    machine = np.maximum(0.0, per_s[:, :, None] * seconds - 1.0)
    return Figures(
        cost[:, :, None] + egress + machine,
        need[:, :, None] + egress + np.maximum(0.0, _MARGIN * machine - 1.0),
        time[:, :, None] + seconds,
        windowed,
        alone,
    )


_NO_OPTION = (0.0, 1.0, 0.0, 0.0, 0.0, 0.0, np.inf, np.inf)


def _alone(problem: Problem, most: int) -> tuple[Floats, Floats, Floats, Floats, Flags]:
    """Least cost, need, seconds, and micro-dollars per second, when no input has to be moved, and whether the price has windows:
    ``[stages, most]``."""
    rows = [
        row
        for stage in problem.stages
        for row in (
            *[_row(stage, option, problem.now_at) for option in stage.options],
            *[_NO_OPTION] * (most - len(stage.options)),
        )
    ]
    columns = np.array(rows).reshape(len(problem.stages), most, len(_NO_OPTION))
    per_hour, factor, windows, machine_s, high_s, paid_s, egress, wait_s = np.moveaxis(columns, 2, 0)
    cost, paid = (np.ceil(per_hour * seconds / SECONDS_PER_HOUR - 1e-6) for seconds in (machine_s, paid_s))
    need = np.ceil(np.maximum(cost, paid) * (100 + CAP_MARGIN_PERCENT) / 100)
    # At the lowest price of its windows, where nothing is rounded.
    per_s = per_hour * np.minimum(1.0, factor) / SECONDS_PER_HOUR
    windowed = windows > 0.0
    cost = np.where(windowed, np.maximum(0.0, per_s * machine_s - 1), cost)
    need = np.where(windowed, np.maximum(0.0, _MARGIN * per_s * paid_s - 2), need)
    return cost + egress, need + egress, high_s + wait_s, per_s, windowed


def _row(stage: Stage, option: Option, now_at: float) -> tuple[float, ...]:
    price, durations = option.price, option.durations
    return (
        price.micro_per_hour * stage.devices,
        min([window.factor for window in price.windows]) if price.windows else 1.0,
        bool(price.windows),
        durations.machine_s,
        option.high_s,
        option.high_s - durations.handover_s,
        option.egress_micro,
        0.0 if stage.parents else option.free_at - now_at,
    )

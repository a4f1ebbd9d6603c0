"""Least figures of a pipeline from its last stages up, compiled: the bounds of the search are made of nothing else.

Each stage with inputs hangs below one of them, its primary input, so the stages form a forest. Arrays are padded to the most
options of any stage, and to one column for each site even where a stage has no input; what is left out, or is no option at all, has
infinite figures.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from infra.core.placement.pipelines.arrays import Flags, Floats, Whole
from infra.core.placement.pipelines.problem import OUTSIDE


class Forest(NamedTuple):
    """What hangs where.

    Attributes:
        primary: Primary input of each stage, or ``OUTSIDE``: ``[stages]``.
        kept: Where the result of a stage at an option lies: ``[stages, choices]``.
        waits: Whether a stage (first index) has another one (second index) as an input: ``[stages, stages] bool``.
    """

    primary: Whole
    kept: Whole
    waits: Flags


@njit(cache=True)
def upwards(forest: Forest, here: Floats, tolls: Floats, sums: bool) -> tuple[Floats, Floats]:
    """Totals from the last stages up: of sums (money), or of longest paths (time).

    Args:
        here: ``[stages, choices, places]``; of sums, less the tolls that a stage gets back.
        tolls: Of inputs that are not primary: ``[stage that reads, stage that makes, places]``; for sums only.

    Returns:
        What hangs below each choice, ``[stages, choices]``, and the least of a stage with it, ``[stages, places]``.
    """
    stages, choices, places = here.shape
    below = np.zeros((stages, choices))
    least = np.full((stages, places), np.inf)
    for index in range(stages - 1, -1, -1):
        for child in range(index + 1, stages):
            if not forest.waits[child, index]:
                continue
            if forest.primary[child] == index:
                for choice in range(choices):
                    value = least[child, forest.kept[index, choice]]
                    below[index, choice] = below[index, choice] + value if sums else max(below[index, choice], value)
            elif sums:
                for choice in range(choices):
                    below[index, choice] += tolls[child, index, forest.kept[index, choice]]
            else:
                value = least[child].min()
                for choice in range(choices):
                    below[index, choice] = max(below[index, choice], value)
        for choice in range(choices):
            for place in range(places):
                value = here[index, choice, place] + below[index, choice]
                if value < least[index, place]:
                    least[index, place] = value
    return below, least


@njit(cache=True)
def root(forest: Forest, least: Floats) -> float:
    """Least figure of the whole pipeline, of sums."""
    total = 0.0
    for index in range(least.shape[0]):
        if forest.primary[index] == OUTSIDE:
            total += least[index, 0]
    return total


@njit(cache=True)
def best_price(
    forest: Forest, money: Floats, seconds: Floats, tolls: Floats, prices: Floats, left_s: float
) -> tuple[float, int]:
    """The highest bound of the whole pipeline that a price of a second gives, and which of the prices that is.

    Args:
        seconds: Of a stage times the flow through it; finite: ``[stages, choices, places]``.
    """
    highest, best = -np.inf, 0
    for place in range(prices.size):
        _, least = upwards(forest, money + prices[place] * seconds, tolls, True)
        bound = root(forest, least) - prices[place] * left_s
        if bound > highest:
            highest, best = bound, place
    return highest, best


@njit(cache=True)
def totals(forest: Forest, here: Floats, below: Floats, least: Floats) -> Floats:
    """Least figure of the whole pipeline with a stage at each option and its primary input at each place, of sums:
    ``[stages, choices, places]``."""
    stages, choices, places = here.shape
    found = np.empty(here.shape)
    whole = root(forest, least)
    others = np.empty(places)
    for index in range(stages):
        primary = forest.primary[index]
        if primary == OUTSIDE:
            others[:] = whole - least[index, 0]
        else:
            others[:] = np.inf
            for choice in range(choices):
                place = forest.kept[primary, choice]
                without = found[primary, choice].min() - least[index, place]
                if without < others[place]:  # infinite less infinite is not: of what is left out already
                    others[place] = without
        for choice in range(choices):
            for place in range(places):
                found[index, choice, place] = here[index, choice, place] + others[place] + below[index, choice]
    return found


@njit(cache=True)
def earliest(forest: Forest, time: Floats, below: Floats, now_at: float) -> tuple[Floats, Floats]:
    """When the inputs of each stage are there at the earliest, ``[stages]``, and when the pipeline ends at the earliest with the
    stage at each of its options and its primary input at each place: ``[stages, choices, places]``.

    Args:
        time, below: From :func:`upwards` of seconds.
    """
    stages, choices, places = time.shape
    starts, ends = np.empty(stages), np.empty(time.shape)
    finish_at = np.empty((stages, choices))
    begin_at = np.empty(places)
    for index in range(stages):
        ready_at = now_at
        for parent in range(index):
            if forest.waits[index, parent]:
                ready_at = max(ready_at, finish_at[parent].min())
        begin_at[:] = ready_at
        primary = forest.primary[index]
        if primary != OUTSIDE:
            begin_at[:] = np.inf
            for choice in range(choices):
                place = forest.kept[primary, choice]
                begin_at[place] = min(begin_at[place], max(ready_at, finish_at[primary, choice]))
        starts[index] = begin_at.min()
        for choice in range(choices):
            finish_at[index, choice] = np.inf
            for place in range(places):
                end_at = begin_at[place] + time[index, choice, place]
                finish_at[index, choice] = min(finish_at[index, choice], end_at)
                ends[index, choice, place] = end_at + below[index, choice]
    return starts, ends


@njit(cache=True)
def best_options(forest: Forest, here: Floats, below: Floats, seconds: Floats) -> Whole:
    """The options that come to the least figure of the whole pipeline, of sums; of equal ones the fastest: ``[stages]``."""
    stages, choices, _ = here.shape
    found = np.zeros(stages, dtype=np.int64)
    for index in range(stages):
        primary = forest.primary[index]
        at = 0 if primary == OUTSIDE else forest.kept[primary, found[primary]]
        least, fastest = np.inf, np.inf
        for choice in range(choices):
            figure, time = here[index, choice, at] + below[index, choice], seconds[index, choice, at]
            if figure < least or (figure == least and time < fastest):
                least, fastest, found[index] = figure, time, choice
    return found

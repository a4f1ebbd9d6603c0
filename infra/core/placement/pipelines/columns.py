"""What the compiled search of pipelines looks at, and what it says, as arrays. Those over options are padded to the most options
of any stage."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from infra.core.placement.pipelines.arrays import Flags, Floats, Whole
from infra.core.placement.pipelines.forest import Forest

COMPILED_WITH = {
    "infra.core.placement.pipelines.forest": "c4d3f2797ece",
}
"""Digests of the compiled modules that this one calls: a change of theirs must change this file, and with it its cache."""


class Facts(NamedTuple):
    """The facts of a problem.

    Attributes:
        sizes: Bytes that a stage (first index) reads of another one's result: ``[stages, stages]``.
        rivals: Whether two stages may run at the same time: ``[stages, stages]``.
        devices, latest_at, budget_micro: Of a stage: what it wants, by when it has to end, what it may need: ``[stages]``.
        punctual: Whether a stage has to start now or not at all: ``[stages]``.
        sites, rows: Of an option: ``[stages, choices]``.
        free_at: From when on enough of its devices are free of the runs that are there already: ``[stages, choices]``.
        windowed: Whether its price has windows: ``[stages, choices]``.
        slope: Micro-dollars for a second at the dearest instead of at the cheapest time of a day: ``[stages, choices]``.
        groups: When so many stages are placed (first index): the first of those that the same stages wait for as for
            this one, or ``OUTSIDE`` when nobody waits for it any more: ``[stages + 1, stages]``.
        free: Devices that no run has that is there already: ``[rows]``.
        held, held_until_at: Devices that such runs have, and until when: ``[rows, runs]``, padded with 0.
        seconds, micro: For a byte from a site (second index) to another one: ``[sites, sites]``.
    """

    now_at: float
    forest: Forest
    sizes: Floats
    rivals: Flags
    devices: Whole
    latest_at: Floats
    budget_micro: Floats
    punctual: Flags
    sites: Whole
    rows: Whole
    free_at: Floats
    windowed: Flags
    slope: Floats
    groups: Whole
    free: Whole
    capacity: Whole
    held: Whole
    held_until_at: Floats
    seconds: Floats
    micro: Floats


class Sums(NamedTuple):
    """Tables of least money: of costs first, then those of needs, if they are looked at, and those that price time.

    Attributes:
        of_cost: Whether it is of costs, rather than of needs: ``[tables]``.
        here, below, least: See :class:`Table`; the tables are the first index.
        price: Of a second of a unit of flow, or nothing: ``[tables]``.
        flow: From a stage, or from nowhere (last index), to another one: ``[tables, stages + 1, stages]``.
    """

    of_cost: Flags
    here: Floats
    below: Floats
    least: Floats
    price: Floats
    flow: Floats


class Outlook(NamedTuple):
    """What a search knows of the rest of a plan.

    Attributes:
        timed, by_need: Whether the finish is made least, or the need; else it is the cost.
        trace_s: Sums of seconds in another order may differ by less than this.
        scarce: Options that others may want too many devices of: ``[stages, choices]``.
        wants: Whether a stage has such an option at an offer: ``[stages, rows]``.
        left: How many options each stage has left: ``[stages]``; and which they are, first in ``choices``: ``[stages, choices]``.
        order: Options by ``least``, with the primary input at a place: ``[stages, places, choices]``.
        least: The least that they and everything below come to, of what is made least, in that order.
        seconds: Least seconds of an option: ``[stages, choices, places]``; ``fastest``: at any place, ``[stages, choices]``.
        seconds_below: Of what hangs below it, ``[stages, choices]``; ``seconds_left``: of a stage with it, ``[stages, places]``.
        tolls: Micro-dollars as ``[stage that reads, stage that makes, places]``.
        windowed: How many of the stages from one on may be at a price with windows: ``[stages + 1]``.
        slope_micro: How much more all of them together may cost for each second by which they start earlier, likewise.
    """

    timed: bool
    by_need: bool
    trace_s: float
    deadline_at: float
    money_micro: float
    scarce: Flags
    wants: Flags
    left: Whole
    choices: Whole
    order: Whole
    least: Floats
    seconds: Floats
    seconds_below: Floats
    seconds_left: Floats
    fastest: Floats
    sums: Sums
    tolls: Floats
    windowed: Whole
    slope_micro: Floats


class Path(NamedTuple):
    """One label, unrolled: by stage."""

    choice: Whole
    place: Whole
    row: Whole
    start_at: Floats
    finish_at: Floats
    slips: Flags
    loose: Flags


def no_path(stages: int) -> Path:
    whole, floats, flags = (np.zeros((3, stages), dtype=kind) for kind in (np.int64, np.float64, np.bool_))
    return Path(*whole, *floats[:2], *flags[:2])


class Talk(NamedTuple):
    """What the search and who works things out for it tell each other.

    Attributes:
        path: The first label.
        ceiling: What is worse is left out; the two figures of a key.
        choice: Options of the next stage of the first label that may lead to the best plan: ``[choices]``.
        run: Their runs; ``OUTSIDE`` where one is not known, or where starts have to be worked out for each label, because the price
            has windows.
        loose: Of these: whether it may have to start later than at first.
        ways: Option of each start that was worked out for the first label: ``[ways]``.
        start_at, high_s, cost_micro, needed_micro: Likewise.
        counts: ``[6]``: see the names of its places.
    """

    path: Path
    ceiling: Floats
    choice: Whole
    run: Whole
    loose: Flags
    ways: Whole
    start_at: Floats
    high_s: Floats
    cost_micro: Whole
    needed_micro: Whole
    counts: Whole


LABEL, OPTIONS, WAYS, AGAIN, ASKED, ENOUGH = range(6)
"""Places of the counts: the first label, how many options it has, how many ways were worked out for it, whether a complete label
goes back among the others, the label for which something was asked, and whether the search is to end."""


def no_talk(stages: int, choices: int, ways: int) -> Talk:
    """Room for so many."""
    return Talk(
        path=no_path(stages),
        ceiling=np.full(2, np.inf),
        choice=np.zeros(choices, dtype=np.int64),
        run=np.zeros(choices, dtype=np.int64),
        loose=np.zeros(choices, dtype=np.bool_),
        ways=np.zeros(ways, dtype=np.int64),
        start_at=np.zeros(ways),
        high_s=np.zeros(ways),
        cost_micro=np.zeros(ways, dtype=np.int64),
        needed_micro=np.zeros(ways, dtype=np.int64),
        counts=np.zeros(6, dtype=np.int64),
    )

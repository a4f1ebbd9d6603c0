"""What a label comes to at least: its money, by each table, and when the pipeline ends with it; compiled.

Bounds charge each stage for the way from its primary input only. Here the others are charged too, as far as they have their place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from infra.core.placement.pipelines.arrays import INNER, Floats
from infra.core.placement.pipelines.columns import Facts, Outlook, Path, Talk
from infra.core.placement.pipelines.labels import Labels, ready_at_of
from infra.core.placement.pipelines.objective import whole
from infra.core.placement.pipelines.problem import OUTSIDE

COMPILED_WITH = {
    "infra.core.placement.pipelines.columns": "5822dc01e928",
    "infra.core.placement.pipelines.labels": "ece0a99e8ac1",
    "infra.core.placement.pipelines.objective": "e3f0afc6f86a",
}
"""Digests of the compiled modules that this one calls: a change of theirs must change this file, and with it its cache."""


class View(NamedTuple):
    """What a label comes to at least, by each table of money.

    Attributes:
        every: Micro-dollars, with all stages whose primary input is there; ``rest``: without the next stage: ``[tables]``.
        owed_s, rest_owed_s: Seconds until the deadline to set against them, where time is priced: ``[tables]``.
        own: Of each stage and what hangs below it: ``[tables, stages]``.
        seconds: From the start of a stage at an option to the end of the pipeline, as its inputs lie: ``[stages, choices]``.
        micro: By how much its inputs other than the primary one make it dearer than bounds say: ``[stages, choices]``.
    """

    every: Floats
    rest: Floats
    owed_s: Floats
    rest_owed_s: Floats
    own: Floats
    seconds: Floats
    micro: Floats


@njit(**INNER)
def no_view(outlook: Outlook) -> View:
    tables, stages, choices, _ = outlook.sums.here.shape
    by_table, by_choice = np.zeros((4, tables)), np.zeros((2, stages, choices))
    own = np.zeros((tables, stages))
    return View(by_table[0], by_table[1], by_table[2], by_table[3], own, by_choice[0], by_choice[1])


@njit(**INNER)
def _joins(facts: Facts, depth: int, index: int) -> bool:
    """Whether an input of a stage is there that is not its primary one."""
    found = False
    for source in range(depth):
        found |= facts.forest.waits[index, source] and source != facts.forest.primary[index]
    return found


@njit(**INNER)
def look(facts: Facts, outlook: Outlook, labels: Labels, label: int, path: Path, view: View) -> None:
    """Write to the view what a label comes to at least."""
    depth, stages, sums = labels.depth[label], facts.devices.size, outlook.sums
    tables, tolls, own_tolls = sums.price.size, 0.0, 0.0
    for source in range(depth):
        own_tolls += outlook.tolls[depth, source, path.place[source]]
        for reader in range(depth + 1, stages):
            tolls += outlook.tolls[reader, source, path.place[source]]
    for table in range(tables):
        view.rest[table] = (labels.cost_micro[label] if sums.of_cost[table] else labels.needed_micro[label]) + tolls
        view.every[table] = view.rest[table] + own_tolls
        view.owed_s[table] = view.rest_owed_s[table] = 0.0
        if sums.price[table] > 0.0:
            for source in range(-1, depth):
                left_s = outlook.deadline_at - (facts.now_at if source == OUTSIDE else path.finish_at[source])
                view.owed_s[table] += sums.flow[table, source, depth] * left_s
                for index in range(depth + 1, stages):
                    view.rest_owed_s[table] += sums.flow[table, source, index] * left_s
            view.owed_s[table] += view.rest_owed_s[table]
    for index in range(depth, stages):
        primary, joins = facts.forest.primary[index], _joins(facts, depth, index)
        if joins:
            _move(facts, outlook, depth, index, path, view)
        for table in range(tables if primary < depth else 0):
            if not joins:
                view.own[table, index] = sums.least[table, index, 0 if primary == OUTSIDE else path.place[primary]]
            view.every[table] += view.own[table, index]
            if index > depth:
                view.rest[table] += view.own[table, index]


@njit(**INNER)
def _move(facts: Facts, outlook: Outlook, depth: int, index: int, path: Path, view: View) -> None:
    """Write to the view what a stage takes at least, an input of which is there that is not its primary one."""
    primary, sums = facts.forest.primary[index], outlook.sums
    known, ready_at = primary < depth, ready_at_of(facts, depth, index, path)
    view.own[:, index] = np.inf
    for left in range(outlook.left[index]):
        choice = outlook.choices[index, left]
        seconds = outlook.seconds[index, choice, path.place[primary]] if known else outlook.fastest[index, choice]
        seconds, micro, site = seconds + outlook.seconds_below[index, choice], 0.0, facts.sites[index, choice]
        for source in range(depth):
            if facts.forest.waits[index, source] and source != primary:
                place, size = path.place[source], facts.sizes[index, source]
                seconds += size * facts.seconds[site, place]
                micro += size * facts.micro[site, place]
                micro += outlook.tolls[index, source, site] - outlook.tolls[index, source, place]
        view.seconds[index, choice], view.micro[index, choice] = seconds, micro
        if known and seconds < np.inf and ready_at + seconds - outlook.trace_s <= outlook.deadline_at:
            for table in range(sums.price.size):
                figure = sums.here[table, index, choice, path.place[primary]] + sums.below[table, index, choice]
                view.own[table, index] = min(view.own[table, index], figure + micro)


@njit(**INNER)
def least_end_at(facts: Facts, outlook: Outlook, depth: int, talk: Talk, view: View) -> float:
    """When the pipeline ends at the earliest with a label, as far as can be said before its next stage is placed."""
    end_at, path = 0.0, talk.path
    for index in range(depth, facts.devices.size):
        primary = facts.forest.primary[index]
        ready_at = ready_at_of(facts, depth, index, path)
        if _joins(facts, depth, index):
            least_s = np.inf
            for left in range(outlook.left[index]):
                choice = outlook.choices[index, left]
                if view.seconds[index, choice] < least_s and not _too_dear(
                    facts, outlook, depth, index, choice, talk, view
                ):
                    least_s = view.seconds[index, choice]
            end_at = max(end_at, ready_at + least_s)
        elif primary < depth:
            at = 0 if primary == OUTSIDE else path.place[primary]
            end_at = max(end_at, ready_at + outlook.seconds_left[index, at])
    return end_at - outlook.trace_s


@njit(**INNER)
def _too_dear(facts: Facts, outlook: Outlook, depth: int, index: int, choice: int, talk: Talk, view: View) -> bool:
    """Whether a label is above the ceiling with a stage at an option, an input of which is there that is not its primary one."""
    sums, primary = outlook.sums, facts.forest.primary[index]
    if outlook.timed or talk.ceiling[0] == np.inf:
        return False
    for table in range(sums.price.size):
        if sums.of_cost[table] == outlook.by_need:
            continue
        more = view.micro[index, choice]
        if primary < depth:
            more += sums.here[table, index, choice, talk.path.place[primary]] + sums.below[table, index, choice]
            more -= view.own[table, index]
        bound = view.every[table] + more
        if sums.price[table] > 0.0:
            bound -= sums.price[table] * view.owed_s[table]
        if whole(bound) > talk.ceiling[0]:
            return True
    return False


@njit(**INNER)
def least_money(outlook: Outlook, micro: Floats, owed_s: Floats) -> tuple[float, float]:
    """The least cost and need that the tables say."""
    cost = need = 0.0
    for table in range(micro.size):
        bound = micro[table]
        if outlook.sums.price[table] > 0.0:
            bound -= outlook.sums.price[table] * owed_s[table]
        if outlook.sums.of_cost[table]:
            cost = max(cost, whole(bound))
        else:
            need = max(need, whole(bound))
    return cost, need


@njit(**INNER)
def crowded_end_at(
    facts: Facts, outlook: Outlook, depth: int, path: Path, choice: int, start_at: float, finish_at: float
) -> float:
    """When the pipeline ends at the earliest because of what its stages want of the devices of one offer."""
    row = facts.rows[depth, choice]
    starts, works, after_s = np.empty(depth + 1), np.empty(depth + 1), np.empty(depth + 1)
    devices, count = facts.devices[depth], 1
    starts[0], works[0] = start_at, facts.devices[depth] * (finish_at - start_at)
    after_s[0] = outlook.seconds_below[depth, choice]
    for index in range(depth):
        if path.row[index] == row:
            devices += facts.devices[index]
            starts[count] = path.start_at[index]
            works[count] = facts.devices[index] * (path.finish_at[index] - path.start_at[index])
            after_s[count] = outlook.seconds_below[index, path.choice[index]]
            count += 1
    if count == 1 or devices <= facts.free[row]:
        return 0.0
    end_at, work, least_after_s = 0.0, 0.0, np.inf
    for place in np.argsort(-starts[:count], kind="mergesort"):
        work += works[place]
        least_after_s = min(least_after_s, after_s[place])
        end_at = max(end_at, _done_at(facts, row, starts[place], work) + least_after_s)
    return end_at


@njit(**INNER)
def _done_at(facts: Facts, row: int, at: float, work: float) -> float:
    """When so many device-seconds can be done at the earliest beside the runs that are there already."""
    while True:
        free, back_at = facts.capacity[row], np.inf
        for run in range(facts.held.shape[1]):
            if facts.held_until_at[row, run] > at:
                free -= facts.held[row, run]
                back_at = min(back_at, facts.held_until_at[row, run])
        free = max(0, free)
        if back_at == np.inf or free * (back_at - at) >= work:
            return at + work / free if work > 0.0 else at
        work -= free * (back_at - at)
        at = back_at

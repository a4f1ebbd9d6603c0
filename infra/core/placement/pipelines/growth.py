"""Labels that are taken up: the next stage at each option and start that may still lead to the best plan; compiled.

What a stage costs and takes is worked out by the functions that decide a single run, which are not compiled. So whenever
something is wanted that was not worked out before, the search asks for it and goes on with the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import njit

from infra.core.placement.pipelines.arrays import INNER
from infra.core.placement.pipelines.columns import (
    AGAIN,
    ASKED,
    ENOUGH,
    LABEL,
    OPTIONS,
    WAYS,
    Facts,
    Outlook,
    Path,
    Talk,
)
from infra.core.placement.pipelines.dominance import dominated
from infra.core.placement.pipelines.labels import (
    FRESH,
    HEAPED,
    MADE,
    TAKEN,
    Labels,
    pop,
    push,
    ready_at_of,
    unroll,
)
from infra.core.placement.pipelines.least import (
    View,
    crowded_end_at,
    least_end_at,
    least_money,
    look,
    no_view,
)
from infra.core.placement.pipelines.objective import is_worse, whole
from infra.core.placement.pipelines.problem import OUTSIDE
from infra.core.placement.pipelines.runs import Runs, enter, find_run

COMPILED_WITH = {
    "infra.core.placement.pipelines.columns": "5822dc01e928",
    "infra.core.placement.pipelines.dominance": "6d270714afb3",
    "infra.core.placement.pipelines.labels": "ece0a99e8ac1",
    "infra.core.placement.pipelines.least": "169dd3d29ce7",
    "infra.core.placement.pipelines.objective": "e3f0afc6f86a",
    "infra.core.placement.pipelines.runs": "4f3ade02bd0e",
}
"""Digests of the compiled modules that this one calls: a change of theirs must change this file, and with it its cache."""

COMPLETE, ASKS, TOO_MANY, NO_ROOM, _EXHAUSTED = range(5)
"""Why a search stops: the first label has all stages; something has to be worked out for it; too many were taken up; there is no
room for more; no label is left."""


class _Ahead(NamedTuple):
    """How far a label is taken up: how many options, and the position and key of the first that was not tried."""

    options: int
    position: int
    first: float


@njit(cache=True)
def taking_up(
    facts: Facts, outlook: Outlook, labels: Labels, runs: Runs, talk: Talk, other_path: Path, most: int
) -> Iterator[int]:
    """Take up labels, the first one first, and stop whenever somebody else is needed; ends when no label is left.

    Args:
        other_path: Is overwritten.
        most: Labels that may be taken up.
    """
    view = no_view(outlook)
    talk.counts[ASKED], talk.counts[ENOUGH] = OUTSIDE, False
    why = _next_stop(facts, outlook, labels, runs, talk, view, other_path, most)
    while why != _EXHAUSTED:
        yield why
        if talk.counts[ENOUGH]:
            return
        if why == COMPLETE and talk.counts[AGAIN]:
            push(labels, talk.counts[LABEL])
        why = _next_stop(facts, outlook, labels, runs, talk, view, other_path, most)


@njit(**INNER)
def _next_stop(
    facts: Facts,
    outlook: Outlook,
    labels: Labels,
    runs: Runs,
    talk: Talk,
    view: View,
    other_path: Path,
    most: int,
) -> int:
    """Take up labels until somebody else is needed, or none is left."""
    stages, path, told = facts.devices.size, talk.path, talk.counts
    enter(runs)
    while labels.counts[HEAPED]:
        label = labels.heap[0]
        depth = labels.depth[label]
        told[LABEL], told[AGAIN] = label, False
        unroll(facts, labels, label, path)
        if depth == stages:
            pop(labels)
            return COMPLETE
        fresh = labels.position[label] == FRESH
        if label != told[ASKED]:
            labels.counts[TAKEN] += 1  # a label that is taken up again counts again
            told[WAYS] = 0
            if labels.counts[TAKEN] > most:
                return TOO_MANY
            if fresh and dominated(facts, outlook, labels, label, path, other_path):
                pop(labels)
                continue
            labels.position[label] = max(0, labels.position[label])
        look(facts, outlook, labels, label, path, view)
        end_at = max(labels.end_at[label], least_end_at(facts, outlook, depth, talk, view))
        cost, need = least_money(outlook, view.every, view.owed_s)
        if end_at > outlook.deadline_at or end_at == np.inf or need > outlook.money_micro or cost == np.inf:
            pop(labels)
            continue
        first, second = labels.first[label], labels.second[label]
        money = need if outlook.by_need else cost
        labels.first[label] = max(first, end_at if outlook.timed else money)
        labels.second[label] = max(second, money if outlook.timed else end_at)
        if fresh and (labels.first[label] > first or labels.second[label] > second):
            pop(labels)
            if not _is_above(talk, outlook, labels.first[label], labels.second[label]):
                push(labels, label)
            continue
        ahead = _options_of(facts, outlook, labels, label, runs, view, end_at, talk)
        if label != told[ASKED] and (talk.run[: ahead.options] == OUTSIDE).any():
            told[ASKED], told[OPTIONS] = label, ahead.options
            return ASKS
        if labels.counts[MADE] + ahead.options + told[WAYS] > labels.before.size:
            return NO_ROOM
        told[ASKED] = OUTSIDE
        pop(labels)
        _make(facts, outlook, labels, label, runs, view, end_at, ahead.options, talk)
        if ahead.first <= talk.ceiling[0] and ahead.first < np.inf:
            labels.first[label], labels.position[label] = ahead.first, ahead.position
            push(labels, label)
    return _EXHAUSTED


@njit(**INNER)
def _is_above(talk: Talk, outlook: Outlook, first: float, second: float) -> bool:
    """Whether something is worse than the ceiling."""
    return is_worse(outlook.timed, first, second, talk.ceiling[0], talk.ceiling[1])


@njit(**INNER)
def _options_of(
    facts: Facts,
    outlook: Outlook,
    labels: Labels,
    label: int,
    runs: Runs,
    view: View,
    end_at: float,
    talk: Talk,
) -> _Ahead:
    """Write the options of the next stage that can still come to the label's key, cheapest first."""
    depth, path = labels.depth[label], talk.path
    primary, ready_at = facts.forest.primary[depth], ready_at_of(facts, depth, depth, path)
    at = 0 if primary == OUTSIDE else path.place[primary]
    rest_first = view.rest[np.argmin(outlook.sums.of_cost) if outlook.by_need else 0]
    for source in range(depth):
        rest_first += outlook.tolls[depth, source, path.place[source]]
    key = np.empty(2 + facts.devices.size, dtype=np.int64)
    after_one, count = _after_one_that_slips(facts, depth, path), 0
    for position in range(labels.position[label], outlook.order.shape[2]):
        least, choice = outlook.least[depth, at, position], outlook.order[depth, at, position]
        first = max(end_at, ready_at + least - outlook.trace_s) if outlook.timed else whole(rest_first + least)
        if first > labels.first[label]:
            return _Ahead(count, position, first)
        least_end_at = ready_at + outlook.seconds[depth, choice, at] + outlook.seconds_below[depth, choice]
        if least_end_at - outlook.trace_s > outlook.deadline_at or least_end_at == np.inf:
            continue
        windowed = facts.windowed[depth, choice]
        run = OUTSIDE if windowed else find_run(facts, runs, depth, choice, path, key)
        talk.choice[count], talk.run[count] = choice, run
        talk.loose[count] = windowed and (after_one or outlook.scarce[depth, choice])
        count += 1
    return _Ahead(count, OUTSIDE, np.inf)


@njit(**INNER)
def _after_one_that_slips(facts: Facts, depth: int, path: Path) -> bool:
    """Whether one of the next stage's inputs may have to start later."""
    found = False
    for parent in range(depth):
        found |= facts.forest.waits[depth, parent] and path.slips[parent]
    return found


@njit(**INNER)
def _make(
    facts: Facts,
    outlook: Outlook,
    labels: Labels,
    label: int,
    runs: Runs,
    view: View,
    end_at: float,
    count: int,
    talk: Talk,
) -> None:
    """Make the labels of the options that were found."""
    depth = labels.depth[label]
    ready_at = ready_at_of(facts, depth, depth, talk.path)
    for place in range(count):
        choice, run = talk.choice[place], talk.run[place]
        if run == OUTSIDE:
            for way in range(talk.counts[WAYS]):
                if talk.ways[way] == choice:
                    money = (talk.cost_micro[way], talk.needed_micro[way])
                    figures = (choice, talk.start_at[way], talk.high_s[way], money, talk.loose[place])
                    _make_one(facts, outlook, labels, label, view, end_at, figures, talk)
            continue
        start_at = max(ready_at, facts.free_at[depth, choice])
        if runs.high_s[run] < np.inf and not (facts.punctual[depth] and start_at > facts.now_at):
            figures = (
                choice,
                start_at,
                runs.high_s[run],
                (runs.cost_micro[run], runs.needed_micro[run]),
                talk.loose[place],
            )
            _make_one(facts, outlook, labels, label, view, end_at, figures, talk)


@njit(**INNER)
def _make_one(
    facts: Facts,
    outlook: Outlook,
    labels: Labels,
    label: int,
    view: View,
    end_at: float,
    figures: tuple[int, float, float, tuple[int, int], bool],
    talk: Talk,
) -> None:
    """Make the label of an option and a start, if it can lead to the best plan.

    Args:
        figures: Option, start, high estimate of its seconds, cost and need, and whether it is loose.
    """
    choice, start_at, high_s, (cost, need), loose = figures
    depth, path, deadline_at = labels.depth[label], talk.path, outlook.deadline_at
    finish_at = start_at + high_s
    end = max(end_at, finish_at, finish_at + outlook.seconds_below[depth, choice] - outlook.trace_s)
    if finish_at > facts.latest_at[depth] or end > deadline_at or need > facts.budget_micro[depth]:
        return
    sums = outlook.sums
    least_cost, least_need = 0.0, float(labels.needed_micro[label] + need)
    for table in range(sums.price.size):
        bound = view.rest[table] + (cost if sums.of_cost[table] else need) + sums.below[table, depth, choice]
        if sums.price[table] > 0.0:
            left_s = view.rest_owed_s[table] + sums.flow[table, depth].sum() * (deadline_at - finish_at)
            bound -= sums.price[table] * left_s
        if sums.of_cost[table]:
            least_cost = max(least_cost, whole(bound))
        else:
            least_need = max(least_need, whole(bound))
    if least_need > outlook.money_micro:
        return
    if outlook.scarce[depth, choice]:
        end = max(end, crowded_end_at(facts, outlook, depth, path, choice, start_at, finish_at) - outlook.trace_s)
        if end > deadline_at:
            return
    money = least_need if outlook.by_need else least_cost
    first, second = (end, money) if outlook.timed else (money, end)
    if _is_above(talk, outlook, first, second):
        return
    made = labels.counts[MADE]
    labels.counts[MADE] += 1
    labels.before[made], labels.depth[made], labels.choice[made] = label, depth + 1, choice
    labels.start_at[made], labels.finish_at[made] = start_at, finish_at
    labels.slips[made] = outlook.scarce[depth, choice] or _after_one_that_slips(facts, depth, path)
    labels.loose[made] = loose
    labels.cost_micro[made] = labels.cost_micro[label] + cost
    labels.needed_micro[made] = labels.needed_micro[label] + need
    labels.end_at[made] = max(labels.end_at[label], finish_at)
    labels.first[made], labels.second[made], labels.position[made] = first, second, FRESH
    push(labels, made)

"""Labels that are taken up: the next stage at each offer and start that may still lead to the best plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add

from infra.core.placement.pipelines.bounds import Bounds
from infra.core.placement.pipelines.devices import Devices
from infra.core.placement.pipelines.labels import Depth, Flow, Label, flow_at
from infra.core.placement.pipelines.objective import TRACE_S, Key, Objective, whole
from infra.core.placement.pipelines.problem import OUTSIDE, Problem, Stage
from infra.core.placement.pipelines.schedule import Limits
from infra.core.placement.pipelines.tables import Table


@dataclass(slots=True)
class Ahead:
    """How far a label is taken up: only offers that can still come to ``first`` are tried, cheapest first.

    Attributes:
        first: Before: the label's key. After: the key of what was not tried; infinity when all was.
        position: Of the first offer that was not tried.
    """

    first: float
    position: int


class Growth:
    """One search's way from a label to the next ones.

    Args:
        choices, scarce: By stage, the options that are left, and those of them that other stages may want too.
        priced, priced_need: Tables that price time, if there is a deadline.
    """

    def __init__(
        self,
        problem: Problem,
        bounds: Bounds,
        objective: Objective,
        limits: Limits,
        choices: Sequence[Sequence[int]],
        scarce: Sequence[frozenset[int]],
        depths: Sequence[Depth],
        priced: Table | None,
        priced_need: Table | None,
    ) -> None:
        self._problem, self._bounds, self._objective = problem, bounds, objective
        self._choices, self._scarce, self._depths = choices, scarce, depths
        self._money = limits.money_micro
        self._deadline_at = math.inf if limits.deadline_at is None else limits.deadline_at
        self._by_need = objective is Objective.NEED
        self._plenty = bounds.plenty(self._money) and not self._by_need
        self._priced = priced
        self._flows = [
            (table, [flow_at(problem, table, index) for index in range(len(problem.stages))])
            for table in (priced, priced_need)
            if table is not None
        ]
        self._devices: dict[int, Devices] = {}
        self._orders: dict[tuple[int, int], list[tuple[float, int]]] = {}

    def end_of(self, label: Label, left_micro: float) -> float:
        """When the pipeline ends at the earliest with a label, as far as can be said before its next stage is placed.

        Args:
            left_micro: By how much the label may still become dearer.
        """
        facts, least = self._depths[len(label.choices)], self._bounds.time.least
        ends = []
        for each, source in facts.waiting:
            if source == OUTSIDE:
                ends.append(self._problem.now_at + least[each][0])
            else:
                ends.append(label.finishes[source] + least[each][label.places[source]])
        for join in facts.joins:
            seconds = join.seconds[0 if join.primary == OUTSIDE else label.places[join.primary]]
            more_micro = [0.0] * len(seconds)
            ready_at = 0.0 if join.primary == OUTSIDE else label.finishes[join.primary]
            for source, moving_s, egress in join.others:
                place = label.places[source]
                ready_at = max(ready_at, label.finishes[source])
                seconds = list(map(add, seconds, moving_s[place]))
                more_micro = list(map(add, more_micro, egress[place]))
            ends.append(
                ready_at
                + min(
                    [at for at, more in zip(seconds, more_micro, strict=True) if more <= left_micro], default=math.inf
                )
            )
        return max(label.end_at, max(ends, default=0.0) - TRACE_S)

    def children(self, label: Label, ahead: Ahead, end_at: float, ceiling: Key | None) -> list[tuple[Key, Label]]:
        """The label with its next stage at each offer and start, by the least that they can come to.

        Args:
            end_at: From :meth:`end_of`.
            ceiling: Those that can only be worse are left out.
        """
        problem, bounds, index = self._problem, self._bounds, len(label.choices)
        stage, facts, deadline_at = problem.stages[index], self._depths[index], self._deadline_at
        limit, ahead.first, position = ahead.first, math.inf, max(0, ahead.position)
        if end_at > deadline_at:
            return []
        places = tuple([label.places[parent] for parent, _ in stage.parents])
        ready_at = max([label.finishes[parent] for parent, _ in stage.parents], default=problem.now_at)
        primary = bounds.primary[index]
        at = 0 if primary == OUTSIDE else label.places[primary]
        tolls = sum([toll[label.places[source]] for source, toll in facts.tolls])
        rest_cost = label.cost_micro + tolls + self._waiting(bounds.cost, facts, label)
        rest_need = label.needed_micro + tolls + (0.0 if self._plenty else self._waiting(bounds.need, facts, label))
        own_tolls = sum([toll[label.places[source]] for source, toll in facts.own_tolls])
        rest_first = own_tolls + (rest_need if self._by_need else rest_cost)
        priced = [
            (table, flows[index].onward, *self._priced_rest(table, flows[index], facts, label))
            for table, flows in self._flows
        ]
        below_cost, below_time = bounds.cost.below[index], bounds.time.below[index]
        below_need = [] if self._plenty else bounds.need.below[index]
        least_time, options, scarce, rows = bounds.time.here[index], stage.options, self._scarce[index], label.rows
        own_deadline_at = deadline_at if stage.deadline_at is None else min(deadline_at, stage.deadline_at)
        by_finish, plenty, key_of = self._objective is Objective.FINISH, self._plenty, self._objective.key
        after_one = any(label.slips[parent] for parent, _ in stage.parents)
        ordered, found = self._ordered(index, at), []
        for place in range(position, len(ordered)):
            least, choice = ordered[place]
            at_least = max(end_at, ready_at + least - TRACE_S) if by_finish else whole(rest_first + least)
            if at_least > limit:
                ahead.first, ahead.position = at_least, place
                break
            after_s = below_time[choice]
            least_end_at = ready_at + least_time[choice][at] + after_s
            if least_end_at - TRACE_S > deadline_at or least_end_at == math.inf:
                continue
            run = problem.run(stage, choice, places)
            if run is None:
                continue
            starts = problem.starts(stage, choice, ready_at)
            slips = after_one or choice in scarce
            loose = slips and bool(options[choice].price.windows)
            for start_at in starts[:1] if loose else starts:
                finish_at = start_at + run.high_s
                end = max(end_at, finish_at, finish_at + after_s - TRACE_S)
                if finish_at > own_deadline_at or end > deadline_at:
                    continue
                if loose:
                    cost, need = problem.least_money(stage, choice, run, start_at, deadline_at - after_s)
                else:
                    cost, need = problem.money(stage, choice, run, start_at)
                if stage.budget_micro is not None and need > stage.budget_micro:
                    continue
                least_need = label.needed_micro + need if plenty else whole(rest_need + need + below_need[choice])
                least_cost = whole(rest_cost + cost + below_cost[choice])
                for table, onward, rest_priced, owed_s in priced:
                    of_cost = table is self._priced
                    left_s = owed_s + onward * (deadline_at - finish_at)
                    bound = rest_priced + (cost if of_cost else need) + table.below[index][choice]
                    bound = whole(bound - table.price * left_s)
                    if of_cost:
                        least_cost = max(least_cost, bound)
                    else:
                        least_need = max(least_need, bound)
                if least_need > self._money:
                    continue
                row = options[choice].row
                if choice in scarce and row in rows:
                    end = max(end, self._crowded_end(label, stage, choice, start_at, finish_at) - TRACE_S)
                    if end > deadline_at:
                        continue
                key = key_of(least_cost, least_need, end)
                if ceiling is not None and key.is_worse(ceiling):
                    continue
                child = Label(
                    (*label.choices, choice),
                    (*label.starts, start_at),
                    (*label.finishes, finish_at),
                    (*label.places, problem.place_of(index, options[choice].site)),
                    (*rows, row),
                    label.cost_micro + cost,
                    label.needed_micro + need,
                    max(label.end_at, finish_at),
                    (*label.slips, slips),
                    (*label.loose, index) if loose else label.loose,
                )
                found.append((key, child))
        return found

    def _waiting(self, table: Table, facts: Depth, label: Label) -> float:
        """Least figure of what waits besides the next stage."""
        least, places = table.least, label.places
        return sum([least[each][0 if source == OUTSIDE else places[source]] for each, source in facts.waiting])

    def _priced_rest(self, table: Table, flow: Flow, facts: Depth, label: Label) -> tuple[float, float]:
        """Least priced figure of what waits besides this stage, and the seconds until the deadline to set against it."""
        rest: float = label.cost_micro if table is self._priced else label.needed_micro
        rest += self._waiting(table, facts, label) + sum([toll[label.places[source]] for source, toll in facts.tolls])
        owed_s = flow.fresh * (self._deadline_at - self._problem.now_at)
        owed_s += sum([share * (self._deadline_at - label.finishes[source]) for source, share in flow.crossing])
        return rest, owed_s

    def _crowded_end(self, label: Label, stage: Stage, choice: int, start_at: float, finish_at: float) -> float:
        """When the pipeline ends at the earliest because of what its stages want of the devices of one offer."""
        problem, below, row = self._problem, self._bounds.time.below, stage.options[choice].row
        wanted = [(start_at, finish_at, stage.devices, below[stage.index][choice])]
        for index, at in enumerate(label.rows):
            if at == row:
                after_s = below[index][label.choices[index]]
                wanted.append((label.starts[index], label.finishes[index], problem.stages[index].devices, after_s))
        if sum([devices for _, _, devices, _ in wanted]) <= problem.free[row]:
            return 0.0
        if row not in self._devices:
            self._devices[row] = Devices(problem, row)
        wanted.sort(reverse=True)
        end_at, work, least_after_s = 0.0, 0.0, math.inf
        for begin_at, done_at, devices, after_s in wanted:
            work += devices * (done_at - begin_at)
            least_after_s = min(least_after_s, after_s)
            end_at = max(end_at, self._devices[row].done_at(begin_at, work) + least_after_s)
        return end_at

    def _ordered(self, index: int, at: int) -> list[tuple[float, int]]:
        """The stage's offers by the least that they and everything below come to, with its primary input at a place."""
        key = (index, at)
        if key not in self._orders:
            table = self._bounds.least_of(self._objective)
            here, below = table.here[index], table.below[index]
            self._orders[key] = sorted([(here[choice][at] + below[choice], choice) for choice in self._choices[index]])
        return self._orders[key]

"""Labels that cannot lead to anything better than another one, so that they need not be taken up."""

from __future__ import annotations

import math
from collections.abc import Sequence

from infra.core.placement.pipelines.labels import Depth, Label
from infra.core.placement.pipelines.problem import Problem

_Seen = tuple[int, int, tuple[float, ...]]
"""Cost, need and instants of a label that was taken up."""


class Dominance:
    """The labels that were taken up.

    Args:
        scarce: By stage, its options that others may want too.
    """

    def __init__(self, problem: Problem, depths: Sequence[Depth], scarce: Sequence[frozenset[int]]) -> None:
        self._problem, self._depths, self._scarce = problem, depths, scarce
        self._seen: dict[tuple[object, ...], list[_Seen]] = {}

    def drops(self, label: Label) -> bool:
        """Whether a label with its results at the same places was no dearer and no later; else this one is kept."""
        depth = len(label.choices)
        facts, stages = self._depths[depth], self._problem.stages
        tied = self._tied(label, depth)
        key: tuple[object, ...] = (depth, tuple([label.places[index] for index in facts.open]))
        ends = [
            max([label.finishes[each] for each in group if each not in tied], default=0.0) for group in facts.groups
        ]
        for index in tied:
            stage, choice = stages[index], label.choices[index]
            key = (*key, index, choice, tuple([label.places[parent] for parent, _ in stage.parents]))
            if stage.options[choice].price.windows:
                ready_at = max([label.finishes[parent] for parent, _ in stage.parents], default=0.0)
                key = (*key, label.starts[index], ready_at)
        times = (label.end_at, *[label.starts[index] for index in tied], *ends)
        others = self._seen.setdefault(key, [])
        for cost_micro, needed_micro, other in others:
            if cost_micro > label.cost_micro or needed_micro > label.needed_micro:
                continue
            earlier_s = 0.0
            for place, (one, own) in enumerate(zip(other, times, strict=True)):
                if one > own:
                    break
                if place and own - one > earlier_s:
                    earlier_s = own - one
            else:
                # Who comes earlier may miss a cheaper window: by at most that much.
                less = math.ceil(facts.slope_micro * earlier_s) + facts.windowed if facts.windowed and earlier_s else 0
                if cost_micro + less <= label.cost_micro and needed_micro + 2 * less <= label.needed_micro:
                    return True
        others.append((label.cost_micro, label.needed_micro, times))
        return False

    def _tied(self, label: Label, depth: int) -> list[int]:
        """Placed stages that may yet have to start later because of others that want their devices, or because they come
        after one that may."""
        tied: list[int] = []
        stages, wanted = self._problem.stages, self._depths[depth].wanted
        for index, choice in enumerate(label.choices):
            stage = stages[index]
            if choice in self._scarce[index]:
                row, rivals = label.rows[index], self._problem.rivals(index)
                others = sum(
                    [stages[each].devices for each, at in enumerate(label.rows) if at == row and each in rivals]
                ) + sum([stages[each].devices for each in wanted.get(row, ()) if each in rivals])
                if index in label.loose or (others and stage.devices + others > self._problem.free[row]):
                    tied.append(index)
                    continue
            if index in label.loose or (tied and any(parent in tied for parent, _ in stage.parents)):
                tied.append(index)
        return tied

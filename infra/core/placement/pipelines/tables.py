"""Tables of least figures for the stages of a pipeline, and flows through it."""

from __future__ import annotations

from functools import cached_property

from infra.core.placement.pipelines.arrays import Floats
from infra.core.placement.pipelines.problem import OUTSIDE, Problem, Stage

Flow = dict[tuple[int, int], float]


class Table:
    """Least figures of one kind, as arrays for bounds of bounds and as lists for the search.

    Attributes:
        arrays: The three that follow, as ``[stages, choices, places]``, ``[stages, choices]`` and ``[stages, places] float64``.
        here: Of a stage by [stage][choice][place of its primary input].
        below: Of everything that hangs below it, by [stage][choice].
        least: Of a stage and everything below, by [stage][place of its primary input].
        price: Of a second of a unit of flow in this table.
        flow: How much of the flow goes along each arc (stage, child), and (``OUTSIDE``, first stage).
    """

    def __init__(
        self, here: Floats, below: Floats, least: Floats, price: float = 0.0, flow: Flow | None = None
    ) -> None:
        self.arrays = here, below, least
        self.price, self.flow = price, flow or {}

    @cached_property
    def here(self) -> list[list[list[float]]]:
        return self.arrays[0].tolist()

    @cached_property
    def below(self) -> list[list[float]]:
        return self.arrays[1].tolist()

    @cached_property
    def least(self) -> list[list[float]]:
        return self.arrays[2].tolist()


def primary_of(stage: Stage) -> int:
    """The largest input; of equal ones the first."""
    return max(stage.parents, key=lambda parent: (parent[1], -parent[0]), default=(OUTSIDE, 0))[0]


def even_flow(problem: Problem) -> Flow:
    """One unit from the first stages to the last, split evenly wherever the way forks."""
    first = [stage.index for stage in problem.stages if not stage.parents]
    flow = {(OUTSIDE, index): 1.0 / len(first) for index in first}
    for index, children in enumerate(problem.children):
        through = sum(share for (_, end), share in flow.items() if end == index)
        flow |= {(index, child): through / len(children) for child in children}
    return flow


def through_of(problem: Problem, flow: Flow) -> list[float]:
    """How much of the flow goes through each stage."""
    through = [0.0] * len(problem.stages)
    for (_, end), share in flow.items():
        through[end] += share
    return through

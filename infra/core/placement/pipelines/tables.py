"""Tables of least figures for the stages of a pipeline, and flows through it."""

from __future__ import annotations

from dataclasses import dataclass, field

from infra.core.placement.pipelines.arrays import Floats
from infra.core.placement.pipelines.problem import OUTSIDE, Problem, Stage

Flow = dict[tuple[int, int], float]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Least figures of one kind.

    Attributes:
        here: Of a stage, by its primary input's place: ``[stages, choices, places]``.
        below: Of everything that hangs below it: ``[stages, choices]``.
        least: Of a stage and everything below: ``[stages, places]``.
        price: Of a second of a unit of flow in this table.
        flow: How much of the flow goes along each arc (stage, child), and (``OUTSIDE``, first stage).
    """

    here: Floats
    below: Floats
    least: Floats
    price: float = 0.0
    flow: Flow = field(default_factory=dict)


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

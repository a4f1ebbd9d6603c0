"""What is compiled ahead of its first use is all that plans of queues and pipelines call."""

from __future__ import annotations

import random

from benchmarks.placement_pipeline import SHAPES, limited, pipeline, snapshot
from infra import precompile
from infra.core.placement.pipelines import forest, growth, orders
from infra.core.placement.pipelines.decide import decide_pipeline
from infra.core.planning import kernel

PIPELINES = (forest, growth, orders)


def compiled(*modules: object) -> dict[str, list[object]]:
    """Compiled functions that were called from outside, each with the types that it was compiled for."""
    return {
        name: list(value.signatures)
        for module in modules
        for name, value in vars(module).items()
        if getattr(value, "signatures", ())
    }


def test_it_compiles_what_the_planners_call() -> None:
    precompile.queues()
    precompile.pipelines()
    assert "plan_jobs" in compiled(kernel)
    wanted = {"upwards", "root", "best_price", "totals", "earliest", "best_options", "earliest_end", "best_order"}
    assert wanted | {"taking_up"} <= compiled(*PIPELINES).keys()


def test_no_pipeline_is_compiled_for_again() -> None:
    precompile.pipelines()
    before = compiled(*PIPELINES)
    generator = random.Random(7)
    for shape in SHAPES:
        for _ in range(4):
            world, request = snapshot(generator, 8), pipeline(generator, shape, 4)
            found = decide_pipeline(request, world)
            decide_pipeline(limited(generator, request, found), world)
    assert compiled(*PIPELINES) == before

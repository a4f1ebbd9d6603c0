"""What is compiled ahead of its first use is all that plans of queues and pipelines call."""

from __future__ import annotations

from infra import precompile
from infra.core.placement.pipelines import forest, orders
from infra.core.planning import kernel


def compiled(*modules: object) -> set[str]:
    return {name for module in modules for name, value in vars(module).items() if getattr(value, "signatures", ())}


def test_it_compiles_what_the_planners_call() -> None:
    precompile.queues()
    precompile.pipelines()
    assert "plan_jobs" in compiled(kernel)
    wanted = {"upwards", "root", "best_price", "totals", "earliest", "best_options", "earliest_end", "best_order"}
    assert wanted <= compiled(forest, orders)

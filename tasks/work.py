"""Which function does which kind of work at a site. Each is imported when it is first called: torch takes a while.

A warm run does no work: see :mod:`tasks.warm`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from infra.core.workload import WorkKind
from tasks.site_job import SiteJob, SiteResult

_MODULES: dict[WorkKind, str] = {
    WorkKind.TRAINING: "tasks.training.run",
    WorkKind.EVALUATION: "tasks.evaluation.run",
    WorkKind.EMBEDDING_REFRESH: "tasks.embedding.run",
    WorkKind.BATCH_INFERENCE: "tasks.inference.run",
    WorkKind.PROBE: "tasks.probe",
}


def _later(module: str) -> Callable[[SiteJob], SiteResult]:
    def run(job: SiteJob) -> SiteResult:
        return importlib.import_module(module).run(job)

    return run


WORK: dict[WorkKind, Callable[[SiteJob], SiteResult]] = {kind: _later(module) for kind, module in _MODULES.items()}

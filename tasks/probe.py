"""The empty job: what a run through Headrace costs in itself. For drills it can take time or fail on a Dask worker."""

from __future__ import annotations

import os
import threading

from infra.core.errors import UnavailableError
from tasks.fanout import spread
from tasks.parameters import Parameters
from tasks.site_job import SiteJob, SiteResult


def run(job: SiteJob) -> SiteResult:
    """Return at once; with ``sleep_s`` sleep that long, shared among the lease's workers; with ``fail`` raise.

    Raises:
        UnavailableError: ``PROBE_FAILED`` when ``fail`` is set; ``WORKERS_LOST``.
    """
    parameters = Parameters(job.work, ("sleep_s", "fail"))
    sleep_s = parameters.number("sleep_s", 0.0)
    fail = parameters.flag("fail", False)
    detail: dict[str, list[int]] = {}
    if sleep_s or fail:
        count = max(len(job.workers), 1)
        pieces = ((f"probe-{index}", (sleep_s / count, fail)) for index in range(count))
        detail["worker_pids"] = [pid for _, pid in spread(job, _hold, pieces)]
    job.progress(1.0, 1.0, "done")
    return SiteResult(units_done=1.0, metrics={}, outputs=(), detail=detail)


def _hold(sleep_s: float, fail: bool) -> int:
    """Hold a Dask worker for ``sleep_s`` and return its process id."""
    threading.Event().wait(sleep_s)
    if fail:
        raise UnavailableError("PROBE_FAILED", "the probe was asked to fail", "probe", "leave out fail")
    return os.getpid()

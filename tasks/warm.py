"""A warm run at its site: its cluster idles until another attempt takes it or its time is up.

The process that does this uses no cluster, so that the taker may close it at any moment. What becomes of the cluster is
settled in a file (see :mod:`infra.worker.warm`); the process only watches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from infra.core.errors import UnavailableError
from infra.worker.context import SiteContext
from infra.worker.warm import KEEP_S, Fate, fate_of, reaches, settle, taker_is_through
from tasks.parameters import Parameters
from tasks.site_job import SiteResult, SiteWork

STEP_S = 0.25
"""How often is looked whether the cluster was taken or its taker is through: one look at a directory."""

REACH_EVERY_S = 5.0
"""How often is looked whether an idle cluster still answers."""


def run(context: SiteContext, work: SiteWork, progress: Callable[[float, float, str], None]) -> SiteResult:
    """Wait until the cluster was taken and its taker is through, or for ``keep_s`` seconds in which nobody takes it.

    Returns:
        The metric ``idle_s``, the seconds in which the cluster was there for nobody, and in the detail whether it was taken.

    Raises:
        InputError: ``BAD_NUMBER``, ``UNKNOWN_PARAMETER``.
        UnavailableError: ``CLUSTER_UNREACHABLE`` when the idle cluster is gone.
    """
    keep_s = Parameters(work, ("keep_s",)).number("keep_s", KEEP_S, exclusive=True)
    ready_at = time.time()
    fate = _idle(context, keep_s)
    waited_s = max(0.0, fate.at - ready_at)
    if fate.taker:
        progress(0.0, 1.0, "taken by a run")
        while not taker_is_through(context.cache_dir, fate):
            _pause(STEP_S)
    progress(1.0, 1.0, "done")
    return SiteResult(units_done=waited_s, metrics={"idle_s": waited_s}, outputs=(), detail={"taken": bool(fate.taker)})


def _idle(context: SiteContext, keep_s: float) -> Fate:
    """What became of the cluster, once that is settled."""
    began_s = reached_s = time.monotonic()
    while True:
        fate = fate_of(context.cache_dir)
        if fate is not None:
            return fate
        now_s = time.monotonic()
        if now_s - began_s >= keep_s:
            return settle(context.cache_dir, Fate(time.time()))
        if now_s - reached_s >= REACH_EVERY_S:
            reached_s = now_s
            if not reaches(context.cluster.scheduler):
                # Only if nobody took it meanwhile: a taker's cluster is the taker's business.
                fate = settle(context.cache_dir, Fate(time.time()))
                if fate.taker:
                    return fate
                raise UnavailableError(
                    "CLUSTER_UNREACHABLE", "the idle cluster is gone", context.cluster.scheduler, "keep another one"
                )
        _pause(min(STEP_S, began_s + keep_s - now_s))


def _pause(seconds: float) -> None:
    threading.Event().wait(max(0.0, seconds))

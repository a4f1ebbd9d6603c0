"""Spreads independent pieces of work over the Dask workers of a lease, and notices when those are gone.

Pieces are pinned to the lease's workers. When one of them dies, Dask runs its pieces again on the others; when none is
left Dask would wait for ever, so the liveness of the lease's workers is looked at while waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from infra.core.errors import UnavailableError
from tasks.site_job import SiteJob

_LIVENESS_EVERY_S = 2.0


def lease_workers(job: SiteJob) -> tuple[str, ...]:
    """Addresses of the lease's workers that are alive now, in a fixed order.

    Raises:
        UnavailableError: ``WORKERS_LOST`` when there is none.
    """
    connected = job.client.nthreads()
    alive = tuple(address for address in job.workers or sorted(connected) if address in connected)
    if not alive:
        raise UnavailableError(
            "WORKERS_LOST",
            "none of the lease's Dask workers is alive",
            f"run {job.work.run_id}, attempt {job.work.attempt}",
            "place the run again; it goes on from its last checkpoint",
        )
    return alive


def spread(
    job: SiteJob, function: Callable[..., Any], pieces: Iterable[tuple[str, tuple[Any, ...]]], per_worker: int = 2
) -> Iterator[tuple[str, Any]]:
    """Run ``function(*arguments)`` for each named piece and yield (name, result) as they finish.

    Only ``per_worker`` pieces a worker are under way at a time, so that memory stays small and a stop loses little.

    Raises:
        UnavailableError: ``WORKERS_LOST``. An error of the function itself is raised as it is.
    """
    from distributed import TimeoutError as DaskTimeout
    from distributed import wait
    from distributed.scheduler import KilledWorker

    workers = lease_workers(job)
    waiting = iter(pieces)
    running: dict[Any, str] = {}

    def feed() -> None:
        while len(running) < per_worker * len(workers):
            piece = next(waiting, None)
            if piece is None:
                return
            name, arguments = piece
            future = job.client.submit(
                function, *arguments, workers=list(job.workers or workers), allow_other_workers=False, pure=False
            )
            running[future] = name

    try:
        feed()
        while running:
            try:
                finished = wait(list(running), timeout=_LIVENESS_EVERY_S, return_when="FIRST_COMPLETED").done
            except DaskTimeout:
                workers = lease_workers(job)
                continue
            for future in finished:
                name = running.pop(future)
                try:
                    result = future.result()
                except KilledWorker as lost:
                    raise UnavailableError(
                        "WORKERS_LOST",
                        f"piece {name} lost its worker again and again",
                        f"run {job.work.run_id}",
                        "look into the workers' logs: memory is the usual cause",
                    ) from lost
                feed()
                yield name, result
    finally:
        if running:
            job.client.cancel(list(running), force=True)

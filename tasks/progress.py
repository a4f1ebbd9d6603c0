"""Live progress of long work in the Prefect UI, and its curve once it is done."""

from __future__ import annotations

import time
from types import TracebackType

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.informing import informs

EVERY_S = 2.0
"""The API hears of progress this often at most, however often the work tells it."""


class ShownProgress:
    """A ``progress(done, total, message)`` that a person can watch: an artifact and log lines."""

    def __init__(self) -> None:
        self._artifact: object | None = None
        self._told_at = float("-inf")
        self._last: tuple[float, float, str] | None = None
        self._told: tuple[float, float, str] | None = None
        self._logger = get_run_logger()

    def __call__(self, done: float, total: float, message: str) -> None:
        self._last = (done, total, message)
        if time.monotonic() - self._told_at >= EVERY_S:
            self._told_at = time.monotonic()
            self._tell()

    def __enter__(self) -> ShownProgress:
        self._began_at = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        took_s = time.monotonic() - self._began_at
        if self._last is not None and self._last != self._told and took_s >= EVERY_S:
            self._tell()

    def _tell(self) -> None:
        assert self._last is not None
        self._told = self._last
        done, total, message = self._last
        percent = 100.0 * done / total if total else 100.0
        self._logger.info("%.0f %% — %s", percent, message)
        _show(self, percent, message)


@informs
def _show(progress: ShownProgress, percent: float, message: str) -> None:
    if progress._artifact is None:
        progress._artifact = create_progress_artifact(percent, key="progress", description=message)
    else:
        update_progress_artifact(progress._artifact, progress=percent, description=message)  # type: ignore[arg-type]

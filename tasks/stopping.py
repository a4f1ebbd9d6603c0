"""Turns SIGTERM into an event, so that long work can save where it is before it obeys.

A site stops work with SIGTERM at its cap, at the end of its lease and when the run is cancelled. Inside the context the
signal only sets an event; when the context ends, whatever handler was there before gets the signal after all.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from infra.core.errors import UnavailableError


@contextmanager
def sigterm_as_event() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM sets. Outside the main thread, where handlers cannot be set, it is never set."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    former = signal.signal(signal.SIGTERM, lambda _number, _frame: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, former if former is not None else signal.SIG_DFL)
        if asked.is_set():
            signal.raise_signal(signal.SIGTERM)


def stopped(where: str) -> UnavailableError:
    """The error of work that was told to stop and has saved what it had."""
    return UnavailableError(
        "STOPPED", "the work was told to stop and saved a checkpoint", where, "place the run again to go on from there"
    )

"""Imported once by the fork server: everything that a flow run needs, so that its process starts with it.

Nothing here may start a thread or open a connection: the process that imports this is forked for every run.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys

from infra.processes import die_with_parent

PRELOAD_VARIABLE = "HEADRACE_PRELOAD"
WORKER_PID_VARIABLE = "HEADRACE_WORKER_PID"
_ALWAYS = ("infra.worker.child", "anyio._backends._asyncio", "anyio.streams.tls", "rich._emoji_codes")


def _preload() -> None:
    os.setsid()
    die_with_parent(int(os.environ[WORKER_PID_VARIABLE]), signal.SIGKILL)
    for name in (*_ALWAYS, *os.environ.get(PRELOAD_VARIABLE, "").split(",")):
        if not name:
            continue
        try:
            importlib.import_module(name)
        except Exception as problem:
            # A flow that cannot be imported fails in its own run, with its own message; the others go on.
            print(f"headrace: could not preload {name}: {problem!r}", file=sys.stderr, flush=True)
    from prefect.logging.configuration import setup_logging

    setup_logging()
    gc.collect()
    # What exists now is shared with every child: keep the collector from touching (and so copying) its pages.
    gc.freeze()


if os.environ.get(WORKER_PID_VARIABLE):
    _preload()

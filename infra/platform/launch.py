"""Run a module as a component that is started early: imports first, then waits for what it needs, then begins.

``python -m infra.platform.launch [--turn=FILE] [--after=FILE]... MODULE [ARGUMENT...]``. The files to wait for are written
by the supervisor and by the set-up task. Waiting here costs nothing, and the seconds of imports run beside the start of
the Prefect server. ``--turn`` names a lock: components that share it import one after the other, so that together they
take one core and leave the server, which everybody waits for, its own.
"""

from __future__ import annotations

import contextlib
import importlib
import runpy
import sys
import time
from pathlib import Path

from infra.processes import locked

_POLL_S = 0.05
_EARLY_IMPORTS = {
    "infra.worker.main": ("prefect.workers.process", "infra.worker.worker"),
    "infra.controller.main": (
        "prefect.client.orchestration",
        "prefect.events",
        "infra.controller.landing",
        "infra.wiring",
    ),
    "infra.platform.setup": ("infra.platform.pools", "blocks", "infra.platform.deployments", "prefect.cli.deploy"),
    "infra.adapters.local_cloud.serve": ("distributed", "pandas", "pyarrow.parquet", "torch"),
}


def main(arguments: list[str]) -> None:
    """Become the module, as ``python -m MODULE`` would run it."""
    awaited, turn = [], contextlib.nullcontext()
    while arguments and arguments[0].startswith(("--after=", "--turn=")):
        option, _, path = arguments.pop(0).partition("=")
        if option == "--after":
            awaited.append(Path(path))
        else:
            turn = locked(Path(path))
    module, *rest = arguments
    with turn:
        for name in _EARLY_IMPORTS.get(module, ()):
            importlib.import_module(name)
    while not all(path.exists() for path in awaited):
        time.sleep(_POLL_S)
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])

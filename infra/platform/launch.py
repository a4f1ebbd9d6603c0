"""Run a module as a component that is started early: imports first, then waits for what it needs, then begins.

``python -m infra.platform.launch [--after FILE]... MODULE [ARGUMENT...]``. The files are written by the supervisor and
by the set-up task. Waiting here costs nothing, and the seconds of imports run beside the start of the Prefect server.
"""

from __future__ import annotations

import importlib
import runpy
import sys
import time
from pathlib import Path

_POLL_S = 0.05
_EARLY_IMPORTS = {
    "infra.worker.main": ("prefect.workers.process", "prefect.client.orchestration"),
    "infra.controller.main": ("prefect.client.orchestration", "prefect.events", "sqlalchemy"),
    "infra.platform.setup": ("prefect.client.orchestration", "prefect.blocks.core"),
}


def main(arguments: list[str]) -> None:
    """Become the module, as ``python -m MODULE`` would run it."""
    awaited = []
    while arguments and arguments[0].startswith("--after="):
        awaited.append(Path(arguments.pop(0).removeprefix("--after=")))
    module, *rest = arguments
    for name in _EARLY_IMPORTS.get(module, ()):
        importlib.import_module(name)
    while not all(path.exists() for path in awaited):
        time.sleep(_POLL_S)
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])

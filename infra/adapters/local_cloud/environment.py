"""What environment keepers and machines get: little, so that no secret of the process that starts them travels along."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import infra
from infra.faults import FAULTS
from infra.processes import PLATFORM_MARK

PASSED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE"),
    FAULTS,  # points that a drill armed
    PLATFORM_MARK,  # no secret: by it `headrace down` finds what a killed supervisor left
)

ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
"""A device is one core here, so numeric libraries shall not start threads of their own."""


def machine_environment(state_dir: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment for a process that is or makes machines.

    Args:
        state_dir: The site's state directory.
        extra: Variables to add; the caller answers for what is in them.
    """
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    # Dask writes default configuration files into its folder when it is imported; a person's own stays untouched.
    environment |= ONE_CORE | {"DASK_CONFIG": str(Path(state_dir).absolute() / "dask"), "PYTHONUNBUFFERED": "1"}
    # Work arrives as references to this package's functions, also where it was not installed.
    environment["PYTHONPATH"] = str(Path(infra.__file__).parent.parent)
    return environment | dict(extra or {})

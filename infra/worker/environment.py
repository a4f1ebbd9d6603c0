"""The environment of a flow-run process: built from a list of names, never inherited as it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLAIN_NAMES = """
    PATH HOME USER LOGNAME LANG TZ TMPDIR SHELL VIRTUAL_ENV PYTHONPATH PYTHONUNBUFFERED PYTHONHASHSEED LD_LIBRARY_PATH
    OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS TOKENIZERS_PARALLELISM SSL_CERT_FILE SSL_CERT_DIR
    REQUESTS_CA_BUNDLE DO_NOT_TRACK NO_PROXY no_proxy HF_HUB_OFFLINE TORCH_EXTENSIONS_DIR HEADRACE_PLATFORM HEADRACE_FAULTS
"""
_PLAIN = frozenset(_PLAIN_NAMES.split())
_LOCALE = re.compile(r"LC_[A-Z]+")
_OF_WORKER_ONLY = frozenset({"HEADRACE_PRELOAD", "HEADRACE_WORKER_PID", "HEADRACE_POLL_S", "HEADRACE_READY_FILE"})
_CONTROL = re.compile(r"(HEADRACE|AWS|FSSPEC)_[A-Z0-9_]+")
STORE_CREDENTIAL = re.compile(r"(AWS|FSSPEC)_[A-Z0-9_]+")
"""Variables that open the object store; a site's run gets them in its context file, not in its environment."""


def base_environment(
    worker_environ: Mapping[str, str],
    prefect_settings: Mapping[str, str],
    allowed: Mapping[str, str | None],
    *,
    control: bool,
) -> dict[str, str]:
    """Everything that a flow-run process finds in its environment, but the run's own variables.

    Args:
        worker_environ: The worker's environment, of which only named variables go on.
        prefect_settings: Prefect's settings as the worker uses them, the address of the API among them.
        allowed: Checked variables of the deployment's job variables; they win.
        control: Whether the run belongs to the control plane and so may know where the control plane's things are.
    """

    def goes_on(name: str) -> bool:
        if name in _OF_WORKER_ONLY:
            return False
        return name in _PLAIN or bool(_LOCALE.fullmatch(name)) or (control and bool(_CONTROL.fullmatch(name)))

    env = {name: value for name, value in worker_environ.items() if goes_on(name)}
    env.update({name: value for name, value in prefect_settings.items() if name.startswith("PREFECT_")})
    env.update({name: value for name, value in allowed.items() if value is not None})
    return env


def store_credentials(worker_environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the worker's environment that open the object store."""
    return {name: value for name, value in worker_environ.items() if STORE_CREDENTIAL.fullmatch(name)}

"""The first versions of the repository's datasets, landed as any producer's data would be: in the watched prefix."""

from __future__ import annotations

from collections.abc import Callable

from data_contracts.loading import contract_names, load_contract
from infra.core.errors import ConflictError
from infra.settings import Settings
from infra.wiring import ControlPlane
from tasks.datasets import build
from tasks.datasets.parquet import land

FIRST_VERSION = "v1"
DOCUMENTS = 2000
"""How many docstrings the first version of ``api-docs`` has: enough to search in, minutes less to embed than all."""


def land_first_versions(settings: Settings, say: Callable[[str], None]) -> None:
    """Build each dataset and land it as ``v1``; one that landed already stays as it is."""
    control = ControlPlane(settings)
    for name in contract_names(settings.contracts_dir):
        contract = load_contract(name, settings.contracts_dir)
        if control.store.list(f"landing/{name}/"):
            say(f"{name}: landed before")
            continue
        frame = build(name, limit=DOCUMENTS if name == "api-docs" else None)
        try:
            key = land(control.store, contract, FIRST_VERSION, frame)
        except ConflictError as error:
            say(f"{name}: {error.problem}")
            continue
        say(f"{name}: {len(frame)} rows landed as {key}")

"""Models as datasets: finding one by version, ``latest`` or ``champion``, and promoting a better one."""

from __future__ import annotations

from prefect import task

from infra.core.errors import InputError
from infra.core.workload import DatasetRef
from infra.wiring import control_plane
from tasks.options import DatasetChoice
from tasks.publishing import champion, promote
from tasks.running import RunResult

Roles = tuple[tuple[str, DatasetRef], ...]
CHAMPION = "champion"


def find_model(choice: DatasetChoice, with_champion: bool = False) -> Roles:
    """The model in the role ``model`` and, if asked for and there is another one, the champion in its role.

    Raises:
        InputError: ``UNKNOWN_MODEL``.
    """
    control = control_plane()
    best = champion(control.store, choice.name)
    version = best if choice.version == CHAMPION else choice.version
    entry = control.database.catalog.find(choice.name, version or "latest")
    if entry is None or entry.quarantined:
        raise InputError(
            "UNKNOWN_MODEL", f"no {choice.name}@{choice.version}", "parameter model", "train one, or name a version"
        )
    roles: Roles = (("model", DatasetRef(entry.version.name, entry.version.version)),)
    if with_champion and best is not None and best != entry.version.version:
        roles += (("champion", DatasetRef(choice.name, best)),)
    return roles


def has_champion(name: str) -> bool:
    """Whether some version of the model was ever promoted."""
    return champion(control_plane().store, name) is not None


def published_model(trained: RunResult) -> DatasetChoice:
    """The model that a training published."""
    assert trained.published is not None, "a training publishes a model"
    return DatasetChoice(name=trained.published.name, version=trained.published.version)


@task(name="promote", persist_result=False)
def promote_if_better(trained: RunResult, evaluated: RunResult) -> bool:
    """Make the trained model the champion when the evaluation's gate let it pass."""
    passed = evaluated.metrics.get("gate_passed") == 1.0
    if passed:
        model = published_model(trained)
        promote(control_plane().store, model.name, model.version)
    return passed

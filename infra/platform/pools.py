"""The work pools: one for entry flows and one per site, all of type ``headrace`` with the worker's own form."""

from __future__ import annotations

from collections.abc import Iterable

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound

from infra.core.canonical import digest
from infra.settings import CONTROL_POOL
from infra.worker.worker import HeadraceWorker

_TEMPLATE_DIGEST = "x-headrace-template"


def make_pools(client: SyncPrefectClient, names: Iterable[str]) -> None:
    """Create the pools that are missing, and give the form of this version to those that have an older one.

    A default that somebody changed in the UI stays until a new version of the form replaces it.
    """
    template = HeadraceWorker.get_default_base_job_template()
    template["variables"][_TEMPLATE_DIGEST] = digest(template)
    for name in names:
        try:
            pool = client.read_work_pool(name)
        except ObjectNotFound:
            client.create_work_pool(
                WorkPoolCreate(
                    name=name, type=HeadraceWorker.type, description=_described(name), base_job_template=template
                )
            )
            continue
        had = pool.base_job_template.get("variables", {}).get(_TEMPLATE_DIGEST)
        if had != template["variables"][_TEMPLATE_DIGEST]:
            client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))


def _described(name: str) -> str:
    if name == CONTROL_POOL:
        return "Entry flows: contract, placement, permit, publication, settlement. Holds the control plane's access."
    return f"Permitted work at site {name}. Its worker starts nothing without a permit of the control plane."

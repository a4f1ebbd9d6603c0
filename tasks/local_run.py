"""Runs a work on this machine without permit, lease or TLS: for tests, measurements and trying things out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.core.inventory import TrustZone
from infra.core.jurisdictions import PUBLIC
from infra.core.trust import PermittedDataset
from infra.ports import ObjectStore
from tasks.site_io import StoreCheckpoints, StoreInputs, StoreOutputs
from tasks.site_job import SiteInputs, SiteJob, SiteResult, SiteWork
from tasks.work import WORK

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, slots=True)
class LocalRun:
    """The result, the digest of the attempt's manifest, and the inputs with their access log."""

    result: SiteResult
    manifest_sha256: str
    inputs: SiteInputs


def local_job(
    work: SiteWork,
    store: ObjectStore,
    client: Client,
    site: str = "onprem-fra",
    progress: Callable[[float, float, str], None] = lambda done, total, message: None,
) -> tuple[SiteJob, StoreOutputs]:
    """A job over ``store`` on all workers of ``client``'s cluster, in which exactly the work's inputs are permitted."""
    permitted = [
        PermittedDataset(ref.name, ref.version, (PUBLIC,), TrustZone.PUBLIC, ref.manifest_sha256) for ref in work.inputs
    ]
    outputs = StoreOutputs(store, work.run_id, work.attempt)
    job = SiteJob(
        work=work,
        client=client,
        workers=tuple(sorted(client.nthreads())),
        inputs=StoreInputs(store, site, work, permitted),
        outputs=outputs,
        checkpoints=StoreCheckpoints(store, work.run_id, work.attempt, work.lighter),
        progress=progress,
    )
    return job, outputs


def run_locally(
    work: SiteWork,
    store: ObjectStore,
    workers: int = 2,
    *,
    processes: bool = False,
    site: str = "onprem-fra",
    progress: Callable[[float, float, str], None] = lambda done, total, message: None,
) -> LocalRun:
    """Run the work on a local Dask cluster that lives as long as this call.

    Args:
        processes: Workers as processes of their own, as at a site; otherwise as threads of this one, which is faster
            to start.
    """
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=processes, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        job, outputs = local_job(work, store, client, site, progress)
        result = WORK[work.kind](job)
        return LocalRun(result, outputs.finish(result), job.inputs)

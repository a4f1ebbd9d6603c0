"""The site's side of a run: the permitted data, the lease's cluster, the kind's function, a whole result or none."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from distributed import Client, Security
from pydantic import TypeAdapter, ValidationError

from infra import faults
from infra.core.canonical import digest
from infra.core.errors import HeadraceError, InputError, RefusedError, UnavailableError
from infra.core.workload import WorkKind
from infra.faults import Point
from infra.ports import ClusterAddress, ObjectStore
from infra.worker.context import SiteContext, SiteOutcome
from tasks import warm
from tasks.departures import announced_in
from tasks.site_io import StoreCheckpoints, StoreInputs, StoreOutputs
from tasks.site_job import SiteJob, SiteResult, SiteWork
from tasks.work import WORK

CONNECT_S = 30
Progress = Callable[[float, float, str], None]


def site_work(document: dict[str, Any]) -> SiteWork:
    """Read the work description that travelled as a flow-run parameter.

    Raises:
        InputError: ``BAD_WORK``.
    """
    try:
        return TypeAdapter(SiteWork).validate_python(document)
    except ValidationError as problem:
        raise InputError("BAD_WORK", str(problem), "parameter work", "start the run through its deployment") from None


def execute(context: SiteContext, document: dict[str, Any], progress: Progress) -> SiteResult:
    """Do the work on the lease's cluster and leave its outcome for the worker that meters and signs.

    The worker has verified the permit; what is checked again here needs no key: that this is the permitted work.

    Raises:
        RefusedError: ``PERMIT_WRONG_WORK``, ``DATASET_NOT_PERMITTED``.
        UnavailableError: ``CLUSTER_UNREACHABLE``, or what the kind's function raises.
    """
    if digest(document) != context.claims.work_sha256:
        raise RefusedError("PERMIT_WRONG_WORK", "the work is not what was permitted", context.site, "place it again")
    work = site_work(document)
    store = context.open_store()
    inputs = StoreInputs(store, context.site, work, context.claims.datasets)
    try:
        result, manifest_sha256 = _run(context, store, work, inputs, progress)
    except HeadraceError as error:
        _leave(context, inputs, SiteOutcome(message=str(error), lost=error.retryable))
        raise
    except Exception as error:
        _leave(context, inputs, SiteOutcome(message=f"WORK_FAILED: {type(error).__name__}: {error}"))
        raise
    _leave(context, inputs, SiteOutcome(result_manifest_sha256=manifest_sha256))
    return result


def _run(
    context: SiteContext, store: ObjectStore, work: SiteWork, inputs: StoreInputs, progress: Progress
) -> tuple[SiteResult, str]:
    outputs = StoreOutputs(store, work.run_id, work.attempt)
    if work.kind is WorkKind.WARM:
        # Without a client: another attempt may be given the cluster, and closes it.
        result = warm.run(context, work, progress)
        return result, outputs.finish(result)
    with connect(context.cluster) as client:
        faults.passed(Point.CONNECTED)
        job = SiteJob(
            work=work,
            client=client,
            workers=permitted_workers(client, context.cluster, context.claims.devices),
            inputs=inputs,
            outputs=outputs,
            checkpoints=StoreCheckpoints(store, work.run_id, work.attempt, work.lighter),
            progress=progress,
            departures=announced_in(client),
        )
        result = WORK[work.kind](job)
        manifest_sha256 = outputs.finish(result)
        faults.passed(Point.RESULT_WRITTEN)
        return result, manifest_sha256


def _leave(context: SiteContext, inputs: StoreInputs, outcome: SiteOutcome) -> None:
    """Leave the outcome with the bytes that were read from elsewhere: they are paid for however the work ended."""
    context.leave_outcome(replace(outcome, egress_bytes=inputs.egress_bytes, egress_sources=inputs.egress_sources))


def connect(cluster: ClusterAddress) -> Client:
    """A client of exactly this cluster, over mutual TLS.

    Raises:
        UnavailableError: ``CLUSTER_UNREACHABLE``.
    """
    security = Security(
        tls_ca_file=cluster.ca_file,
        tls_client_cert=cluster.cert_file,
        tls_client_key=cluster.key_file,
        require_encryption=True,
    )
    try:
        client = Client(cluster.scheduler, security=security, timeout=CONNECT_S)
    except (OSError, TimeoutError) as problem:
        raise UnavailableError(
            "CLUSTER_UNREACHABLE", str(problem), cluster.scheduler, "place the run again"
        ) from problem
    if client.scheduler is None or client.scheduler.address != cluster.scheduler:
        client.close()
        raise UnavailableError("CLUSTER_UNREACHABLE", "another scheduler answered", cluster.scheduler, "see the lease")
    return client


def permitted_workers(client: Client, cluster: ClusterAddress, devices: int) -> tuple[str, ...]:
    """Addresses of the Dask workers that this lease may use, once all of them are there.

    Raises:
        UnavailableError: ``CLUSTER_TOO_SMALL``.
    """
    ends_at = time.monotonic() + CONNECT_S
    while True:
        known = client.scheduler_info(n_workers=-1)["workers"]
        addresses = sorted(
            address
            for address, worker in known.items()
            if not cluster.workers or worker["name"] in cluster.workers or address in cluster.workers
        )
        if len(addresses) >= devices:
            return tuple(addresses[:devices])
        if time.monotonic() > ends_at:
            raise UnavailableError(
                "CLUSTER_TOO_SMALL", f"{len(addresses)} of {devices} workers", cluster.scheduler, "place the run again"
            )
        client.wait_for_workers(devices, timeout=CONNECT_S)

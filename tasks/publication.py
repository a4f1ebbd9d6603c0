"""Publishing a run: verified first, then through the fence, then visible, so that it has exactly one whole result."""

from __future__ import annotations

from infra import faults
from infra.core.canonical import digest
from infra.core.errors import RefusedError
from infra.core.inventory import TrustZone
from infra.core.jurisdictions import permits
from infra.core.metering import SiteReport
from infra.core.workload import WorkKind
from infra.faults import Point
from infra.ports import AttemptRecord, Publication
from infra.processes import locked
from infra.wiring import ControlPlane
from tasks.publishing import Destination, Prepared, complete, inherited, prepare, result_version
from tasks.run_plan import RunPlan
from tasks.vector_tables import Tables, tables_of


def publish_result(
    control: ControlPlane, plan: RunPlan, attempt: AttemptRecord, report: SiteReport
) -> tuple[Publication, Prepared]:
    """Publish what the site's signed report says that the attempt made. May be repeated after a crash.

    Raises:
        RefusedError: ``RESULT_INCOMPLETE``; ``RESIDENCY_EXCLUDED`` when no site may keep the result.
        ConflictError: ``FENCED`` when another attempt published or the run has ended; ``TABLE_MOVED``.
    """
    kind = plan.request.kind
    residency, trust_zone = inherited(attempt.permit.datasets)
    data = next((ref for role, ref in plan.roles if role == "data"), None)
    destination = Destination(
        name=plan.output,
        version=result_version(plan.run_id, data.version if data is not None else ""),
        site=keeping_site(control, attempt.site, residency, trust_zone),
        residency=residency,
        trust_zone=trust_zone,
    )
    if kind is not WorkKind.EMBEDDING_REFRESH:
        return _publish(control, plan, attempt, report, destination, None)
    # One refresh of a table at a time, or one could pass the fence on a state of the table that another one ends.
    with locked(control.settings.run_dir / f"publishing-{digest(destination.name)[:16]}.lock"):
        return _publish(control, plan, attempt, report, destination, tables_of(control.store))


def _publish(
    control: ControlPlane,
    plan: RunPlan,
    attempt: AttemptRecord,
    report: SiteReport,
    destination: Destination,
    tables: Tables | None,
) -> tuple[Publication, Prepared]:
    kind = plan.request.kind
    prepared = prepare(
        control.store, kind, plan.run_id, attempt.attempt, report.result_manifest_sha256, destination, tables
    )
    now_at = control.clock.now()
    published = control.database.runs.publish(
        Publication(
            run_id=plan.run_id,
            attempt=attempt.attempt,
            name=destination.name,
            version=destination.version,
            uri=prepared.uri,
            manifest_sha256=prepared.manifest_sha256,
            published_at=now_at,
            metrics=prepared.result.metrics,
        )
    )
    faults.passed(Point.FENCED)
    complete(control.store, control.database.catalog, prepared, now_at, tables)
    return published, prepared


def keeping_site(control: ControlPlane, made_at: str, residency: tuple[str, ...], trust_zone: TrustZone) -> str:
    """Where the published copy is kept: at the control plane's site if it may lie there, else where it was made.

    Raises:
        RefusedError: ``RESIDENCY_EXCLUDED`` when it may lie at neither.
    """
    for name in (control.settings.control_site, made_at):
        site = control.site(name)
        if permits(residency, site.jurisdiction) and trust_zone.rank <= site.trust_zone.rank:
            return name
    raise RefusedError(
        "RESIDENCY_EXCLUDED",
        f"the result ({', '.join(residency)}; {trust_zone}) may be kept at neither site",
        f"{control.settings.control_site}, {made_at}",
        "use datasets that may meet at one site",
    )

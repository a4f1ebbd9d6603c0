"""Publishing: the fence first, then the visible result, so that a run has exactly one and it is complete."""

from __future__ import annotations

from infra.core.errors import RefusedError
from infra.core.metering import SiteReport
from infra.ports import AttemptRecord, Publication
from infra.wiring import ControlPlane
from tasks.placement import RunPlan
from tasks.site_io import attempt_prefix


def publish_result(control: ControlPlane, plan: RunPlan, attempt: AttemptRecord, report: SiteReport) -> Publication:
    raise RefusedError("NOT_YET", f"{attempt_prefix(plan.run_id, 1)}", report.site, "")

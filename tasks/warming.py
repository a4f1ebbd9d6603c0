"""Warm runs: what they ask for, and which of their clusters stand ready for a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from infra.adapters.observation import held_by
from infra.core.errors import InputError, RefusedError
from infra.core.inventory import Offer
from infra.core.lifecycle import AttemptState, RunState
from infra.core.placement.warm import Kept, WarmCluster, warm_request
from infra.core.warm import WarmSetting
from infra.core.workload import WorkKind, WorkloadRequest
from infra.ports import AttemptRecord
from infra.wiring import ControlPlane, control_plane
from tasks.attempts import closing_report, running_report

_MOST_RUNS = 10_000


class WarmOptions(BaseModel):
    """A cluster to keep warm."""

    model_config = ConfigDict(extra="forbid")

    site: str = Field(description="Name of the site.")
    offer: str = Field(description="Name of the offer there.")
    tenant: str = Field(description="Who pays, as named in tenants.yaml.")
    devices: int = Field(1, ge=1, description="Devices of the cluster; a run that takes it asks for as many.")
    keep_s: float = Field(
        600.0, gt=0, allow_inf_nan=False, title="Keep (s)", description="Seconds for which it idles for nobody."
    )
    serve_s: float = Field(
        3600.0,
        gt=0,
        allow_inf_nan=False,
        title="Serve (s)",
        description="Seconds that it lasts beyond that for the run that takes it; its permit has to fit.",
    )

    def parameters(self) -> dict[str, Any]:
        """What the site is told."""
        return {"keep_s": self.keep_s}

    def kept(self) -> Kept:
        return Kept(self.site, self.offer, self.serve_s)

    def request(self) -> WorkloadRequest:
        """The workload request.

        Raises:
            InputError: ``UNKNOWN_SITE``, ``UNKNOWN_OFFER``; ``CONTRADICTORY_POOL`` and what else a site file that said the same
                would be refused for.
        """
        offer = _may_be_kept(control_plane(), self)
        return warm_request(self.tenant, self.devices, self.keep_s + self.serve_s, offer.relative_speed)


def _may_be_kept(control: ControlPlane, options: WarmOptions) -> Offer:
    """The offer, which may be kept warm as a site file might say it."""
    site = control.site(options.site)
    for pool in site.pools:
        for offer in pool.offers:
            if offer.name == options.offer:
                setting = WarmSetting(offer.name, options.tenant, options.devices, 1, options.keep_s, options.serve_s)
                replace(pool, warm=(setting,))
                return offer
    names = sorted(offer.name for pool in site.pools for offer in pool.offers)
    raise InputError("UNKNOWN_OFFER", f"{options.offer!r} is not sold there", f"site {site.name}", f"use {names}")


def warm_runs(control: ControlPlane) -> set[str]:
    """Ids of the warm runs that go on."""
    active = control.database.runs.runs((RunState.ACTIVE,), _MOST_RUNS)
    return {run.run_id for run in active if run.kind is WorkKind.WARM}


def ready_clusters(control: ControlPlane, now_at: float) -> tuple[WarmCluster, ...]:
    """Warm clusters that stand ready for a run: their site has said that they are up, and not that they ended."""
    runs, warm = control.database.runs, warm_runs(control)
    if not warm:
        return ()
    return tuple(
        WarmCluster(each.permit.id, each.site, each.offer, held_by(each, now_at), each.permit.expires_at)
        for each in runs.open_attempts()
        if each.run_id in warm and is_ready(control, each)
    )


def is_ready(control: ControlPlane, attempt: AttemptRecord) -> bool:
    """Whether this attempt of a warm run has a cluster that can be taken."""
    if attempt.state is not AttemptState.DISPATCHED or attempt.ending is not None:
        return False
    try:
        report = running_report(control, attempt)
        return report is not None and report.ready_at is not None and closing_report(control, attempt) is None
    except RefusedError:
        return False  # not signed by its site: others' runs keep away from it

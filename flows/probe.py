"""An empty job through the whole of Headrace: what placement, permit and settlement cost in themselves."""

from __future__ import annotations

from typing import Any

from infra.core.workload import WorkKind
from tasks.entry import entry_flow
from tasks.options import PlacementOptions, ProbeChoices
from tasks.running import run_placed, started_at


@entry_flow("probe", flow_run_name="probe for {options.tenant}")
def probe(options: PlacementOptions, probe: ProbeChoices = ProbeChoices()) -> dict[str, Any]:
    """Place, permit, run and settle a job that does nothing, or sleeps.

    Args:
        options: Who pays, by when, for how much, and where it may run.
        probe: How long the job lasts.
    """
    request = options.request(WorkKind.PROBE, (), probe.sleep_s, started_at(), probe)
    return run_placed(request, (), probe.parameters(), "").as_dict()

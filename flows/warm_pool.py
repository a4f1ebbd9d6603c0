"""A cluster that is booted before anybody asks for it, and idles until a run takes it or its time is up."""

from __future__ import annotations

from typing import Any

from tasks.entry import entry_flow
from tasks.running import run_placed
from tasks.warming import WarmOptions


@entry_flow("warm-pool", flow_run_name="warm {options.site}/{options.offer}")
def warm_pool(options: WarmOptions) -> dict[str, Any]:
    """Place, permit and boot a cluster at exactly this offer, and settle what idled.

    The controller starts these by what the site files ask for. One run uses the cluster at most.

    Args:
        options: Where, for how long, and who pays.
    """
    return run_placed(options.request(), (), options.parameters(), "", kept=options.kept()).as_dict()

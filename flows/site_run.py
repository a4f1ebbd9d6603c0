"""The one flow that a site runs: permitted work on the lease's cluster."""

from __future__ import annotations

from typing import Any

from prefect import flow

from tasks.progress import ShownProgress
from tasks.site_run import SiteContext, execute


@flow(name="site-run", persist_result=False)
def site_run(permit: str, work: dict[str, Any]) -> dict[str, Any]:
    """Do one attempt's work. The site's worker has verified the permit before this process began.

    Args:
        permit: The control plane's permit; it is of no use to anybody else.
        work: What to do, bound to the permit by its digest.
    """
    with ShownProgress() as progress:
        result = execute(SiteContext.from_env(), work, progress)
    return {"units_done": result.units_done, "metrics": result.metrics}

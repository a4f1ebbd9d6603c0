"""Keeps clusters warm where the site files ask for it: as many as recent demand is worth, and never more than allowed.

It only starts them. None is cancelled when demand falls: they idle out by themselves, on money that is reserved.
"""

from __future__ import annotations

from infra.adapters import prefect_runs
from infra.core.warm import WarmSetting
from infra.wiring import ControlPlane
from tasks.warm_stock import Stock, stocks, tag_of

DEPLOYMENT = "warm-pool/keep"

BACK_OFF_S = 300.0
"""After one that ended badly — infeasible, refused by the policy or the budget, lost, cancelled — none is started for so long."""


class WarmPools:
    """Starts what is missing."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    def look(self) -> list[str]:
        """Compare each setting's stock with what is wanted. Returns what was started, for the log."""
        return [line for stock in stocks(self._control) for line in self._fill(stock)]

    def _fill(self, stock: Stock) -> list[str]:
        if stock.missing == 0 or self._backs_off(stock):
            return []
        tag = tag_of(stock.site, stock.setting)
        # As long as Prefect shows nothing newer, the same is asked for again: then no second one is made of it.
        newest = stock.runs[0].id if stock.runs else "first"
        for number in range(stock.missing):
            prefect_runs.start(DEPLOYMENT, _parameters(stock.site, stock.setting), f"{tag}:{newest}:{number}", [tag])
        return [f"{stock.missing} more of {tag}, of {stock.wanted} wanted"]

    def _backs_off(self, stock: Stock) -> bool:
        since_at = self._control.clock.now() - BACK_OFF_S
        return any(run.final and not run.completed and run.since > since_at for run in stock.runs)


def _parameters(site: str, setting: WarmSetting) -> dict[str, object]:
    return {
        "options": {
            "site": site,
            "offer": setting.offer,
            "tenant": setting.tenant,
            "devices": setting.devices,
            "keep_s": setting.keep_s,
            "serve_s": setting.serve_s,
        }
    }

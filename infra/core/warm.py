"""Warm clusters: machines of a cloud that were booted before anybody asked, and how many of them are worth their idling.

A warm cluster idles until a run takes it, which then starts without a boot. One run uses it at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from infra.core.errors import InputError
from infra.core.units import require_number

TAKEN = "taken"
"""What the record of a warm cluster's attempt has as its ending once a run was given the cluster."""

WINDOW_S = 3600.0
"""Demand is what was placed within this time before now."""

SERVICE = 0.9
"""So many of those that come are to find a warm cluster, while demand stays what it was."""

LEAST_SERVE_S = 900.0
"""A permit lasts for ten minutes beyond what its run may take, so that no run would fit into less."""

MOST_WARM = 64
"""Of one setting: what is kept for more than these comes from prediction no more."""


@dataclass(frozen=True, slots=True)
class WarmSetting:
    """How many clusters of an offer may be kept warm, for how long, and at whose cost.

    Attributes:
        offer: Name of the offer, in the same pool.
        tenant: Who pays for what idles.
        devices: Of each cluster; a run takes one with exactly as many as it asks for.
        most: How many may idle or boot at once.
        keep_s: How long one idles for nobody before it ends.
        serve_s: How long one lasts for the run that takes it, beyond ``keep_s``. The run's permit has to fit into it.
    """

    offer: str
    tenant: str
    devices: int = 1
    most: int = 1
    keep_s: float = 600.0
    serve_s: float = 3600.0

    def __post_init__(self) -> None:
        where = f"warm {self.offer}"
        require_number(self.devices, f"{where}: devices", minimum=1)
        require_number(self.most, f"{where}: most", minimum=1)
        require_number(self.keep_s, f"{where}: keep_s", exclusive=True)
        require_number(self.serve_s, f"{where}: serve_s", minimum=LEAST_SERVE_S)
        if self.most > MOST_WARM:
            raise InputError("BAD_NUMBER", f"{self.most} clusters", f"{where}: most", f"use at most {MOST_WARM}")
        if not self.tenant:
            raise InputError("UNKNOWN_TENANT", "nobody pays for it", f"{where}: tenant", "name one of tenants.yaml")


def wanted(setting: WarmSetting, started_at: Sequence[float], boot_s: float, now_at: float) -> int:
    """How many clusters should be idle or on their way, from recent demand.

    Each run that takes a cluster has a new one booted in its place: a base-stock policy with one-for-one replenishment.
    When demand is Poisson, a run that comes finds one of ``n`` unless ``n`` or more others came within the boot before
    it, whatever the boots' distribution (Palm's theorem; Feeney and Sherbrooke, "The (s-1, s) inventory policy under
    compound Poisson demand", Management Science 12, 1966). So it is the smallest ``n`` with ``P(N < n) >= SERVICE``, ``N``
    being Poisson with the mean ``rate × boot_s``.

    None is wanted where the next run is expected only after ``keep_s``: most clusters would idle out unused.

    Args:
        started_at: Instants at which runs were placed at this offer with this number of devices, in any order.
        boot_s: How long a boot takes there; what boots at once is never kept.
    """
    arrivals = sum(now_at - WINDOW_S < at <= now_at for at in started_at)
    if arrivals == 0 or boot_s <= 0.0 or WINDOW_S / arrivals > setting.keep_s:
        return 0
    return min(setting.most, base_stock(arrivals / WINDOW_S * boot_s))


def base_stock(mean: float) -> int:
    """The smallest ``n`` of at most ``MOST_WARM`` with ``P(N < n) >= SERVICE`` for a Poisson ``N`` of this mean."""
    term = total = math.exp(-mean)
    number = 1
    while total < SERVICE and number < MOST_WARM:
        term *= mean / number
        total += term
        number += 1
    return number

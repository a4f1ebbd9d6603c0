"""What one start of one offer costs: shared by the decision of a single run and the plan of a pipeline."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from infra.core.placement.decision import CostParts
from infra.core.placement.estimate import Durations
from infra.core.pricing import Price
from infra.core.units import SECONDS_PER_HOUR

CAP_MARGIN_PERCENT = 10
"""On top of the machine time at the high estimate: for metering granularity and shutting down."""


def run_cost(
    price: Price, durations: Durations, high_s: float, devices: int, egress_micro: int, start_at: float
) -> tuple[CostParts, int]:
    """Expected cost by part, and the price of the machines for ``high_s`` seconds, both in micro-dollars.

    Args:
        high_s: Seconds that are kept with the required probability, hand-over included.
    """
    # Costs of the parts are differences of running totals, so that windows and rounding count once.
    ready_s = durations.boot_s + durations.transfer_s + durations.compute_s
    booted = price.cost(start_at, durations.boot_s, devices) if durations.boot_s else 0
    computed = max(booted, price.cost(start_at, ready_s, devices))
    reworked = max(computed, price.cost(start_at, durations.machine_s, devices)) if durations.rework_s else computed
    high = max(reworked, price.cost(start_at, high_s - durations.handover_s, devices))
    cost = CostParts(
        compute_micro=computed - booted,
        boot_micro=booted,
        egress_micro=egress_micro,
        rework_micro=reworked - computed,
    )
    return cost, high


Money = TypeVar("Money", int, np.ndarray)


def needed(high_micro: Money, egress_micro: Money) -> Money:
    """What a start needs of the budgets, from the price of its machines for the high estimate."""
    return -(-high_micro * (100 + CAP_MARGIN_PERCENT) // 100) + egress_micro


def run_total(
    price: Price, durations: Durations, high_s: float, devices: int, egress_micro: int, start_at: float
) -> tuple[int, int]:
    """Expected cost and need, as from :func:`run_cost`, for searches that look at many starts: parts are differences."""
    total = price.cost(start_at, durations.machine_s, devices)
    high = max(total, price.cost(start_at, high_s - durations.handover_s, devices))
    return total + egress_micro, needed(high, egress_micro)


def least_total(
    price: Price,
    durations: Durations,
    high_s: float,
    devices: int,
    egress_micro: int,
    earliest_at: float,
    latest_at: float = math.inf,
) -> tuple[int, int]:
    """The least cost and the least need, as from :func:`run_total`, of all starts between two instants."""
    per_s = price.micro_per_hour * devices / SECONDS_PER_HOUR
    # Instants are known to a fraction of a microsecond only, so what starts cost is not trusted to the last digit.
    total = math.ceil(per_s * price.least_base_s(durations.machine_s, earliest_at, latest_at) - 0.01)
    high = math.ceil(per_s * price.least_base_s(high_s - durations.handover_s, earliest_at, latest_at) - 0.01)
    return total + egress_micro, needed(max(total, high), egress_micro)

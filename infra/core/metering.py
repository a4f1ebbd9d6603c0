"""What a site measured of an attempt, and what that costs. Plain arithmetic: prices in, micro-dollars out.

A machine is paid from the moment it was asked for until it is gone: first the boot part, then the compute part. Money
is rounded up once, for the whole time, so that the parts add up to what the machine costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from infra.core.placement.decision import CostParts
from infra.core.pricing import Price
from infra.core.spot.sightings import Sighting, SpotSighting
from infra.core.units import BYTES_PER_GB, SECONDS_PER_HOUR, require_number


class ReportKind(StrEnum):
    """When a report was made."""

    OPENED = "opened"
    METER = "meter"
    CLOSED = "closed"


class ReportOutcome(StrEnum):
    """How an attempt ended at its site; ``RUNNING`` while it has not."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CAPPED = "capped"
    EXPIRED = "expired"
    """Its lease ended first."""
    REFUSED = "refused"
    LOST = "lost"
    """The process or its worker was gone before it could say anything."""


@dataclass(frozen=True, slots=True)
class SiteReport:
    """What a site says about one attempt; signed with the site's key when it travels.

    Attributes:
        exit_code: Exit status of the flow's process, negative for a signal; ``None`` while or where there was none.
        started_at: When machines were asked for; the end, of an attempt that never had one with a device.
        ready_at: When the cluster was usable; ``None`` when it never was.
        ended_at: When nothing of it was left (for ``opened`` and ``meter``: the instant of the reading).
        egress_bytes: Bytes that were read from other sites.
        egress_sources: The sites that they were read from.
        result_manifest_sha256: Digest of the attempt's manifest, when it has a whole result.
    """

    kind: ReportKind
    run_id: str
    attempt: int
    lease_id: str
    site: str
    offer: str
    devices: int
    outcome: ReportOutcome
    started_at: float
    ended_at: float
    ready_at: float | None = None
    exit_code: int | None = None
    egress_bytes: int = 0
    egress_sources: tuple[str, ...] = ()
    result_manifest_sha256: str | None = None
    message: str = ""

    def __post_init__(self) -> None:
        where = f"report of run {self.run_id}"
        require_number(self.attempt, f"{where}: attempt")
        require_number(self.devices, f"{where}: devices")
        require_number(self.egress_bytes, f"{where}: egress_bytes")
        require_number(self.started_at, f"{where}: started_at")
        require_number(self.ended_at, f"{where}: ended_at", minimum=self.started_at)
        if self.ready_at is not None:
            require_number(self.ready_at, f"{where}: ready_at", minimum=self.started_at)
            require_number(self.ended_at, f"{where}: ended_at", minimum=self.ready_at)

    @property
    def machine_s(self) -> float:
        """Seconds that each device was held."""
        return self.ended_at - self.started_at

    @property
    def boot_s(self) -> float:
        """Seconds of those before the cluster was usable."""
        return self.machine_s if self.ready_at is None else self.ready_at - self.started_at

    @property
    def run_s(self) -> float:
        return 0.0 if self.ready_at is None else self.ended_at - self.ready_at

    def measures(self) -> dict[str, float]:
        """The numbers of the record: seconds by part, bytes."""
        return {
            "machine_s": self.machine_s,
            "boot_s": self.boot_s,
            "run_s": self.run_s,
            "egress_bytes": float(self.egress_bytes),
        }


_TAKEN_BACK = ("WORKERS_LOST",)
_NEVER_UP = ("CLUSTER_START_FAILED", "CLUSTER_START_SLOW")


def sighting_of(report: SiteReport) -> SpotSighting | None:
    """What a report on a spot offer shows of its capacity; ``None`` when it says nothing.

    A process that died or a worker that was killed is no sign of capacity, neither that it went nor that it stayed.
    """
    ready_at = report.ready_at
    if ready_at is None:
        refused = report.outcome is ReportOutcome.LOST and report.message.startswith(_NEVER_UP)
        return _sighting(report, Sighting.REFUSED, report.ended_at) if refused else None
    if report.kind is not ReportKind.CLOSED:
        return replace(_sighting(report, Sighting.OPENED, ready_at), at=ready_at)
    if report.outcome is not ReportOutcome.LOST:
        return _sighting(report, Sighting.HELD, ready_at)
    return _sighting(report, Sighting.RECLAIMED, ready_at) if report.message.startswith(_TAKEN_BACK) else None


def _sighting(report: SiteReport, what: Sighting, since_at: float) -> SpotSighting:
    return SpotSighting(report.run_id, report.attempt, report.site, report.offer, what, since_at, report.ended_at)


def machine_cost_micro(price: Price | None, devices: int, started_at: float, until_at: float) -> int:
    """Micro-dollars for devices held from one instant until another; an unknown price counts as 0."""
    if price is None or until_at <= started_at:
        return 0
    return price.cost(started_at, until_at - started_at, devices)


def egress_cost_micro(egress_bytes: int, egress_micro_per_gb: int) -> int:
    """Micro-dollars for bytes that left a site, rounded up."""
    return math.ceil(egress_bytes * egress_micro_per_gb / BYTES_PER_GB - 1e-9)


def charge_parts(report: SiteReport, price: Price | None, egress_micro_per_gb: int, cap_micro: int) -> CostParts:
    """What an attempt is charged, by part and never above its cap.

    When the cap cuts the sum, compute gives way first, then boot, then egress.

    Args:
        price: The offer's price when it was placed.
        egress_micro_per_gb: Price of the bytes that left their site.
        cap_micro: What is reserved for the attempt.
    """
    machine = machine_cost_micro(price, report.devices, report.started_at, report.ended_at)
    boot = min(machine, machine_cost_micro(price, report.devices, report.started_at, report.started_at + report.boot_s))
    egress = min(egress_cost_micro(report.egress_bytes, egress_micro_per_gb), cap_micro)
    boot_charged = min(boot, cap_micro - egress)
    compute = min(machine - boot, cap_micro - egress - boot_charged)
    return CostParts(compute_micro=compute, boot_micro=boot_charged, egress_micro=egress)


def cap_reached_at(price: Price | None, devices: int, started_at: float, cap_micro: int) -> float:
    """The last instant until which these devices cost no more than the cap; infinity when they are free."""
    if price is None or price.micro_per_hour == 0 or devices == 0:
        return math.inf
    left, at = float(cap_micro), started_at
    while True:
        until_at = price.next_change_at(at)
        micro_per_s = price.micro_per_hour * price.factor_at(at) * devices / SECONDS_PER_HOUR
        if micro_per_s > 0 and micro_per_s * (until_at - at) >= left:
            return at + left / micro_per_s
        if math.isinf(until_at):
            return math.inf
        left -= micro_per_s * (until_at - at)
        at = until_at
        if at - started_at > 366 * 86_400.0:
            # Nothing leased here lives for a year; all windows may be free of charge.
            return math.inf

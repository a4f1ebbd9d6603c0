"""A small world for the tables of placement tests: one owned site and two clouds, round numbers throughout."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from infra.core.budget import Balance
from infra.core.inventory import Cluster, DatasetVersion, Offer, Pool, Purchase, Site, TrustZone
from infra.core.placement.decision import Candidate, Decision, Reason, ReasonCode
from infra.core.placement.snapshot import OfferLoad, Rate, Release, Snapshot
from infra.core.policy import Policy
from infra.core.pricing import Price
from infra.core.workload import DatasetRef, Resources, WorkKind, WorkloadRequest

NOW_AT = 1_795_521_600.0  # 2026-11-24T12:00:00Z
USD = 1_000_000
HOUR_S = 3600.0


def offer(
    name: str = "od", purchase: Purchase = Purchase.ON_DEMAND, price: Price | int | None = 0, **changes: Any
) -> Offer:
    values: dict[str, Any] = {"device": "gpu-sim", "capacity": 4, "memory_gb": 16.0, "relative_speed": 1.0} | changes
    return Offer(name, purchase, price=Price(price) if isinstance(price, int) else price, **values)


def site(name: str, country: str, *offers: Offer, zone: TrustZone = TrustZone.PUBLIC, **changes: Any) -> Site:
    return Site(name, country, zone, (Pool(name, Cluster.LOCAL, offers),), simulated=True, **changes)


OWNED = offer("owned", Purchase.OWNED, 0, capacity=2)
ONPREM = site("onprem", "DE", OWNED, zone=TrustZone.PRIVATE)
EU = site(
    "cloud-eu",
    "DE",
    offer("od", Purchase.ON_DEMAND, 4 * USD, boot_s=100.0),
    offer("spot", Purchase.SPOT, 2 * USD, boot_s=100.0, interruptions_per_hour=0.36),
    egress_micro_per_gb=90_000,
)
US = site("cloud-us", "US", offer("od", Purchase.ON_DEMAND, 3 * USD, boot_s=100.0), egress_micro_per_gb=80_000)

DIGITS = DatasetVersion("digits", "v1", 4_000_000_000, ("onprem",), ("EU",))
DOCS = DatasetVersion("docs", "v1", 0, ("onprem",), ("PUBLIC",))


def snapshot(**changes: Any) -> Snapshot:
    """1,000 units take one device 1,000 s; there is no fixed time; each part takes half more in one of ten."""
    base = Snapshot(
        now_at=NOW_AT,
        policy=Policy("p1"),
        sites=(ONPREM, EU, US),
        datasets=(DIGITS, DOCS),
        balances=(Balance("vision", "2026-11", 100 * USD), Balance("poor", "2026-11", 0)),
        rates=(Rate(WorkKind.TRAINING, "", 0.0, 1.0, 0.5),),
    )
    return replace(base, **changes)


def request(**changes: Any) -> WorkloadRequest:
    """1,000 s of training on the digits with one device."""
    base = WorkloadRequest(WorkKind.TRAINING, "vision", (DatasetRef("digits", "v1"),), 1000.0, Resources(1))
    return replace(base, **changes)


def on_docs(**changes: Any) -> WorkloadRequest:
    return request(datasets=(DatasetRef("docs", "v1"),), **changes)


def high_s(*parts_s: float, spread: float = 0.5) -> float:
    """Seconds that nine of ten runs keep: the excesses of the parts, each with this spread, at right angles."""
    return sum(parts_s) + spread * math.hypot(*parts_s)


def busy(until_s: float = HOUR_S, devices: int = 2) -> OfferLoad:
    """The owned devices in use until then."""
    return OfferLoad("onprem", "owned", (Release(NOW_AT + until_s, devices),))


def candidate(decision: Decision, site_name: str, offer_name: str) -> Candidate:
    return next(c for c in decision.candidates if (c.site, c.offer) == (site_name, offer_name))


def codes(decision: Decision, site_name: str, offer_name: str) -> list[ReasonCode]:
    return [item.code for item in candidate(decision, site_name, offer_name).reasons]


def params(decision: Decision, site_name: str, offer_name: str, code: ReasonCode) -> dict[str, Any]:
    found: list[Reason] = [r for r in candidate(decision, site_name, offer_name).reasons if r.code is code]
    assert len(found) == 1
    return dict(found[0].params)

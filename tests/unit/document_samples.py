"""Small hand-made core values and files for the tests of documents, rendering and ``headrace place``."""

from __future__ import annotations

from pathlib import Path

from infra.core.budget import Balance
from infra.core.inventory import Cluster, DatasetVersion, Offer, Pool, Purchase, Site, TrustZone
from infra.core.placement.snapshot import Health, OfferLoad, Rate, Release, SiteHealth, Snapshot
from infra.core.policy import Policy, Span, TenantRules, Window
from infra.core.pricing import Price, PriceWindow
from infra.core.units import instant
from infra.core.workload import DatasetRef, Resources, WorkKind, WorkloadRequest
from tests.policy_support import Rule, text_of

NOW = "2026-11-24T14:00:00Z"
NOW_AT = instant(NOW)
REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"

SITE_YAML = """\
name: edge-osl
jurisdiction: NO
trust_zone: partner
simulated: true
egress_usd_per_gb: 0.02
pools:
  - name: edge-osl
    cluster: local
    offers:
      - name: spot
        purchase: spot
        device: gpu-sim
        capacity: 4
        memory_gb: 24
        price_usd_per_hour: 0.42
        price_valid_until: 2026-12-01T00:00:00Z
        price_windows: [{from: 22:00, to: 06:00, factor: 0.5}]
        boot_s: 4
        interruptions_per_hour: 0.05
"""


def offer(name: str, purchase: Purchase, price: Price | None, **changes: float) -> Offer:
    values = {"capacity": 4, "memory_gb": 24.0, "relative_speed": 1.0, "boot_s": 4.0, **changes}
    return Offer(name=name, purchase=purchase, device="gpu-sim", price=price, **values)


def snapshot() -> Snapshot:
    """Whole numbers in float fields, empty and set options, non-ASCII text: all that a record must keep."""
    window = PriceWindow(1320, 360, 0.5)
    home = offer("owned", Purchase.OWNED, Price(0), capacity=2, boot_s=0)
    spot = offer("spot", Purchase.SPOT, Price(420_000, NOW_AT + 86_400, (window,)), interruptions_per_hour=0.05)
    dear = offer("on-demand", Purchase.ON_DEMAND, Price(1_200_000), memory_gb=16)
    return Snapshot(
        now_at=NOW_AT,
        policy=Policy(
            "p1",
            text_of(Rule("no-us", "Zürich says no", jurisdictions=("US",))),
            windows=(Window("night", (Span(NOW_AT - 0.5, NOW_AT + 600),)),),
            tenants=(TenantRules("vision", ("product",), 5_000_000),),
            valid_until_at=NOW_AT + 10_000.5,
        ),
        sites=(
            Site("home", "DE", TrustZone.PRIVATE, (Pool("home", Cluster.ATTACHED, (home,)),), 20_000, 1000, True),
            Site("cloud", "DE", TrustZone.PUBLIC, (Pool("cloud", Cluster.LOCAL, (spot, dear)),), 90_000, 250.5, True),
            Site("far", "US", TrustZone.PUBLIC, (Pool("far", Cluster.LOCAL, (spot,)),), 90_000, 250.5, True),
        ),
        datasets=(DatasetVersion("mnist5k", "v1", 8_000_000, ("home",), ("EU",)),),
        balances=(Balance("vision", "2026-11", 25_000_000, 5, 7),),
        rates=(Rate(WorkKind.TRAINING, "", 4, 0.0002, 0.5), Rate(WorkKind.TRAINING, "gpu-sim", 4.5, 1e-7, 0, 12)),
        loads=(OfferLoad("home", "owned", (Release(NOW_AT + 600, 2),), 0.25),),
        health=(SiteHealth("far", Health.DOWN, "no heartbeat for 90 s"), SiteHealth("home", Health.UP)),
    )


def request(**changes: object) -> WorkloadRequest:
    values: dict[str, object] = {
        "kind": WorkKind.TRAINING,
        "tenant": "vision",
        "datasets": (DatasetRef("mnist5k", "v1"),),
        "units": 50_000,
        "resources": Resources(devices=2),
        "deadline_at": NOW_AT + 60,
        "budget_micro": 1_000_000,
        **changes,
    }
    return WorkloadRequest(**values)  # type: ignore[arg-type]

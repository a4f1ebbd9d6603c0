"""Hypothesis strategies for core values: requests and snapshots that belong together, and the decisions they give.

The values are drawn so that all outcomes are common: few names, so that things meet; round numbers mixed with odd
ones; budgets and deadlines on both sides of what a run needs.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import strategies as st

from infra.core.budget import Balance
from infra.core.inventory import Cluster, DatasetVersion, Offer, Pool, Purchase, Site, TrustZone
from infra.core.placement.decide import decide
from infra.core.placement.decision import Decision
from infra.core.placement.snapshot import Health, OfferLoad, QueueEntry, Rate, Release, SiteHealth, Snapshot
from infra.core.policy import Span, Window
from infra.core.pricing import Price, PriceWindow
from infra.core.workload import DatasetRef, Fallback, Resources, WorkKind, WorkloadRequest
from tests.policy_support import Rule, policy_of

NOW_AT = 1_795_521_600.0  # 2026-11-24T12:00:00Z
PERIOD = "2026-11"
COUNTRIES = ("DE", "FR", "US", "CH")
TAGS = ("PUBLIC", "EU", "DE", "US", "CH", "DACH")
DEVICES = ("gpu-a", "gpu-b")
SITES = ("s0", "s1", "s2", "s3")
KINDS = (WorkKind.TRAINING, WorkKind.BATCH_INFERENCE)
TENANTS = ("vision", "search")


def mostly(usual: object, *others: object) -> st.SearchStrategy:
    """``usual`` nine times out of ten: what would make almost everything infeasible is drawn seldom."""
    return st.sampled_from([usual] * 9 * len(others) + list(others))


def subsets(values: tuple, least: int = 0) -> st.SearchStrategy[tuple]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=len(values), unique=True).map(tuple)


minutes = st.sampled_from((0, 90, 360, 719, 750, 840, 1320, 1439))

price_windows = st.builds(
    lambda start, length, factor: PriceWindow(start, (start + length) % 1440, factor),
    minutes,
    st.integers(1, 1439),
    st.sampled_from((0.0, 0.3, 0.5, 1.0, 1.7, 3.0)),
)

prices = st.builds(
    Price,
    micro_per_hour=st.sampled_from((0, 1, 123_457, 900_000, 2_500_000, 4_000_000)),
    valid_until_at=mostly(None, NOW_AT + 600, NOW_AT, NOW_AT - 1),
    windows=st.one_of(st.just(()), st.lists(price_windows, max_size=2).map(tuple)),
)


@st.composite
def offers(draw: st.DrawFn, name: str) -> Offer:
    purchase = draw(st.sampled_from(Purchase))
    return Offer(
        name=name,
        purchase=purchase,
        device=draw(st.sampled_from(DEVICES)),
        capacity=draw(st.sampled_from((6, 4, 6, 2, 1, 0))),
        memory_gb=draw(st.sampled_from((24.0, 16.0, 8.0))),
        relative_speed=draw(st.sampled_from((0.5, 1.0, 2.5))),
        price=None if draw(mostly(False, True)) else draw(prices),
        boot_s=draw(st.sampled_from((0.0, 20.0, 91.5))),
        interruptions_per_hour=draw(st.sampled_from((0.0, 0.1, 2.0))) if purchase is Purchase.SPOT else 0.0,
    )


@st.composite
def sites(draw: st.DrawFn, name: str) -> Site:
    names = [f"o{index}" for index in range(draw(st.sampled_from((2, 1, 3))))]
    cut = draw(st.integers(0, len(names) - 1))
    pools = [Pool(f"{name}-a", Cluster.LOCAL, tuple(draw(offers(offer)) for offer in names[cut:]))]
    if cut:
        pools.append(Pool(f"{name}-b", Cluster.ATTACHED, tuple(draw(offers(offer)) for offer in names[:cut])))
    return Site(
        name=name,
        jurisdiction=draw(st.sampled_from(COUNTRIES)),
        trust_zone=draw(st.sampled_from((TrustZone.PRIVATE, TrustZone.PARTNER, TrustZone.PUBLIC))),
        pools=tuple(pools),
        egress_micro_per_gb=draw(st.sampled_from((0, 20_000, 90_000))),
        bandwidth_mbps=draw(st.sampled_from((100.0, 1000.0))),
        simulated=True,
    )


datasets = st.builds(
    DatasetVersion,
    name=st.just("digits"),
    version=st.just("v1"),
    bytes=st.sampled_from((0, 3_000_001, 5_000_000_000)),
    copies=st.one_of(st.just(SITES), subsets((*SITES, "gone"), least=1)),
    residency=st.one_of(st.just(("PUBLIC",)), st.just(("EU", "CH")), subsets(TAGS, least=1)),
    trust_zone=mostly(TrustZone.PUBLIC, TrustZone.PARTNER, TrustZone.PRIVATE),
)


@st.composite
def two_datasets(draw: st.DrawFn) -> tuple[DatasetVersion, ...]:
    first, second = draw(datasets), draw(datasets)
    return (
        first,
        DatasetVersion("docs", "v7", second.bytes, second.copies, second.residency, second.trust_zone),
    )


rules = st.builds(
    Rule,
    id=st.just("r"),
    description=st.just("no"),
    tenants=subsets(TENANTS),
    kinds=subsets(KINDS),
    sites=subsets(SITES, least=1),
    jurisdictions=subsets(COUNTRIES),
    trust_zones=subsets(tuple(TrustZone)),
    purchases=subsets(tuple(Purchase)),
    datasets=subsets(("digits", "docs")),
    windows=st.one_of(st.just(()), subsets(("day", "night"))),
)

spans = st.lists(st.sampled_from((-3600.0, 0.0, 600.0, 5000.0, 40_000.5, 90_000.0, 170_000.0)), unique=True).map(
    lambda edges: tuple(Span(NOW_AT + low, NOW_AT + high) for low, high in pairwise(sorted(edges)))[::2]
)

policies = st.builds(
    lambda drawn, until, day, night: policy_of(
        *(replace(rule, id=f"r{i}") for i, rule in enumerate(drawn)),
        valid_until_at=until,
        windows=(Window("day", day), Window("night", night)),
    ),
    st.lists(rules, max_size=2),
    mostly(None, NOW_AT + 5, NOW_AT - 5),
    spans,
    spans,
)


@st.composite
def rates(draw: st.DrawFn) -> tuple[Rate, ...]:
    named = draw(subsets(tuple((kind, device) for kind in KINDS for device in DEVICES)))
    if draw(mostly(True, False)):
        named += tuple((kind, "") for kind in KINDS)
    return tuple(
        Rate(
            kind,
            device,
            fixed_s=draw(st.sampled_from((0.0, 5.0))),
            unit_s=draw(st.sampled_from((0.001, 0.0777))),
            spread=draw(st.sampled_from((0.0, 0.2, 0.55, (0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.5, 9.0)))),
            samples=3,
        )
        for kind, device in named
    )


@st.composite
def loads(draw: st.DrawFn, drawn_sites: tuple[Site, ...]) -> tuple[OfferLoad, ...]:
    found = []
    for site in drawn_sites:
        for pool in site.pools:
            for offer in pool.offers:
                if draw(st.booleans()):
                    releases = draw(
                        st.lists(
                            st.builds(
                                Release,
                                at=st.sampled_from((NOW_AT - 30, NOW_AT + 100.25, NOW_AT + 3600, NOW_AT + 90_000)),
                                devices=st.integers(1, 4),
                                late_at=mostly(None, NOW_AT + 90_000, NOW_AT + 100_000.5),
                            ),
                            max_size=3,
                        )
                    )
                    boot_s = draw(st.sampled_from((None, 12.5)))
                    measured = draw(mostly((), (None, 3.5, 1.0), (0.2, 2.0, 0.4)))
                    found.append(OfferLoad(site.name, offer.name, tuple(releases), boot_s, *measured))
    return tuple(found)


@st.composite
def queues(draw: st.DrawFn, drawn_sites: tuple[Site, ...]) -> tuple[QueueEntry, ...]:
    """Seldom anybody waits; who does has a start that is past, now or later."""
    found = []
    for site in drawn_sites:
        for pool in site.pools:
            for offer in pool.offers:
                if offer.capacity and draw(st.integers(0, 9)) == 0:
                    starts = st.sampled_from((NOW_AT - 30.0, NOW_AT, NOW_AT + 600.0, NOW_AT + 7200.0))
                    entry = QueueEntry(
                        run_id=f"waits-{site.name}-{offer.name}",
                        tenant=TENANTS[0],
                        site=site.name,
                        offer=offer.name,
                        devices=draw(st.integers(1, max(1, offer.capacity))),
                        arrived_at=NOW_AT - 60.0,
                        runtime_s=draw(st.sampled_from((60.0, 1800.0, 100_000.0))),
                        start_at=draw(starts),
                    )
                    found.append(entry)
    return tuple(found)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    drawn_sites = tuple(draw(sites(name)) for name in SITES[: draw(st.sampled_from((3, 2, 4, 1)))])
    down = draw(mostly((), ("s0",), ("s1",)))
    limits = st.sampled_from((10**9, 2_000_000, 50_000, 0))
    return Snapshot(
        now_at=NOW_AT,
        policy=draw(policies),
        sites=drawn_sites,
        datasets=draw(two_datasets()),
        balances=tuple(
            Balance(tenant, PERIOD, (limit := draw(limits)), reserved_micro=limit // 7, settled_micro=limit // 3)
            for tenant in TENANTS
        ),
        rates=draw(rates()),
        loads=draw(loads(drawn_sites)),
        queue=draw(queues(drawn_sites)),
        health=tuple(SiteHealth(name, Health.DOWN, "no heartbeat") for name in down),
    )


@st.composite
def requests(draw: st.DrawFn, snapshot: Snapshot | None = None) -> WorkloadRequest:
    """A request that is valid for any drawn snapshot; device kinds are limited to what ``snapshot`` sells."""
    sold = DEVICES
    if snapshot is not None:
        sold = tuple(sorted({offer.device for site in snapshot.sites for pool in site.pools for offer in pool.offers}))
    refs = draw(subsets((DatasetRef("digits", "v1"), DatasetRef("docs", "v7"))))
    after_s = draw(st.one_of(st.none(), st.sampled_from((100_000, 4000, 900, 150, 60, 10))))
    return WorkloadRequest(
        kind=draw(st.sampled_from(KINDS)),
        tenant=draw(st.sampled_from(TENANTS)),
        datasets=refs,
        units=draw(st.sampled_from((0.0, 1_000.0, 50_000.0))),
        resources=Resources(
            devices=draw(st.sampled_from((1, 2, 1, 2, 3, 7))),
            device_kinds=draw(st.one_of(st.just(()), subsets(sold))),
            memory_gb=draw(mostly(0.0, 8.0, 12.0, 20.0, 30.0)),
        ),
        deadline_at=None if after_s is None else NOW_AT + after_s,
        budget_micro=draw(st.sampled_from((None, 20_000_000, 1_000_000, 40_000, 1_000, 0))),
        priority=draw(st.integers(0, 100)),
        residency=draw(st.one_of(st.just(()), st.just(("EU",)), subsets(TAGS))),
        trust_zone=draw(mostly(TrustZone.PUBLIC, TrustZone.PARTNER, TrustZone.PRIVATE)),
        purchases=draw(st.one_of(st.just(tuple(Purchase)), subsets(tuple(Purchase), least=1))),
        checkpointed=draw(st.booleans()),
        fallbacks=draw(st.sampled_from(((Fallback.WAIT,), ()))),
        wait_micro_per_hour=draw(st.sampled_from((None, 0, 50_000, 3_000_000))),
        deadline_probability=draw(mostly(0.9, 0.75, 0.95, 0.99)),
    )


@st.composite
def problems(draw: st.DrawFn) -> tuple[WorkloadRequest, Snapshot]:
    """A request and a snapshot that belong together: ``decide`` raises no error for them."""
    snapshot = draw(snapshots())
    return draw(requests(snapshot)), snapshot


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    return decide(*draw(problems()))

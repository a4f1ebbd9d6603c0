"""How long one decision takes, by the number of offers: residency, policy, both budgets and a deadline are on.

Sites, offers, loads, datasets and requests are drawn with a fixed seed. Every decision is made on a snapshot of its own, whose
loads and balances are new objects as in production; sites, policy and prices stay the same between snapshots.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from infra.core.budget import Balance
from infra.core.inventory import Cluster, DatasetVersion, Offer, Pool, Purchase, Site, TrustZone
from infra.core.placement.decide import decide
from infra.core.placement.decision import Outcome
from infra.core.placement.snapshot import OfferLoad, Rate, Release, Snapshot
from infra.core.pricing import Price, PriceWindow
from infra.core.units import period_of
from infra.core.workload import DatasetRef, Resources, WorkKind, WorkloadRequest
from infra.documents import load_policy
from infra.documents.policy_windows import policy_at

NOW_AT = 1_790_000_000.0
COUNTRIES = ("DE", "FR", "NL", "IE", "SE", "US", "CA", "GB", "CH", "JP")
RESIDENCIES = (("EU",), ("PUBLIC",), ("DE",), ("EU", "CH"), ("US", "CA"))
DEVICES = ("gpu-l4", "gpu-a100", "gpu-h100", "cpu")
KINDS = (WorkKind.TRAINING, WorkKind.EVALUATION, WorkKind.EMBEDDING_REFRESH, WorkKind.BATCH_INFERENCE)
TENANTS = ("vision", "search", "students")
OFFERS_PER_SITE = 20


def draw_sites(rng: random.Random, offers: int) -> tuple[Site, ...]:
    """Sites with some 20 offers each; a tenth of them have price windows, a fifth are owned."""

    def offer(index: int) -> Offer:
        purchase = rng.choices((Purchase.OWNED, Purchase.ON_DEMAND, Purchase.SPOT), (1, 2, 2))[0]
        windows = (PriceWindow(1320, 360, 0.6),) if rng.random() < 0.1 else ()
        price = 0 if purchase is Purchase.OWNED else rng.randrange(200_000, 4_000_000)
        return Offer(
            name=f"offer-{index:02}",
            purchase=purchase,
            device=rng.choice(DEVICES),
            capacity=rng.choice((1, 2, 4, 8, 16)),
            memory_gb=rng.choice((16.0, 24.0, 40.0, 80.0)),
            relative_speed=round(rng.uniform(0.5, 4.0), 2),
            price=Price(price, windows=windows),
            boot_s=0.0 if purchase is Purchase.OWNED else rng.choice((30.0, 90.0, 180.0)),
            interruptions_per_hour=rng.choice((0.02, 0.1)) if purchase is Purchase.SPOT else 0.0,
        )

    return tuple(
        Site(
            name=f"site-{number:04}",
            jurisdiction=rng.choice(COUNTRIES),
            trust_zone=rng.choice(tuple(TrustZone)),
            pools=(
                Pool("pool", Cluster.ATTACHED, tuple(offer(index) for index in range(min(OFFERS_PER_SITE, offers)))),
            ),
            egress_micro_per_gb=rng.choice((0, 20_000, 90_000)),
            bandwidth_mbps=rng.choice((500.0, 1000.0, 10_000.0)),
        )
        for number in range(max(1, offers // OFFERS_PER_SITE))
    )


def draw_snapshot(rng: random.Random, sites: tuple[Site, ...], base: Snapshot) -> Snapshot:
    """The base with other loads and balances."""
    loads = []
    for site in rng.sample(sites, max(1, len(sites) // 3)):
        for offer in rng.sample(site.pools[0].offers, max(1, len(site.pools[0].offers) // 4)):
            release = Release(NOW_AT + rng.uniform(60, 7200), rng.randint(1, offer.capacity))
            loads.append(OfferLoad(site.name, offer.name, (release,)))
    balances = tuple(
        Balance(tenant, period_of(NOW_AT), rng.randrange(5, 500) * 1_000_000, reserved_micro=rng.randrange(4_000_000))
        for tenant in TENANTS
    )
    return replace(base, loads=tuple(loads), balances=balances)


def draw_request(rng: random.Random, datasets: tuple[DatasetVersion, ...]) -> WorkloadRequest:
    named = rng.sample(datasets, rng.randint(1, 2))
    return WorkloadRequest(
        kind=rng.choice(KINDS),
        tenant=rng.choice(TENANTS),
        datasets=tuple(DatasetRef(version.name, version.version) for version in named),
        units=rng.uniform(1e4, 1e6),
        resources=Resources(devices=rng.choice((1, 1, 2, 4)), memory_gb=rng.choice((0.0, 24.0))),
        deadline_at=NOW_AT + rng.choice((1800.0, 7200.0, 86_400.0)),
        budget_micro=rng.choice((2_000_000, 20_000_000, 100_000_000)),
    )


def measure(offers: int, decisions: int, seed: int) -> tuple[np.ndarray, dict[Outcome, int]]:
    """Seconds of each decision, and how often each outcome came."""
    rng = random.Random(seed)
    sites = draw_sites(rng, offers)
    datasets = tuple(
        DatasetVersion(
            f"data-{index:02}",
            "v1",
            rng.randrange(10**8, 10**11),
            tuple(site.name for site in rng.sample(sites, min(3, len(sites)))),
            rng.choice(RESIDENCIES),
            rng.choice((TrustZone.PUBLIC, TrustZone.PUBLIC, TrustZone.PARTNER)),
        )
        for index in range(20)
    )
    rates = tuple(Rate(kind, "", 5.0, 0.01, 0.3) for kind in KINDS)
    base = Snapshot(NOW_AT, policy_at(load_policy(), NOW_AT), sites, datasets, (), rates)
    problems = [(draw_request(rng, datasets), draw_snapshot(rng, sites, base)) for _ in range(decisions)]
    seconds, outcomes = np.empty(decisions), dict.fromkeys(Outcome, 0)
    for index, (request, snapshot) in enumerate([problems[0], *problems]):
        began = time.perf_counter()
        decision = decide(request, snapshot)
        if index:  # the first makes the columns of the sites, which later ones use
            seconds[index - 1] = time.perf_counter() - began
            outcomes[decision.outcome] += 1
    return seconds, outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offers", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--decisions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    table = Table(title=f"One decision, {options.decisions} of them, seed {options.seed}", title_justify="left")
    for heading in ("offers", "p50 ms", "p99 ms", "max ms", "run", "wait", "infeasible"):
        table.add_column(heading, justify="right")
    for offers in options.offers:
        seconds, outcomes = measure(offers, options.decisions, options.seed)
        p50, p99 = np.percentile(seconds * 1e3, (50, 99))
        counts = [str(outcomes[outcome]) for outcome in (Outcome.RUN, Outcome.WAIT, Outcome.INFEASIBLE)]
        table.add_row(str(offers), f"{p50:.3f}", f"{p99:.3f}", f"{seconds.max() * 1e3:.3f}", *counts)
    Console().print(table)


if __name__ == "__main__":
    main()

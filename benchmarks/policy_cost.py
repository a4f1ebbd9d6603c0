"""What the policy costs a decision: evaluations per class, cold and remembered, on the shipped policies.

python -m benchmarks.policy_cost [--offers 1000]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site, TrustZone
from infra.core.policy import Policy
from infra.core.policy_facts import Facts
from infra.core.policy_question import Question, _remembered
from infra.core.pricing import Price
from infra.documents.files import PACKAGED_CONFIG
from infra.documents.policy import load_policy
from infra.documents.policy_windows import policy_at

NOW_AT = 1_795_521_600.0
COUNTRIES = ("DE", "FR", "US", "CH", "NL")
FACTS = Facts("vision", "training", ("digits",), ("EU",), "public", 1, 50, True, 25_000_000, 3_000_000)


def world(count: int) -> list[tuple[Site, Offer]]:
    """Offers at sites of ten each, in five countries, all zones and ways of paying, each with a price of its own."""
    pairs = []
    for place in range(-(-count // 10)):
        offers = tuple(
            Offer(
                f"o{number}",
                list(Purchase)[number % 3],
                f"gpu-{number % 4}",
                8,
                24.0,
                1.0,
                Price(10_000 * (place + number)),
            )
            for number in range(10)
        )
        zone = list(TrustZone)[place % 3]
        country = COUNTRIES[place % len(COUNTRIES)]
        site = Site(f"s{place}", country, zone, (Pool(f"s{place}", Cluster.ATTACHED, offers),))
        pairs += [(site, offer) for offer in offers]
    return pairs[:count]


def median_ms(work: Callable[[], object], rounds: int = 15) -> float:
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def measure(name: str, policy: Policy, pairs: list[tuple[Site, Offer]]) -> str:
    classes = [policy.class_of(site, offer) for site, offer in pairs]
    needs = [1000 * number for number in range(len(pairs))]
    distinct = set(classes)

    def ask(wanted: list | set, costs: list[int] | None = None) -> None:
        question = Question(policy, FACTS)  # a decision makes its own
        for place, offer_class in enumerate(wanted):
            question.forbidding(offer_class, NOW_AT, costs[place] if costs else 0)

    def cold() -> None:
        _remembered.cache_clear()
        ask(distinct)

    cold_ms = median_ms(cold, 5)
    classing_ms = median_ms(lambda: [policy.class_of(site, offer) for site, offer in pairs])
    by_class_ms = median_ms(lambda: ask(distinct))
    each_ms = median_ms(lambda: ask(classes, needs))
    full = pairs[:20]
    full_ms = median_ms(lambda: [Question(policy, FACTS).answer_in_full(*pair, NOW_AT) for pair in full], 5) / len(full)
    return (
        f"| {name} | {len(pairs)} | {len(distinct)} | {cold_ms:.2f} | {by_class_ms:.3f} | {classing_ms:.2f} | {each_ms:.2f} "
        f"| {full_ms:.3f} |"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--offers", type=int, default=1000)
    pairs = world(options.parse_args().offers)
    print(
        "| policy | offers | classes | all classes cold, ms | all classes remembered, ms | classing all offers, ms "
        "| every offer asked with a cost of its own, ms | one full evaluation, ms |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in ("default", "strict"):
        source = load_policy(Path(PACKAGED_CONFIG / "policies" / f"{name}.cedar"))
        print(measure(name, policy_at(replace(source), NOW_AT), pairs))


if __name__ == "__main__":
    main()

"""The demo's story, (a) to (g): each run goes through its deployment and is read back from the records."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from infra.core.units import iso
from infra.demo.data import fresh_versions, land_corrupt_digits, land_digits, land_docs, search_examples
from infra.demo.driver import Driver, Row

DIGITS_TENANT, DOCS_TENANT = "vision", "search"
BUSY_S = 75.0
"""How long the on-prem devices are held, so that (b) and (c) cannot wait for them and (d) has to."""
PATIENCE_S = 150.0


def tell(driver: Driver) -> list[Row]:
    """Play the story; returns one row for each run."""
    rows = []
    first, second = fresh_versions(driver.control)
    digits, docs = {"name": "mnist5k", "version": first}, {"name": "api-docs", "version": first}
    driver.say("data arrives: 5,000 digits (residency EU) and the docstrings of installed packages (public)")
    docs_rows = land_docs(driver.control, first)
    digits_rows = land_digits(driver.control, first)
    first_index = driver.started_by_event("embedding-refresh/api-docs", first, PATIENCE_S)
    relaxed = driver.started_by_event("training/digits", first, PATIENCE_S)
    driver.say(f"the arrivals started a training on {digits_rows:,} digits and a first index of {docs_rows:,} docs")
    driver.finished(relaxed, PATIENCE_S)
    driver.finished(first_index, PATIENCE_S)
    rows.append(driver.row("(a) EU digits, relaxed deadline", relaxed, _accuracy))
    rows.append(driver.row("    first index of the docs", first_index, _embedded))

    busy_until, holders = _hold_onprem(driver)
    driver.say(f"on-prem is full until about {busy_until}; deadlines of (b), (c) and (e) are set to that instant")
    tight = {"deadline": busy_until}
    trial = {"training": {"model": "digits-model-b", "epochs": 4}}
    eu_cloud = driver.start("training/digits", {"dataset": digits, "options": _by(DIGITS_TENANT, **tight), **trial})
    us_spot = driver.start(
        "embedding-refresh/api-docs",
        {"dataset": docs, "options": _by(DOCS_TENANT, **tight), "embedding": {"table": f"docs-trial-{first}"}},
    )
    waits = driver.start(
        "embedding-refresh/api-docs",
        {"dataset": docs, "options": _by(DOCS_TENANT, budget_usd=0), "embedding": {"table": f"docs-free-{first}"}},
    )
    hopeless = driver.start(
        "training/digits", {"dataset": digits, "options": _by(DIGITS_TENANT, budget_usd=0.0001, **tight), **trial}
    )
    driver.finished(hopeless, PATIENCE_S)
    driver.say("a corrupt version of the digits arrives")
    land_corrupt_digits(driver.control, second)
    corrupt = driver.started_by_event("training/digits", second, PATIENCE_S)
    for run in (eu_cloud, us_spot, corrupt, *holders, waits):
        driver.finished(run, PATIENCE_S)
    rows += [driver.row("    holds an on-prem device", run, lambda _: "held") for run in holders]
    rows.append(driver.row("(b) EU digits, on-prem full, tight deadline", eu_cloud, _accuracy))
    rows.append(driver.row("(c) public docs, tight deadline", us_spot, _embedded))
    rows.append(driver.row("(d) public docs, budget 0", waits, _embedded))
    rows.append(driver.row("(e) EU digits, tight deadline, budget $0.0001", hopeless, _accuracy))
    rows.append(driver.row("(f) corrupt digits arrive", corrupt, _accuracy))

    driver.say("a new version of the docs arrives, in which a few are changed, new or gone")
    land_docs(driver.control, second, changed=True)
    changed = driver.started_by_event("embedding-refresh/api-docs", second, PATIENCE_S)
    driver.finished(changed, PATIENCE_S)
    rows.append(driver.row("(g) changed docs arrive", changed, _embedded))
    for line in search_examples(driver.control):
        driver.say(line)
    return rows


def _by(tenant: str, **limits: Any) -> dict[str, Any]:
    return {"tenant": tenant, **limits}


def _hold_onprem(driver: Driver) -> tuple[str, list[str]]:
    """Hold both on-prem devices; returns when the first is expected back (ISO 8601) and the flow runs that hold them."""
    probe = {"options": _by(DIGITS_TENANT, purchases=["owned"]), "probe": {"sleep_s": BUSY_S}}
    holders = [driver.start("probe/empty", probe) for _ in range(2)]
    back_at = min(driver.computing(run, PATIENCE_S).expected_finish_at for run in holders)
    return iso(math.floor(back_at)), holders


_Teller = Callable[[dict[str, float]], str]


def _accuracy(metrics: dict[str, float]) -> str:
    return f"accuracy {metrics['holdout_accuracy']:.3f} on held-out digits"


def _embedded(metrics: dict[str, float]) -> str:
    unchanged, removed = metrics["unchanged"], metrics["removed"]
    return f"embedded {metrics['embedded']:.0f}, kept {unchanged:.0f}, removed {removed:.0f}"

"""Records read back to equal values and equal bytes; snapshots in files are checked besides."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from infra.core.canonical import canonical, plain
from infra.core.errors import InputError
from infra.core.placement.decide import decide
from infra.core.placement.snapshot import Snapshot
from infra.core.workload import WorkloadRequest
from infra.documents import decision_from_json, load_snapshot, request_from_json, snapshot_from_json
from tests.property.strategies import problems
from tests.unit.document_samples import EXAMPLES, request, snapshot


def _assert_lossless(wanted: WorkloadRequest, world: Snapshot) -> None:
    decision = decide(wanted, world)
    for value, read in ((wanted, request_from_json), (world, snapshot_from_json), (decision, decision_from_json)):
        text = canonical(value)
        again = read(text)
        assert again == value
        assert canonical(again) == text
    replayed = decide(request_from_json(canonical(wanted)), snapshot_from_json(canonical(world)))
    assert canonical(replayed) == canonical(decision)


def test_hand_made_records_are_lossless() -> None:
    _assert_lossless(request(), snapshot())
    _assert_lossless(request(deadline_at=None, budget_micro=None, datasets=()), snapshot())


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(problems())
def test_drawn_records_are_lossless(problem: tuple[WorkloadRequest, Snapshot]) -> None:
    _assert_lossless(*problem)


def _changed(path: str, value: Any) -> Callable[[dict], None]:
    """Sets, or with ``...`` deletes, what lies at a path such as ``sites.0.name``."""

    def change(tree: Any) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            tree = tree[part]
        if value is ...:
            del tree[last]
        else:
            tree[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "code", "where"),
    [
        ("now_at", -1, "BAD_TIME", "now_at"),
        ("now_at", 1e300, "BAD_TIME", "now_at"),
        ("now_at", "now", "BAD_NUMBER", "now_at"),
        ("now_at", True, "BAD_NUMBER", "now_at"),
        ("now_at", ..., "MISSING_KEY", "now_at"),
        ("nowat", 1, "UNKNOWN_KEY", "nowat"),
        ("sites", {}, "BAD_TYPE", "sites"),
        ("sites.0.trust_zone", "medium", "UNKNOWN_VALUE", "sites[0].trust_zone"),
        ("sites.0.jurisdiction", "EU", "UNKNOWN_JURISDICTION", "sites[0].jurisdiction"),
        ("sites.0.pools", [], "EMPTY_SITE", "sites[0]"),
        ("sites.1.simulated", False, "CONTRADICTORY_SITE", "sites[1].simulated"),
        ("sites.1.simulated", "yes", "BAD_TYPE", "sites[1].simulated"),
        ("sites.0.pools.0.offers.0.capacity", 2.0, "BAD_NUMBER", "sites[0].pools[0].offers[0].capacity"),
        ("sites.0.pools.0.offers.0.boot_s", -4, "BAD_NUMBER", "sites[0].pools[0].offers[0].boot_s"),
        ("sites.0.pools.0.offers.0.price.micro_per_hour", -4, "BAD_NUMBER",
         "sites[0].pools[0].offers[0].price.micro_per_hour"),
        ("sites.0.pools.0.offers.0.price.micro_per_hour", 10**30, "BAD_NUMBER",
         "sites[0].pools[0].offers[0].price.micro_per_hour"),
        ("sites.0.pools.0.offers.0.price", 3, "BAD_TYPE", "sites[0].pools[0].offers[0].price"),
        ("sites.0.pools.0.offers.0.interruptions_per_hour", 1, "CONTRADICTORY_OFFER",
         "sites[0].pools[0].offers[0].interruptions_per_hour"),
        ("sites.1.name", "home", "DUPLICATE_ENTRY", "sites[1]"),
        ("datasets.0.residency", ["MARS"], "UNKNOWN_RESIDENCY_TAG", "datasets[0].residency"),
        ("datasets.0.residency", [], "NO_RESIDENCY", "datasets[0]"),
        ("datasets.0.bytes", -1, "BAD_NUMBER", "datasets[0].bytes"),
        ("balances.0.limit_micro", 1.5, "BAD_NUMBER", "balances[0].limit_micro"),
        ("rates.0.kind", "sleeping", "UNKNOWN_VALUE", "rates[0].kind"),
        ("rates.1.device", "", "DUPLICATE_ENTRY", "rates[1]"),
        ("loads.0.site", "nowhere", "UNKNOWN_SITE", "loads[0].site"),
        ("loads.0.offer", "spot", "UNKNOWN_OFFER", "loads[0].offer"),
        ("loads.0.releases.0.devices", 0, "BAD_NUMBER", "loads[0].releases[0].devices"),
        ("health.0.site", "nowhere", "UNKNOWN_SITE", "health[0].site"),
        ("health.0.health", "ill", "UNKNOWN_VALUE", "health[0].health"),
        ("policy.text", "permit (", "BAD_POLICY", "policy.text: line 1"),
        ("policy.windows.0.spans.0.end_at", -1, "BAD_TIME", "policy.windows[0].spans[0].end_at"),
        ("policy.tenants.0.groups", "g", "BAD_TYPE", "policy.tenants[0].groups"),
    ],
)  # fmt: skip
def test_bad_snapshots(path: str, value: Any, code: str, where: str, tmp_path) -> None:
    tree = plain(snapshot())
    _changed(path, value)(tree)
    file = tmp_path / "snapshot.json"
    file.write_text(json.dumps(tree))
    with pytest.raises(InputError) as caught:
        load_snapshot(file)
    assert (caught.value.code, caught.value.where) == (code, f"{file}: {where}")
    assert caught.value.remedy


def test_nan_in_a_snapshot_is_not_json(tmp_path) -> None:
    file = tmp_path / "snapshot.json"
    file.write_text(json.dumps({**plain(snapshot()), "now_at": float("nan")}))
    with pytest.raises(InputError) as caught:
        load_snapshot(file)
    assert caught.value.code == "BAD_JSON"


def test_fields_with_a_default_may_be_left_out(tmp_path) -> None:
    tree = plain(snapshot())
    for path in ("loads", "health", "policy.tenants.0.burst_budget_percent", "sites.0.pools.0.offers.0.price.windows"):
        _changed(path, ...)(tree)
    file = tmp_path / "snapshot.json"
    file.write_text(json.dumps(tree))
    read = load_snapshot(file)
    assert (read.loads, read.health, read.policy) == ((), (), snapshot().policy)


def test_example_snapshot_is_valid() -> None:
    assert [site.name for site in load_snapshot(EXAMPLES / "snapshots" / "onprem-busy.json").sites] == [
        "cloud-eu-central",
        "cloud-us-east",
        "onprem-fra",
    ]


def test_records_from_before_policies_were_cedar_can_be_read() -> None:
    tree = plain(snapshot())
    tree["policy"] = {
        "version": "old",
        "rules": [{"id": "no-us", "description": "x", "tenants": [], "jurisdictions": ["US"]}],
        "valid_until_at": None,
    }
    read = snapshot_from_json(json.dumps(tree))
    assert (read.policy.version, '@id("no-us")' in read.policy.text) == ("old", True)

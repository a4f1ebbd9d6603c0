"""Requests as people write them."""

from __future__ import annotations

import json

import pytest

from infra.core.canonical import canonical
from infra.core.errors import InputError
from infra.core.inventory import DatasetVersion, Purchase, TrustZone
from infra.core.rung import Rung
from infra.core.workload import DatasetRef, Fallback, Resources, WorkKind, WorkloadRequest
from infra.documents import load_request, only_version, request_from_json, with_versions
from tests.unit.document_samples import EXAMPLES, NOW_AT

BASE = "kind: training\ntenant: vision\nwork: {units: 1}\n"


def test_every_key() -> None:
    text = """\
kind: embedding_refresh
tenant: search
datasets: [{name: api-docs, version: v2}, mnist5k@v1, other]
work: {units: 2000}
resources: {devices: 2, device_kinds: [gpu-l4], memory_gb: 8}
deadline: 2026-11-24T14:20:00Z
budget_usd: 1.84
priority: 70
residency: [EU, CH]
trust_zone: partner
purchases: [owned, spot]
checkpointed: false
fallbacks: []
"""
    assert load_request(text, NOW_AT) == WorkloadRequest(
        kind=WorkKind.EMBEDDING_REFRESH,
        tenant="search",
        datasets=(DatasetRef("api-docs", "v2"), DatasetRef("mnist5k", "v1"), DatasetRef("other", "latest")),
        units=2000,
        resources=Resources(2, ("gpu-l4",), 8),
        deadline_at=NOW_AT + 1200,
        budget_micro=1_840_000,
        priority=70,
        residency=("EU", "CH"),
        trust_zone=TrustZone.PARTNER,
        purchases=(Purchase.OWNED, Purchase.SPOT),
        checkpointed=False,
        fallbacks=(),
    )


def test_defaults() -> None:
    assert load_request(BASE, NOW_AT) == WorkloadRequest(WorkKind.TRAINING, "vision", (), 1)
    assert load_request(BASE, NOW_AT).fallbacks == (Fallback.WAIT,)


def test_json_text_and_files(tmp_path) -> None:
    value = {"kind": "probe", "tenant": "vision", "work": {"units": 1}, "deadline_in": "45s"}
    path = tmp_path / "request.json"
    path.write_text(json.dumps(value))
    assert load_request(path, 0.0) == load_request(str(path), 0.0) == load_request(json.dumps(value), 0.0)
    assert load_request(path, 100.0).deadline_at == 145.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30m", 1800),
        ("PT30M", 1800),
        ("1h30m", 5400),
        ("90s", 90),
        ("2d", 172_800),
        ("P1DT1H", 90_000),
        ("PT0.5S", 0.5),
    ],
)
def test_relative_deadlines(text: str, seconds: float) -> None:
    assert load_request(f"{BASE}deadline_in: {text}\n", NOW_AT).deadline_at == NOW_AT + seconds


def test_money_is_exact() -> None:
    assert load_request(f"{BASE}budget_usd: 0.1\n", NOW_AT).budget_micro == 100_000
    assert load_request(f"{BASE}budget_usd: 1234567.891234\n", NOW_AT).budget_micro == 1_234_567_891_234


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ("kind: trainin\ntenant: vision\nwork: {units: 1}\n", "UNKNOWN_VALUE", "kind"),
        ("kind: [training]\ntenant: vision\nwork: {units: 1}\n", "UNKNOWN_VALUE", "kind"),
        ("tenant: vision\nwork: {units: 1}\n", "MISSING_KEY", "kind"),
        ("kind: training\ntenant: vision\n#\n", "MISSING_KEY", "work"),
        ("kind: training\ntenant: vision\nworks: {units: 1}\n", "UNKNOWN_KEY", "works"),
        ("kind: training\ntenant: vision\nwork: {unit: 1}\n", "UNKNOWN_KEY", "work.unit"),
        ("kind: training\ntenant: vision\nwork: 3\n", "BAD_TYPE", "work"),
        ("kind: training\ntenant: vision\nwork: {units: -1}\n", "BAD_NUMBER", "work.units"),
        ("kind: training\ntenant: vision\nwork: {units: .nan}\n", "BAD_NUMBER", "work.units"),
        ("kind: training\ntenant: vision\nwork: {units: .inf}\n", "BAD_NUMBER", "work.units"),
        ("kind: training\ntenant: vision\nwork: {units: '7'}\n", "BAD_NUMBER", "work.units"),
        ("kind: training\ntenant: vision\nwork: {units: true}\n", "BAD_NUMBER", "work.units"),
        (f"kind: training\ntenant: vision\nwork: {{units: {'9' * 400}}}\n", "BAD_NUMBER", "work.units"),
        ("kind: training\ntenant: 'a b'\nwork: {units: 1}\n", "BAD_NAME", "tenant"),
        ("kind: training\ntenant: ../x\nwork: {units: 1}\n", "BAD_NAME", "tenant"),
        ("kind: training\ntenant: 7\nwork: {units: 1}\n", "BAD_TYPE", "tenant"),
        ("+datasets: mnist5k\n", "BAD_TYPE", "datasets"),
        ("+datasets: [mnist5k@]\n", "BAD_NAME", "datasets[0].version"),
        ("+datasets: [a, {name: b, version: 1}]\n", "BAD_TYPE", "datasets[1].version"),
        ("+datasets: [a, {name: b, versio: v1}]\n", "UNKNOWN_KEY", "datasets[1].versio"),
        ("+datasets: [a@v1, a@v1]\n", "DUPLICATE_DATASET", "datasets"),
        ("+resources: {devices: 0}\n", "BAD_NUMBER", "resources.devices"),
        ("+resources: {devices: 1.5}\n", "BAD_NUMBER", "resources.devices"),
        ("+resources: {memory_gb: -1}\n", "BAD_NUMBER", "resources.memory_gb"),
        ("+budget_usd: -0.01\n", "BAD_MONEY", "budget_usd"),
        ("+budget_usd: .nan\n", "BAD_MONEY", "budget_usd"),
        ("+budget_usd: $3\n", "BAD_MONEY", "budget_usd"),
        ("+deadline: soon\n", "BAD_TIME", "deadline"),
        ("+deadline: 2026-11-24T15:00:00\n", "BAD_TIME", "deadline"),
        ("+deadline: 1795000000\n", "BAD_TIME", "deadline"),
        ("+deadline: 2026-11-24T14:00:00Z\n", "DEADLINE_PAST", "deadline"),
        ("+deadline: 2026-11-24T15:00:00+02:00\n", "DEADLINE_PAST", "deadline"),
        ("+deadline_in: 0m\n", "BAD_DURATION", "deadline_in"),
        ("+deadline_in: -5m\n", "BAD_DURATION", "deadline_in"),
        ("+deadline_in: ''\n", "BAD_DURATION", "deadline_in"),
        ("+deadline_in: 99999999999d\n", "BAD_DURATION", "deadline_in"),
        ("+deadline: 9500-01-01T00:00:00Z\n", "BAD_TIME", "deadline"),
        ("+deadline_in: 30\n", "BAD_DURATION", "deadline_in"),
        ("+deadline: 2026-11-24T15:00:00Z\ndeadline_in: 30m\n", "CONTRADICTORY_REQUEST", "deadline_in"),
        ("+priority: 101\n", "BAD_PRIORITY", "priority"),
        ("+priority: 1e400\n", "BAD_NUMBER", "priority"),
        ("+residency: [MARS]\n", "UNKNOWN_RESIDENCY_TAG", "residency"),
        ("+residency: [EU, EU]\n", "DUPLICATE_VALUE", "residency[1]"),
        ("+trust_zone: secret\n", "UNKNOWN_VALUE", "trust_zone"),
        ("+purchases: []\n", "NO_PURCHASE", "purchases"),
        ("+purchases: [spott]\n", "UNKNOWN_VALUE", "purchases[0]"),
        ("+checkpointed: yes\n", "BAD_TYPE", "checkpointed"),
        ("+fallbacks: [burst]\n", "UNKNOWN_VALUE", "fallbacks[0]"),
        ("+ladder: {name: a, devices: 1}\n", "BAD_TYPE", "ladder"),
        ("+ladder: [{devices: 1}]\n", "MISSING_KEY", "ladder[0].name"),
        ("+ladder: [{name: a b, devices: 1}]\n", "BAD_NAME", "ladder[0].name"),
        ("+ladder: [{name: a}]\n", "EMPTY_RUNG", "ladder[0].name"),
        ("+ladder: [{name: a, device: 1}]\n", "UNKNOWN_KEY", "ladder[0].device"),
        ("+ladder: [{name: a, devices: 0}]\n", "BAD_NUMBER", "ladder[0].devices"),
        ("+ladder: [{name: a, wait: true}, {name: a, wait: false}]\n", "DUPLICATE_RUNG", "ladder[1].name"),
        ("+ladder: [{name: a, devices: 99}]\n", "RUNG_ASKS_MORE", "ladder[0].devices"),
        ("+ladder: [{name: a, memory_gb: 99}]\n", "RUNG_ASKS_MORE", "ladder[0].memory_gb"),
        ("+ladder: [{name: a, units: 1.0e+9, parameters: {epochs: 1}}]\n", "RUNG_ASKS_MORE", "ladder[0].units"),
        ("+ladder: [{name: a, units: 1}]\n", "BAD_RUNG", "ladder[0].units"),
        ("+ladder: [{name: a, parameters: {sizes: [1]}}]\n", "BAD_TYPE", "ladder[0].parameters.sizes"),
        ("+ladder: [{name: a, parameters: {rate: -1}}]\n", "BAD_TYPE", "ladder[0].parameters.rate"),
        ("+ladder: [{name: a, deadline: 5m}]\n", "BAD_TYPE", "ladder[0].deadline"),
        ("+ladder: [{name: a, wait: 1}]\n", "BAD_TYPE", "ladder[0].wait"),
    ],
)
def test_bad_requests(change: str, code: str, path: str, tmp_path) -> None:
    file = tmp_path / "request.yaml"
    file.write_text(BASE + change[1:] if change.startswith("+") else change)
    with pytest.raises(InputError) as caught:
        load_request(file, NOW_AT)
    assert (caught.value.code, caught.value.where) == (code, f"{file}: {path}")
    assert caught.value.remedy
    assert len(str(caught.value)) < 600


def test_a_ladder() -> None:
    request = load_request(
        BASE
        + """resources: {devices: 4, memory_gb: 16}
ladder:
  - {name: small, devices: 1, memory_gb: 8, device_kinds: []}
  - {name: light, units: 1, parameters: {hidden: 32, epochs: 2, fast: true, rate: 0.5, mode: eco}}
  - {name: queue, deadline: none, wait: true}
""",
        NOW_AT,
    )
    assert request.ladder == (
        Rung("small", devices=1, memory_gb=8.0, device_kinds=()),
        Rung(
            "light",
            units=1.0,
            parameters=(("epochs", 2), ("fast", True), ("hidden", 32), ("mode", "eco"), ("rate", 0.5)),
        ),
        Rung("queue", no_deadline=True, wait=True),
    )
    assert request_from_json(canonical(request)) == request
    assert [each.rung for each in request.rungs()] == ["", "small", "light", "queue"]


def test_whole_documents_of_the_wrong_kind() -> None:
    for text in ("- a\n- b\n", "\n", "{}", "3\n"):
        with pytest.raises(InputError) as caught:
            load_request(text, NOW_AT)
        assert caught.value.code in ("BAD_TYPE", "MISSING_KEY")


def test_options_are_listed_with_the_nearest_first() -> None:
    with pytest.raises(InputError) as caught:
        load_request("kind: trainig\ntenant: vision\nwork: {units: 1}\n", NOW_AT)
    assert caught.value.remedy.startswith("did you mean 'training'? one of: training, evaluation")


def test_all_wrong_fields_are_named() -> None:
    with pytest.raises(InputError) as caught:
        load_request(f"{BASE}budget_usd: -1\npriority: x\n", NOW_AT)
    assert "also wrong: priority" in caught.value.problem


def test_latest_becomes_the_only_version() -> None:
    request = load_request(f"{BASE}datasets: [a, b@v7]\n", NOW_AT)
    known = tuple(DatasetVersion(name, version, 1, (), ("PUBLIC",)) for name, version in [("a", "v3"), ("b", "v6")])
    assert with_versions(request, only_version(known)).datasets == (DatasetRef("a", "v3"), DatasetRef("b", "v7"))
    twice = (*known, DatasetVersion("a", "v4", 1, (), ("PUBLIC",)))
    for datasets, code in [(twice, "AMBIGUOUS_VERSION"), ((), "UNKNOWN_DATASET")]:
        with pytest.raises(InputError) as caught:
            with_versions(request, only_version(datasets))
        assert caught.value.code == code


def test_examples_are_valid() -> None:
    files = sorted((EXAMPLES / "requests").glob("*.yaml"))
    assert len(files) >= 5
    for file in files:
        assert load_request(file, NOW_AT).datasets

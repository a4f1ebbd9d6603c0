"""Data arrives and starts its flow: once per version, also after the watcher was killed; broken data starts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from data_contracts.loading import load_contract
from infra.controller.landing import Arrival, emit_arrival
from infra.core.lifecycle import RunState
from infra.platform.control import living_report
from tasks.datasets import build
from tasks.datasets.parquet import arrow_schema, encode, land, land_file
from tasks.datasets.variants import changed_docs, corrupt
from tests.scenarios.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400, func_only=True)]
DOCS, DIGITS = "embedding-refresh/api-docs", "training/digits"


def _land(world: World, name: str, version: str, frame: Any) -> None:
    land(world.control.store, load_contract(name, world.settings.contracts_dir), version, frame)


def test_a_dropped_file_starts_its_deployment_once_and_only_changed_rows_are_embedded(
    world: World, tmp_path: Path
) -> None:
    changes = changed_docs(build("api-docs", limit=120))
    file = tmp_path / "docs.parquet"
    file.write_bytes(encode(changes.frame, arrow_schema(load_contract("api-docs", world.settings.contracts_dir))))
    assert world.cli("data", "drop", "api-docs", str(file), "--version", "v2")[0] == 0
    run_id = world.arrival_run(DOCS, "v2")
    world.ended(run_id)
    publication = world.runs.publication(run_id)
    assert publication is not None
    assert publication.metrics["embedded"] == len(changes.changed) + len(changes.added)
    assert publication.metrics["removed"] == len(changes.removed)
    assert world.replays(run_id)

    key = "landing/api-docs/v2.parquet"
    sha256 = world.flow_run(run_id).parameters["dataset"]["arrival_sha256"]
    # The same arrival, told again by a watcher that forgot: another event, the same content.
    again = Arrival("api-docs", "v2", key, sha256, world.control.clock.now() + 1)
    with temporary_settings(updates={PREFECT_API_URL: living_report(world.settings).api_url}):
        emit_arrival(again)
    parameters = {"dataset": {"name": "api-docs", "version": "v2", "arrival_sha256": sha256}}
    second = world.start(DOCS, options={"tenant": "search"}, **parameters)
    assert "another run handles the arrival" in world.ended(second, "Skipped")
    published = [run for run in world.runs_for(DOCS, "v2") if world.run_or_none(str(run.id)) is not None]
    assert [str(run.id) for run in published] == [run_id]


def test_what_lands_while_the_controller_is_dead_is_found_when_it_is_back(world: World) -> None:
    world.kill(world.pid("controller"))
    _land(world, "api-docs", "v3", changed_docs(build("api-docs", limit=120), seed=3).frame)
    run_id = world.arrival_run(DOCS, "v3")
    world.ended(run_id)
    assert world.run(run_id).state is RunState.PUBLISHED
    assert len(world.runs_for(DOCS, "v3")) == 1


def test_broken_data_is_quarantined_with_its_rows_and_trains_nothing(world: World) -> None:
    digits = build("mnist5k", limit=200)
    broken = corrupt(digits)
    _land(world, "mnist5k", "broken", broken.frame)
    contract = load_contract("mnist5k", world.settings.contracts_dir)
    whole = encode(digits, arrow_schema(contract))
    land_file(world.control.store, "mnist5k", "truncated", whole[: len(whole) // 2])
    message = world.ended(world.arrival_run(DIGITS, "broken"), "Quarantined")
    for row in broken.faults["label_out_of_range"]:
        assert str(row) in message
    truncated = world.arrival_run(DIGITS, "truncated")
    assert "CONTRACT_BREACH" in world.ended(truncated, "Quarantined")
    for version in ("broken", "truncated"):
        entry = world.control.database.catalog.find("mnist5k", version)
        assert entry is not None
        assert entry.quarantined
        assert world.control.store.list(f"quarantine/mnist5k/{version}")
        assert not world.control.store.list(f"landing/mnist5k/{version}")
    assert world.run_or_none(truncated) is None


def test_two_versions_that_arrive_together_are_both_published_one_after_the_other(world: World) -> None:
    documents = build("api-docs", limit=120)
    for version, seed in (("v4", 4), ("v5", 5)):
        _land(world, "api-docs", version, changed_docs(documents, seed=seed).frame)
    runs = [world.arrival_run(DOCS, version) for version in ("v4", "v5")]
    for run_id in runs:
        world.ended(run_id)
        assert world.run(run_id).state is RunState.PUBLISHED
        assert world.settled(run_id)
        assert world.replays(run_id)

"""The kinds of work through their deployments, as one chain and by hand, and what a person can read of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.core.lifecycle import RunState
from tests.scenarios.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400, func_only=True)]
DATA = {"name": "mnist5k", "version": "v1"}
VISION = {"tenant": "vision"}


def test_the_first_model_is_evaluated_and_predicts(world: World) -> None:
    evaluated = world.start(
        "evaluation/digits", dataset=DATA, model={"name": "digits-model", "version": "latest"}, options=VISION
    )
    predicted = world.start(
        "batch-inference/digits", dataset=DATA, model={"name": "digits-model", "version": "latest"}, options=VISION
    )
    for run_id in (evaluated, predicted):
        world.ended(run_id)
        assert world.run(run_id).state is RunState.PUBLISHED
        assert world.attempt(run_id).site in ("onprem-fra", "cloud-eu-central")
        assert world.settled(run_id)
        assert world.replays(run_id)
    publication = world.runs.publication(evaluated)
    assert publication is not None
    assert publication.metrics["gate_passed"] == 1.0
    assert publication.metrics["accuracy"] > 0.85
    predictions = world.runs.publication(predicted)
    assert predictions is not None
    entry = world.control.database.catalog.find(predictions.name, predictions.version)
    assert entry is not None
    assert entry.version.residency == ("EU",)
    assert entry.version.copies == ("onprem-fra",)


def test_a_whole_lifecycle_promotes_its_champion_and_each_stage_can_be_explained(world: World) -> None:
    run_id = world.start(
        "model-lifecycle/digits",
        dataset=DATA,
        documents={"name": "api-docs", "version": "v1"},
        options=VISION,
        training={"model": "digits-lifecycle", "epochs": 6},
        embedding={"table": "lifecycle-index"},
    )
    world.ended(run_id, timeout_s=240)
    stages = ("train", "evaluate", "embed", "infer")
    for stage in stages:
        assert world.run(f"{run_id}:{stage}").state is RunState.PUBLISHED
        assert world.settled(f"{run_id}:{stage}")
    trained = world.runs.publication(f"{run_id}:train")
    assert trained is not None
    champion = world.control.store.get("artefacts/digits-lifecycle/champion.json").decode()
    assert trained.version in champion
    told = world.json("explain", run_id)
    assert [each["run"]["run_id"] for each in told["stages"]] == [f"{run_id}:{stage}" for stage in stages]
    assert world.json("explain", f"{run_id}:embed")["run"]["run_id"] == f"{run_id}:embed"
    replayed = world.json("replay", run_id)
    assert replayed["identical"]
    assert {each["run_id"] for each in replayed["decisions"]} == {f"{run_id}:{stage}" for stage in stages}


def test_a_person_can_ask_the_living_platform(world: World, tmp_path: Path) -> None:
    request = tmp_path / "request.yaml"
    request.write_text(
        "kind: training\ntenant: vision\ndatasets: [mnist5k]\nwork:\n  units: 50000\ndeadline_in: 2h\nbudget_usd: 0.5\n"
    )
    answer = world.json("place", str(request))
    assert answer["outcome"] == "run"
    american = [each for each in answer["candidates"] if each["site"] == "cloud-us-east"]
    assert american
    assert not any(each["feasible"] for each in american)
    request.write_text(request.read_text().replace("budget_usd: 0.5", "budget_usd: .nan"))
    assert world.cli("place", str(request), "--json")[0] == 2
    balances = {each["tenant"]: each for each in world.json("budget")["balances"]}
    assert set(balances) >= {"vision", "search", "students"}
    assert balances["vision"]["limit_usd"] == 25
    assert world.cli("ledger", "--check")[0] == 0
    assert world.cli("explain", "00000000-nothing")[0] == 2

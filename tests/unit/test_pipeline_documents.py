"""Pipeline files, their schema, and ``headrace place`` on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
from jsonschema import Draft202012Validator
from typer.testing import CliRunner, Result

from infra.commands import place
from infra.core.errors import InputError
from infra.core.placement.pipelines.decide import decide_pipeline
from infra.documents.files import read_tree
from infra.documents.pipeline import load_pipeline
from infra.documents.schemas import schema
from infra.documents.snapshot import load_snapshot
from infra.render.pipeline import pipeline_markdown
from tests.unit.document_samples import EXAMPLES, NOW_AT

SNAPSHOT = EXAMPLES / "snapshots" / "onprem-busy.json"
FILE = EXAMPLES / "pipelines" / "lifecycle.yaml"


def _run(*arguments: str | Path) -> Result:
    app = typer.Typer(rich_markup_mode=None)
    place.register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_example_is_placed_as_a_whole(tmp_path: Path) -> None:
    Draft202012Validator(schema("pipeline")).validate(read_tree(FILE))
    result = _run("place", FILE, "--snapshot", SNAPSHOT, "--json", "--svg", tmp_path / "plan.svg")
    answer = json.loads(result.stdout)
    Draft202012Validator(schema("pipeline-decision")).validate(answer)
    assert (result.exit_code, answer["outcome"], answer["proven"]) == (0, "run", True)
    assert {each["offer"]["site"] for each in answer["stages"]} == {"cloud-eu-central"}
    assert answer["stage_by_stage"]["cost_usd"] > answer["cost_usd"] + 0.4
    ElementTree.parse(tmp_path / "plan.svg")
    told = _run("place", "--pipeline", FILE, "--snapshot", SNAPSHOT)
    assert (told.exit_code, told.stderr) == (0, "")
    for word in ("train", "evaluate", "embed", "infer", "SIMULATED", "next best"):
        assert word in told.stdout


def _changed(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({**read_tree(FILE), **changes}), encoding="utf-8")
    return path


def test_infeasible_says_what_would_help(tmp_path: Path) -> None:
    path = _changed(tmp_path, deadline_in="40s")
    result = _run("place", path, "--snapshot", SNAPSHOT, "--json", "--svg", tmp_path / "plan.svg")
    answer = json.loads(result.stdout)
    Draft202012Validator(schema("pipeline-decision")).validate(answer)
    assert (result.exit_code, answer["binding"]) == (3, ["DEADLINE_MISSED"])
    assert answer["counterfactuals"][0]["changes"][0]["kind"] == "deadline"
    ElementTree.parse(tmp_path / "plan.svg")
    assert "What would make it feasible" in _run("place", path, "--snapshot", SNAPSHOT).stdout


def test_a_blocked_stage_is_named(tmp_path: Path) -> None:
    stages = read_tree(FILE)["stages"]
    stages[0]["resources"] = {"devices": 99}
    result = _run("place", _changed(tmp_path, stages=stages), "--snapshot", SNAPSHOT, "--json")
    answer = json.loads(result.stdout)
    assert [each["stage"] for each in answer["blocked"]] == ["train"]
    assert "CAPACITY_TOO_SMALL" in answer["binding"]


def _stage(**changes: Any) -> dict[str, Any]:
    return {"name": "a", "kind": "training", "work": {"units": 1}, **changes}


@pytest.mark.parametrize(
    ("tree", "code", "path"),
    [
        ({"stages": []}, "EMPTY_PIPELINE", "stages"),
        ({"stages": [_stage(), _stage()]}, "DUPLICATE_STAGE", "stages"),
        ({"stages": [_stage(inputs=["b"])]}, "UNKNOWN_STAGE", "stages"),
        ({"stages": [_stage(after=["a"])]}, "PIPELINE_CYCLE", "stages"),
        ({"stages": [_stage(inputs=[{"stage": "b", "gb": -1}])]}, "BAD_NUMBER", "stages[0].inputs[0].gb"),
        ({"stages": [_stage(work={"units": "many"})]}, "BAD_NUMBER", "stages[0].work.units"),
        ({"stages": [_stage(residency=["EUROPE"])]}, "UNKNOWN_RESIDENCY_TAG", "stages[0].residency"),
        ({"stages": [_stage(priority=101)]}, "BAD_PRIORITY", "stages[0].priority"),
        ({"stages": [_stage(deadline="2020-01-01T00:00:00Z")]}, "DEADLINE_PAST", "stages[0].deadline"),
        ({"stages": [_stage()], "deadline": "2020-01-01T00:00:00Z"}, "DEADLINE_PAST", "deadline"),
        (
            {"stages": [_stage()], "deadline": "2030-01-01T00:00:00Z", "deadline_in": "1h"},
            "CONTRADICTORY_REQUEST",
            "deadline_in",
        ),
        ({"stages": [_stage()], "budget_usd": -1}, "BAD_MONEY", "budget_usd"),
        ({"stages": [_stage(tenant="search")]}, "CONTRADICTORY_PIPELINE", "stages"),
        ({"stages": [_stage(foo=1)]}, "UNKNOWN_KEY", "stages[0].foo"),
        ({"stages": [_stage()], "budget": 1}, "UNKNOWN_KEY", "budget"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tree: dict[str, Any], code: str, path: str) -> None:
    with pytest.raises(InputError) as caught:
        load_pipeline(json.dumps({"tenant": "vision", **tree}), NOW_AT)
    assert caught.value.code == code
    assert caught.value.where.endswith(path)


def test_one_file_is_wanted() -> None:
    assert _run("place", "--snapshot", SNAPSHOT).stderr.startswith("ONE_FILE at ")
    assert _run("place", FILE, "--pipeline", FILE, "--snapshot", SNAPSHOT).exit_code == 2


def test_unknown_dataset_of_a_stage_is_told(tmp_path: Path) -> None:
    stages = read_tree(FILE)["stages"]
    stages[0]["datasets"] = ["cifar"]
    result = _run("place", _changed(tmp_path, stages=stages), "--snapshot", SNAPSHOT)
    assert (result.exit_code, result.stderr.split()[0]) == (2, "UNKNOWN_DATASET")


def test_markdown_has_a_row_for_each_stage() -> None:
    world = load_snapshot(SNAPSHOT)
    from infra.documents.pipeline import with_stage_versions
    from infra.documents.request import only_version

    asked = with_stage_versions(load_pipeline(FILE, world.now_at), only_version(world.datasets))
    text = pipeline_markdown(decide_pipeline(asked, world), asked, world)
    assert [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")][2:] == [
        "| embed",
        "| train",
        "| evaluate",
        "| infer",
    ]

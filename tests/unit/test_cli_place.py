"""``headrace place`` and ``schema`` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer
from jsonschema import Draft202012Validator
from typer.testing import CliRunner, Result

from infra.commands import place
from infra.documents.schemas import schema
from tests.unit.document_samples import EXAMPLES

SNAPSHOT = EXAMPLES / "snapshots" / "onprem-busy.json"


def _run(*arguments: str | Path) -> Result:
    app = typer.Typer(rich_markup_mode=None)
    place.register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _place(name: str, *more: str | Path) -> Result:
    return _run("place", EXAMPLES / "requests" / name, "--snapshot", SNAPSHOT, *more)


@pytest.mark.parametrize(
    ("name", "outcome", "site", "status"),
    [
        ("train-relaxed.yaml", "wait", "onprem-fra", 0),
        ("train-tight.yaml", "run", "cloud-eu-central", 0),
        ("embed-tight.yaml", "run", "cloud-us-east", 0),
        ("embed-free.yaml", "wait", "onprem-fra", 0),
        ("train-infeasible.yaml", "infeasible", None, 3),
        ("train-ladder.yaml", "run", "cloud-eu-central", 0),
    ],
)
def test_examples(name: str, outcome: str, site: str | None, status: int) -> None:
    result = _place(name, "--json")
    answer = json.loads(result.stdout)
    Draft202012Validator(schema("decision")).validate(answer)
    assert (result.exit_code, answer["outcome"]) == (status, outcome)
    assert (answer["offer"] or {"site": None})["site"] == site
    told = _place(name)
    assert told.exit_code == status
    assert "SIMULATED" in told.stdout
    assert told.stderr == ""


def test_a_ladder_is_told_rung_by_rung(tmp_path: Path) -> None:
    answer = json.loads(_place("train-ladder.yaml", "--json").stdout)
    assert answer["rung"] == "smaller-model"
    assert [(step["rung"], step["outcome"]) for step in answer["ladder"]] == [
        ("", "infeasible"),
        ("four", "infeasible"),
        ("smaller-model", "run"),
    ]
    assert answer["ladder"][0]["binding"] == ["CAPACITY_TOO_SMALL"]
    assert "DEADLINE_MISSED" in answer["ladder"][1]["binding"]
    told = " ".join(_place("train-ladder.yaml").stdout.split())
    assert "Rung smaller-model of its ladder: 4 device(s), epochs 80, hidden 32, 400,000 units in all." in told
    assert "1. as asked: infeasible: number of devices." in told
    assert "3. rung smaller-model: run now at cloud-eu-central" in told
    wrong = tmp_path / "wrong.yaml"
    text = (EXAMPLES / "requests" / "train-ladder.yaml").read_text()
    for before, after, code, field in (
        ("devices: 4\n", "devices: 9\n", "RUNG_ASKS_MORE", "ladder[0].devices"),
        ("devices: 4\n", "device_kinds: [abacus]\n", "UNKNOWN_DEVICE", "ladder[0].device_kinds"),
    ):
        wrong.write_text(text.replace(before, after, 1))
        refused = _run("place", wrong, "--snapshot", SNAPSHOT, "--json")
        assert refused.exit_code == 2
        error = json.loads(refused.stdout)["error"]
        assert (error["code"], error["where"].endswith(f"wrong.yaml: {field}")) == (code, True), error


def test_a_request_without_a_ladder_has_none_in_its_answer() -> None:
    answer = json.loads(_place("train-tight.yaml", "--json").stdout)
    assert (answer["rung"], answer["ladder"]) == ("", [])


def test_the_same_question_has_the_same_answer() -> None:
    assert _place("train-infeasible.yaml", "--json").stdout == _place("train-infeasible.yaml", "--json").stdout


def test_picture(tmp_path) -> None:
    assert _place("train-tight.yaml", "--svg", tmp_path / "decision.svg").exit_code == 0
    ElementTree.parse(tmp_path / "decision.svg")
    refused = _place("train-tight.yaml", "--svg", tmp_path / "no" / "decision.svg")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("FILE_NOT_WRITABLE at ")


GOOD = {"kind": "training", "tenant": "vision", "datasets": ["mnist5k"], "work": {"units": 50000}}


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"tenant": "visio"}, "UNKNOWN_TENANT", "tenant"),
        ({"datasets": ["mnist5k@v9"]}, "UNKNOWN_DATASET", "datasets"),
        ({"datasets": ["cifar"]}, "UNKNOWN_DATASET", "datasets[0]"),
        ({"resources": {"device_kinds": ["tpu"]}}, "UNKNOWN_DEVICE", "resources.device_kinds"),
        ({"residency": ["EUROPE"]}, "UNKNOWN_RESIDENCY_TAG", "residency"),
        ({"deadline": "2026-11-24T13:59:00Z"}, "DEADLINE_PAST", "deadline"),
        ({"budget_usd": -1}, "BAD_MONEY", "budget_usd"),
    ],
)
def test_bad_requests_exit_with_2_and_tell_the_place(change: dict, code: str, path: str, tmp_path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps({**GOOD, **change}))
    result = _run("place", file, "--snapshot", SNAPSHOT, "--json")
    error = json.loads(result.stdout)
    assert (result.exit_code, error["outcome"]) == (2, "error")
    assert (error["error"]["code"], error["error"]["where"]) == (code, f"{file}: {path}")
    assert result.stderr == f"{code} at {file}: {path}: {error['error']['problem']} — {error['error']['remedy']}\n"
    silent = _run("place", file, "--snapshot", SNAPSHOT)
    assert (silent.exit_code, silent.stdout, silent.stderr) == (2, "", result.stderr)


def test_bad_snapshots_exit_with_2(tmp_path) -> None:
    request = EXAMPLES / "requests" / "train-tight.yaml"
    broken = tmp_path / "snapshot.json"
    broken.write_text(SNAPSHOT.read_text()[:-100])
    for file, code in [(broken, "BAD_JSON"), (tmp_path / "none.json", "FILE_MISSING")]:
        result = _run("place", request, "--snapshot", file)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"{code} at {file}")


def test_schema() -> None:
    for name in ("site", "request", "snapshot", "policy-settings", "tenants", "decision"):
        assert json.loads(_run("schema", name).stdout) == schema(name)
    result = _run("schema", "sites")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean 'site'?" in result.stderr

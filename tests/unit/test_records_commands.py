"""``headrace runs``, ``explain`` and ``replay``, on a database in memory and with decisions that were really made."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

import infra.wiring
from infra.adapters.memory import FixedClock, MemoryDatabase
from infra.commands import records
from infra.core.canonical import canonical, digest
from infra.core.lifecycle import AttemptState, RunState
from infra.core.placement.decide import decide
from infra.core.placement.decision import CostParts
from infra.render.replay import first_difference
from tests.contract import examples
from tests.contract.examples import RUN, attempt_record, publication, run_record
from tests.databases import NOW, PERIOD


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> MemoryDatabase:
    kept = MemoryDatabase(FixedClock(NOW))
    monkeypatch.setattr(infra.wiring, "control_plane", lambda: SimpleNamespace(database=kept, clock=kept.clock))
    return kept


@pytest.fixture
def told(database: MemoryDatabase) -> MemoryDatabase:
    """A run that was decided, tried, paid and published."""
    decision = decide(examples.request(), examples.snapshot())
    estimate = decision.chosen
    database.ledger.set_limit("vision", PERIOD, 9_000_000, NOW)
    database.runs.open_run(run_record())
    database.runs.add_decision(RUN, examples.request(), examples.snapshot(), decision)
    record = attempt_record(site=estimate.site, offer=estimate.offer, cap_micro=estimate.cap_micro)
    database.runs.claim_attempt(record, 4)
    database.ledger.reserve("vision", PERIOD, RUN, 1, estimate.cap_micro, NOW)
    database.runs.update_attempt(RUN, 1, AttemptState.DISPATCHED, child_run_id="child-run")
    database.runs.update_attempt(RUN, 1, AttemptState.FINISHED, finished_at=NOW + 40, metered={"compute_s": 31.25})
    database.runs.publish(publication())
    parts = CostParts(compute_micro=1_234)
    database.ledger.settle(RUN, 1, parts, NOW + 41)
    database.runs.update_attempt(RUN, 1, AttemptState.SETTLED, charged=parts)
    return database


def run(*arguments: str):
    app = typer.Typer()
    records.register(app)
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "160"})


def test_explain_tells_the_story_in_order(told: MemoryDatabase) -> None:
    done = run("explain", RUN[:8])
    assert done.exit_code == 0, done.output
    steps = [
        "Run 0f3c2b1a",
        "Decision 1 of 1",
        "Attempt 1",
        "permit permit-",
        "estimate",
        "Ledger",
        "Published digits@v3",
    ]
    places = [done.output.index(step) for step in steps]
    assert places == sorted(places)
    for text in ("$0.001234", "child-run", "compute_s 31.25", "mnist5k@v1 (EU, CH)", "accuracy 0.3"):
        assert text in done.output


def test_explain_gives_json(told: MemoryDatabase) -> None:
    story = json.loads(run("explain", RUN, "--json").stdout)
    assert story["run"]["state"] == "published"
    assert story["decisions"][0]["outcome"] == "run"
    attempt = story["attempts"][0]
    expected = decide(examples.request(), examples.snapshot()).chosen.cost
    assert attempt["cost"]["actual"]["total_usd"] == 0.001234
    assert attempt["cost"]["estimate"]["total_usd"] == expected.total_micro / 1e6
    assert attempt["permit"]["datasets"][0]["residency"] == ["EU", "CH"]
    assert "signature" not in json.dumps(story)
    assert [line["kind"] for line in story["ledger"]] == ["reserve", "settle"]
    assert story["publication"]["metrics"] == {"accuracy": 0.1 + 0.2}


def test_explain_tells_all_stages_of_a_flow_run(told: MemoryDatabase) -> None:
    flow_run = "77777777-0000-4000-8000-000000000000"
    for number, stage in enumerate(("train", "evaluate")):
        told.runs.open_run(run_record(f"{flow_run}:{stage}", created_at=NOW + number))
    told.runs.set_run_state(f"{flow_run}:train", RunState.QUARANTINED, "8 rows")
    stages = json.loads(run("explain", flow_run, "--json").stdout)["stages"]
    assert [story["run"]["run_id"] for story in stages] == [f"{flow_run}:train", f"{flow_run}:evaluate"]
    text = run("explain", flow_run).output
    assert "8 rows" in text
    assert "No decision was made." in text
    assert json.loads(run("explain", f"{flow_run}:train", "--json").stdout)["run"]["state"] == "quarantined"


def test_replay_gives_the_same_bytes(told: MemoryDatabase) -> None:
    done = run("replay", RUN)
    assert done.exit_code == 0
    sha256 = digest(decide(examples.request(), examples.snapshot()))
    assert f"identical, sha256 {sha256}" in done.output
    answer = json.loads(run("replay", RUN, "--json").stdout)
    assert answer["identical"] is True
    assert answer["decisions"][0]["stored_sha256"] == answer["decisions"][0]["recomputed_sha256"] == sha256


@pytest.mark.parametrize(
    ("field", "before", "after", "path"),
    [
        ("decision_json", '"outcome":"run"', '"outcome":"wait"', "decision.outcome"),
        ("decision_json", '"engine":"', '"engine":"0.', "decision.engine"),
        ("snapshot_json", '"micro_per_hour":2500000', '"micro_per_hour":2400000', "decision.candidates[0]."),
        ("request_json", '"priority":50', '"priority": 50', "request"),
    ],
)
def test_replay_names_the_first_difference(
    told: MemoryDatabase, field: str, before: str, after: str, path: str
) -> None:
    record = told.runs.decisions(RUN)[0]
    changed = replace(record, **{field: getattr(record, field).replace(before, after)})
    assert changed != record
    told.state.decisions[RUN] = (changed,)
    done = run("replay", RUN)
    assert done.exit_code == 1
    assert "DIFFERENT" in done.output
    answer = json.loads(run("replay", RUN, "--json").stdout)
    assert answer["identical"] is False
    assert answer["decisions"][0]["difference"]["path"].startswith(path)


def test_differences_of_length_and_type_are_seen() -> None:
    for stored, again, path in [
        ({"a": [1, 2]}, {"a": [1]}, "x.a[1]"),
        ({"a": 1}, {"a": 1.0}, "x.a"),
        ({"a": 1}, {"a": 1, "b": 2}, "x.b"),
        ({"a": None}, {"a": False}, "x.a"),
    ]:
        assert canonical(stored) != canonical(again)
        assert first_difference(stored, again, "x").path == path
    assert first_difference({"a": [1]}, {"a": [1]}, "x") is None


def test_runs_are_listed(told: MemoryDatabase) -> None:
    told.runs.open_run(run_record("another-run", created_at=NOW + 5))
    assert "another-run" in run("runs").output
    listed = json.loads(run("runs", "--json").stdout)["runs"]
    assert [one["run_id"] for one in listed] == ["another-run", RUN]
    published = json.loads(run("runs", "--state", "published", "--json").stdout)["runs"]
    assert [one["run_id"] for one in published] == [RUN]
    assert run("runs", "--state", "nonsense").exit_code == 2


def test_an_unknown_run_is_the_users_fault(told: MemoryDatabase) -> None:
    for command in ("explain", "replay"):
        failed = run(command, "nobody-knows-it")
        assert failed.exit_code == 2
        assert "UNKNOWN_RUN" in failed.stderr
        assert "UNKNOWN_RUN" in run(command, "nobody-knows-it", "--json").stdout
    told.runs.open_run(run_record("another-run"))
    assert "NO_DECISION" in run("replay", "another-run").stderr

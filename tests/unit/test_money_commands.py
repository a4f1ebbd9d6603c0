"""``headrace budget`` and ``headrace ledger``, on a database in memory."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

import infra.wiring
from infra.adapters.memory import FixedClock, MemoryDatabase
from infra.commands import money
from infra.core.placement.decision import CostParts
from tests.contract.examples import RUN, run_record
from tests.databases import NOW, PERIOD

TENANTS = "tenants:\n  - name: vision\n    monthly_budget_usd: 5\n  - name: students\n    monthly_budget_usd: 0\n"


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MemoryDatabase:
    (tmp_path / "tenants.yaml").write_text(TENANTS)
    kept = MemoryDatabase(FixedClock(NOW))
    control = SimpleNamespace(database=kept, clock=kept.clock, settings=SimpleNamespace(config_dir=tmp_path))
    monkeypatch.setattr(infra.wiring, "control_plane", lambda: control)
    return kept


def run(*arguments: str):
    app = typer.Typer()
    money.register(app)
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "160"})


def test_a_budget_is_set_and_shown(database: MemoryDatabase) -> None:
    done = run("budget", "set", "vision", "12.50")
    assert done.exit_code == 0
    assert "vision 2026-11: limit $12.50, $12.50 available" in done.output
    database.ledger.reserve("vision", PERIOD, RUN, 1, 700_000, NOW)
    shown = json.loads(run("budget", "--tenant", "vision", "--json").stdout)
    assert shown["balances"] == [
        {
            "tenant": "vision",
            "period": PERIOD,
            "limit_usd": 12.5,
            "settled_usd": 0.0,
            "reserved_usd": 0.7,
            "available_usd": 11.8,
            "limit_micro": 12_500_000,
            "settled_micro": 0,
            "reserved_micro": 700_000,
            "available_micro": 11_800_000,
        }
    ]
    table = run("budget").output
    assert "vision" in table
    assert "$11.80" in table


def test_a_period_may_be_named(database: MemoryDatabase) -> None:
    assert run("budget", "set", "students", "1", "--period", "2026-12").exit_code == 0
    assert json.loads(run("budget", "--period", PERIOD, "--json").stdout)["balances"] == []
    assert len(json.loads(run("budget", "--period", "2026-12", "--json").stdout)["balances"]) == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["budget", "set", "vision", "nan"], "BAD_MONEY"),
        (["budget", "set", "vision", "1e99"], "BAD_MONEY"),
        (["budget", "set", "nobody", "5"], "UNKNOWN_TENANT"),
        (["budget", "set", "vision", "5", "--period", "2026-13"], "BAD_PERIOD"),
        (["budget", "--tenant", "nobody"], "UNKNOWN_TENANT"),
        (["ledger", "--tenant", "nobody"], "UNKNOWN_TENANT"),
        (["ledger", "--run", "nobody"], "UNKNOWN_RUN"),
    ],
)
def test_a_mistake_is_named_and_changes_nothing(database: MemoryDatabase, arguments: list[str], code: str) -> None:
    failed = run(*arguments)
    assert failed.exit_code == 2
    assert code in failed.stderr
    assert code in run(*arguments, "--json").stdout
    assert database.ledger.entries() == ()


def test_a_negative_budget_is_refused(database: MemoryDatabase) -> None:
    assert run("budget", "set", "vision", "--", "-5").exit_code == 2
    assert database.ledger.entries() == ()


def test_a_budget_below_what_is_reserved_is_refused(database: MemoryDatabase) -> None:
    database.ledger.set_limit("vision", PERIOD, 1_000_000, NOW)
    database.ledger.reserve("vision", PERIOD, RUN, 1, 700_000, NOW)
    failed = run("budget", "set", "vision", "0.69")
    assert failed.exit_code == 2
    assert "LIMIT_BELOW_COMMITTED" in failed.stderr


def test_the_ledger_shows_every_line(database: MemoryDatabase) -> None:
    database.ledger.set_limit("vision", PERIOD, 1_000_000, NOW)
    database.runs.open_run(run_record())
    database.ledger.reserve("vision", PERIOD, RUN, 1, 700_000, NOW)
    database.ledger.settle(RUN, 1, CostParts(compute_micro=123_456, boot_micro=7), NOW + 60)
    text = run("ledger", "--check").output
    assert "compute $0.123456, boot $0.000007" in text
    assert "Checked" in text
    lines = json.loads(run("ledger", "--run", RUN[:8], "--check", "--json").stdout)
    assert [entry["kind"] for entry in lines["entries"]] == ["reserve", "settle"]
    assert lines["entries"][1]["parts"]["total_micro"] == 123_463
    assert lines["checked"] is True


def test_a_ledger_that_does_not_add_up_is_reported(database: MemoryDatabase) -> None:
    database.ledger.set_limit("vision", PERIOD, 1_000_000, NOW)
    database.ledger.set_limit("vision", PERIOD, 2_000_000, NOW)
    del database.state.entries[0]
    failed = run("ledger", "--check")
    assert failed.exit_code == 1
    assert "LEDGER_DISAGREES" in failed.stderr

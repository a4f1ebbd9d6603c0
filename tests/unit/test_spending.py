"""What was spent on what, and what a unit of work cost."""

from __future__ import annotations

import json

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from infra.commands import costs as command
from infra.core.placement.decision import CostParts
from infra.core.spending import Grouping, Spent, totals, unit_costs


def spent(run: str = "a", attempt: int = 1, micro: int = 100, **changes: object) -> Spent:
    values: dict[str, object] = {"tenant": "vision", "kind": "training", "site": "eu", "purchase": "spot", "at": 0.0}
    return Spent(run, attempt, parts=CostParts(micro, 7, 3), **{**values, **changes})  # type: ignore[arg-type]


def test_groups_are_added_up_the_dearest_first() -> None:
    rows = [
        spent("a", machine_s=10, boot_s=2, published=True),
        spent("b", site="us", micro=1000, egress_bytes=5.0),
        spent("a", 2, micro=50),
    ]
    us, eu = totals(rows, Grouping.SITE)
    assert (us.name, us.runs, us.attempts, us.total_micro, us.lost_micro, us.egress_bytes) == (
        "us",
        1,
        1,
        1010,
        1010,
        5.0,
    )
    assert (eu.name, eu.runs, eu.attempts, eu.total_micro, eu.lost_micro) == ("eu", 1, 2, 170, 60)
    assert (eu.compute_micro, eu.boot_micro, eu.egress_micro, eu.machine_s, eu.boot_s) == (150, 14, 6, 10, 2)


def test_a_unit_costs_all_attempts_of_its_run_over_what_was_made() -> None:
    rows = [
        spent("t", 1, 90),
        spent("t", 2, 190, published=True, units={"epochs": 4.0}),
        spent("e", 1, 40, published=True, units={"embeddings": 500.0}),
        spent("failed", 1, 990),
    ]
    epochs, embeddings, runs = unit_costs(rows)
    assert (epochs.unit, epochs.per, epochs.made, epochs.micro) == ("epochs", 1, 4.0, 75.0)
    assert (embeddings.unit, embeddings.per, embeddings.micro) == ("embeddings", 1000, 100.0)
    assert (runs.unit, runs.made, runs.micro) == ("published runs", 2.0, 675.0)
    assert unit_costs([spent("failed")]) == ()


def test_what_idled_is_paid_by_the_runs_that_somebody_asked_for() -> None:
    (runs,) = unit_costs([spent("e", 1, 40, published=True), spent("w", 1, 140, published=True, kind="warm")])
    assert (runs.made, runs.micro) == (1.0, 200.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("eu", "us")), st.integers(0, 10**9))))
def test_every_grouping_adds_up_to_the_same(drawn: list[tuple[str, str, int]]) -> None:
    rows = [spent(run, number, micro, site=site) for number, (run, site, micro) in enumerate(drawn)]
    sums = {sum(total.total_micro for total in totals(rows, grouping)) for grouping in Grouping}
    assert sums == {sum(row.parts.total_micro for row in rows)}


def test_the_command_shows_what_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "spent_of", lambda _: [spent("t", 1, 190, published=True, units={"epochs": 2.0})])
    monkeypatch.setattr("infra.wiring.control_plane", lambda: type("Control", (), {"database": None})())
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)
    shown = CliRunner().invoke(app, ["costs", "--json", "--by", "kind"])
    assert shown.exit_code == 0, shown.output
    answer = json.loads(shown.stdout)
    assert answer["total_usd"] == pytest.approx(0.0002)
    assert [(row["name"], row["total_micro"]) for row in answer["by"]["kind"]] == [("training", 200)]
    assert answer["per_unit"][0]["micro"] == 100.0
    assert "per epoch" in CliRunner().invoke(app, ["costs"]).stdout

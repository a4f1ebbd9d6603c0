"""A decision as JSON, Markdown, terminal view and picture."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from infra.core.canonical import digest
from infra.core.errors import InputError
from infra.core.inventory import Purchase
from infra.core.placement.decide import decide
from infra.core.placement.decision import Decision, Outcome
from infra.core.placement.snapshot import QueueEntry, Snapshot
from infra.core.workload import Fallback, Resources, WorkloadRequest
from infra.documents.schemas import schema
from infra.render import decision_answer, decision_markdown, decision_svg, decision_view, error_answer, outcome_text
from infra.render.bars import price_bars, time_bars
from infra.render.prose import SIMULATED, money
from tests.unit.document_samples import NOW_AT, request, snapshot

Story = tuple[Decision, WorkloadRequest, Snapshot]
VALIDATOR = Draft202012Validator(schema("decision"))


def _story(**changes: Any) -> Story:
    wanted, world = request(**changes), snapshot()
    return decide(wanted, world), wanted, world


STORIES = {
    Outcome.RUN: _story(),
    Outcome.WAIT: _story(deadline_at=NOW_AT + 7200),
    Outcome.INFEASIBLE: _story(budget_micro=100),
}


@pytest.fixture(params=list(Outcome))
def story(request: pytest.FixtureRequest) -> Story:
    return STORIES[request.param]


def _terminal(story: Story, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(decision_view(*story))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_stories_are_what_they_are_called() -> None:
    assert {outcome: story[0].outcome for outcome, story in STORIES.items()} == {item: item for item in Outcome}


def test_answer_has_the_documented_shape(story: Story) -> None:
    answer = decision_answer(*story)
    VALIDATOR.validate(answer)
    decision, wanted, world = story
    assert answer["outcome"] == decision.outcome.value
    assert answer["simulated"] is True
    assert answer["digests"] == {"request": digest(wanted), "snapshot": digest(world), "decision": digest(decision)}
    assert len(answer["candidates"]) == len(decision.candidates) == 4
    assert [item["chosen"] for item in answer["candidates"]].count(True) == (0 if decision.chosen is None else 1)


def test_answer_of_a_run() -> None:
    answer = decision_answer(*STORIES[Outcome.RUN])
    assert answer["offer"] == {
        "site": "cloud",
        "pool": "cloud",
        "offer": "spot",
        "purchase": "spot",
        "device": "gpu-sim",
        "devices": 2,
    }
    parts = answer["cost"]
    summed = sum(parts[f"{name}_usd"] for name in ("compute", "boot", "egress", "rework"))
    assert summed == pytest.approx(parts["total_usd"], abs=1e-9)
    assert parts["total_usd"] == answer["cost_usd"] <= answer["cap_usd"]
    assert (answer["start"], answer["wait_until"]) == ("2026-11-24T14:00:00Z", None)
    assert answer["finish"].startswith("2026-11-24T14:00:")
    far = next(item for item in answer["candidates"] if item["site"] == "far")
    assert [reason["code"] for reason in far["reasons"]] == ["RESIDENCY_EXCLUDED", "POLICY_FORBIDS", "SITE_DOWN"]
    assert far["reasons"][0]["params"] == {"dataset": "mnist5k", "jurisdiction": "US", "tags": ["EU"]}
    assert far["reasons"][1]["params"] == {"rules": ["no-us"]}


def test_answer_of_a_wait() -> None:
    answer = decision_answer(*STORIES[Outcome.WAIT])
    assert answer["wait_until"] == answer["start"] == "2026-11-24T14:10:00Z"
    assert (answer["offer"]["site"], answer["cost_usd"]) == ("home", 0.0)


def test_answer_of_what_is_infeasible() -> None:
    decision, wanted, world = STORIES[Outcome.INFEASIBLE]
    answer = decision_answer(decision, wanted, world)
    assert [answer[key] for key in ("offer", "cost_usd", "cost", "cap_usd", "start", "finish")] == [None] * 6
    assert "BUDGET_RUN_EXCEEDED" in answer["binding"]
    changes = {change["kind"]: change for item in answer["counterfactuals"] for change in item["changes"]}
    assert re.fullmatch(r"budget ≥ \$0\.\d+", changes["budget"]["text"])
    assert changes["budget"]["value"] == pytest.approx(float(changes["budget"]["text"].split("$")[1]), rel=0.1)
    assert re.fullmatch(r"deadline ≥ 14:10(:\d\d)? UTC", changes["deadline"]["text"])
    assert changes["deadline"]["value"].startswith("2026-11-24T14:10:")
    # What the answer tells is enough: with the value that it names the request is feasible.
    budget_micro = round(changes["budget"]["value"] * 1e6)
    assert decide(replace(wanted, budget_micro=budget_micro), world).outcome is Outcome.RUN


def test_candidates_without_a_plan_have_no_figures() -> None:
    world = replace(snapshot(), rates=())
    wanted = request()
    answer = decision_answer(decide(wanted, world), wanted, world)
    assert {(item["start"], item["cost_usd"], item["cap_usd"]) for item in answer["candidates"]} == {(None, None, None)}
    assert answer["binding"] == ["ESTIMATE_UNKNOWN"]


def test_errors_have_a_shape_too() -> None:
    answer = error_answer(InputError("CODE", "problem", "where", "remedy"))
    assert answer == {
        "outcome": "error",
        "error": {"code": "CODE", "problem": "problem", "where": "where", "remedy": "remedy"},
    }


def test_simulation_is_said_everywhere_and_only_then(story: Story) -> None:
    decision, wanted, world = story
    for text in (_terminal(story), decision_markdown(*story), decision_svg(*story)):
        assert SIMULATED in text
    real = replace(world, sites=tuple(replace(site, simulated=False) for site in world.sites if site.name == "home"))
    # The other sites' pools are local processes, which no site may call real.
    other = (decide(wanted, real), wanted, real)
    for text in (_terminal(other), decision_markdown(*other), decision_svg(*other)):
        assert SIMULATED not in text
    assert decision_answer(*other)["simulated"] is False
    assert decision.outcome is not None


def test_markdown_has_one_row_per_candidate(story: Story) -> None:
    decision, _, world = story
    text = decision_markdown(*story)
    assert text.startswith(f"## {outcome_text(decision, world.now_at).split(':')[0]}")
    table, _, rest = text.partition("### Expected cost by part")
    costs, _, times = rest.partition("### Expected time by part")
    planned = sum(candidate.start_at is not None for candidate in decision.candidates)
    for part, columns, lines in (
        (table, 9, len(decision.candidates)),
        (costs, 7, planned),
        (times, 8, planned),
    ):
        rows = [line for line in part.splitlines() if line.startswith("|")]
        assert len(rows) == 2 + lines
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {columns + 1}
    assert all(reason.code.value in table for candidate in decision.candidates for reason in candidate.reasons)
    assert ("What would make it feasible" in text) == bool(decision.counterfactuals)


def test_terminal_tells_every_reason_with_its_code(story: Story) -> None:
    decision, _, world = story
    text = _terminal(story, width=400)
    assert outcome_text(decision, world.now_at) in text
    for candidate in decision.candidates:
        assert f"{candidate.site}/{candidate.offer}" in text
        for reason in candidate.reasons:
            assert reason.code.value in text
    assert max(len(line) for line in _terminal(story, width=60).splitlines()) <= 60


def test_picture_is_well_formed_and_reproducible(story: Story) -> None:
    decision, _, world = story
    text = decision_svg(*story)
    assert text == decision_svg(*story)
    root = ElementTree.fromstring(text)
    name = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{name}svg"
    told = " ".join(element.text or "" for element in root.iter(f"{name}text"))
    assert outcome_text(decision, world.now_at) in told
    assert "deadline" in told
    for candidate in decision.candidates:
        assert f"{candidate.site} / {candidate.offer}" in told
    width = float(root.get("width", "0"))
    for bar in root.iter(f"{name}rect"):
        assert float(bar.get("x", "0")) + float(bar.get("width", "0")) <= width


def test_picture_without_any_candidate() -> None:
    decision = Decision(Outcome.INFEASIBLE, None, None, (), (), (), "e")
    wanted = request(deadline_at=None, fallbacks=(Fallback.WAIT,))
    text = decision_svg(decision, wanted, snapshot())
    assert "there is no offer at all" in text
    ElementTree.fromstring(text)


def test_names_cannot_break_out_of_their_place() -> None:
    wicked = "<b>|[x](y)`"
    wanted, world = request(), snapshot()
    decision = decide(wanted, world)
    assert decision.chosen is not None
    chosen = replace(decision.chosen, offer=wicked, purchase=Purchase.SPOT)
    decision = replace(decision, chosen=chosen, candidates=(chosen, *decision.candidates[1:]))
    ElementTree.fromstring(decision_svg(decision, wanted, world))
    markdown = decision_markdown(decision, wanted, world)
    assert wicked not in markdown
    assert "\\<b\\>\\|\\[x\\](y)\\`" in markdown
    assert wicked in _terminal((decision, wanted, world), width=300)


def test_the_wait_and_the_spread_are_told_and_drawn() -> None:
    kept = QueueEntry("other", "vision", "home", "owned", 1, NOW_AT - 60, 900.0, NOW_AT + 600, priority=50)
    world = replace(snapshot(), queue=(kept,))
    wanted = request(deadline_at=NOW_AT + 7200, wait_micro_per_hour=1_000, resources=Resources(1))
    decision = decide(wanted, world)
    assert decision.outcome is Outcome.WAIT
    chosen = decision.chosen
    assert chosen is not None
    assert chosen.wait_micro > 0
    story = decision, wanted, world
    told = f"Queue: number 2 of 2 that wait for home/owned, an hour's wait is worth $0.001 to it, this one {money(chosen.wait_micro)}."
    assert told in " ".join(_terminal(story, 200).split())
    text = decision_markdown(*story)
    assert told in text
    drawn = decision_svg(*story)
    assert f"its wait is worth {money(chosen.wait_micro)}; nobody pays it" in drawn
    dear = next(each for each in decision.candidates if each.cost_p90_micro > each.cost.total_micro)
    assert f"nine of ten at most {money(dear.cost_p90_micro)}" in drawn
    assert drawn.count("nine of ten within") == len([each for each in decision.candidates if each.start_at is not None])


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    decision, wanted, _ = STORIES[Outcome.WAIT]
    times, prices = time_bars(decision, wanted, NOW_AT), price_bars(decision)
    planned = [each for each in decision.candidates if each.start_at is not None]
    assert len(times) >= len(planned) + 2
    width = max(len(f"{each.site}/{each.offer}") + (0 if each.feasible else 2) for each in planned) + 1
    for line, each in zip(prices, planned, strict=False):
        solid = line[width:].count("█")
        dearest = max(max(one.cost_p90_micro, one.weight_micro) for one in planned)
        assert solid == round(40 * each.cost.total_micro / dearest)
    owned = next(each for each in planned if each.offer == "owned")
    assert (owned.cost_p90_micro, owned.weight_micro) == (0, 0)
    assert price_bars(replace(decision, candidates=(owned,))) == []
    assert time_bars(replace(decision, candidates=()), wanted, NOW_AT) == []

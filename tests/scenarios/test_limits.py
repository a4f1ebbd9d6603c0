"""Devices and money are finite: runs wait for the ones without a process, and never spend more of the other."""

from __future__ import annotations

import time

import pytest

from infra.core.lifecycle import RunState
from infra.core.units import period_of
from infra.documents import decision_from_json
from tests.scenarios.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400, func_only=True)]
OWNED = {"purchases": ["owned"]}
HELD_S = 300.0
"""For how long devices are held at most: longer than others take to come and wait, also on a busy computer."""


def test_a_run_without_money_waits_without_a_process_until_devices_come_free(world: World) -> None:
    holders = [world.probe(HELD_S, **OWNED) for _ in range(2)]
    for holder in holders:
        world.computing(holder)
    others = world.flow_processes("worker-control")
    waiting, given_up = world.probe(budget_usd=0, tenant="students"), world.probe(budget_usd=0)
    for run_id in (waiting, given_up):
        world.until(lambda run_id=run_id: world.state_name(run_id) == "Waiting", f"{run_id} to wait")
        assert world.flow_run(run_id).state_type.value == "SCHEDULED"  # type: ignore[union-attr]
        assert world.run(run_id).state is RunState.WAITING
        assert not world.runs.attempts(run_id)
    world.until(lambda: world.flow_processes("worker-control") <= others, "the waiting runs' processes to end")

    world.cancel(given_up)
    world.ended(given_up, "Cancelled")
    world.until(lambda: world.run(given_up).state is RunState.CANCELLED, "the record to say so")
    assert not world.runs.attempts(given_up)
    assert not world.ledger.entries(run_id=given_up)

    for holder in holders:
        world.cancel(holder)
    world.ended(waiting)
    assert world.attempt(waiting).site == "onprem-fra"
    assert world.attempt(waiting).charged.total_micro == 0  # type: ignore[union-attr]
    first, last = (decision_from_json(world.runs.decisions(waiting)[index].decision_json) for index in (0, -1))
    assert first.wait_until_at is not None
    assert first.wait_until_at > time.time(), "it was woken and did not have to wait for the expected instant"
    assert (first.outcome.value, last.outcome.value) == ("wait", "run")
    assert world.replays(waiting)
    for holder in holders:
        world.until(lambda holder=holder: world.run(holder).state is RunState.CANCELLED, f"{holder} to be cancelled")


def test_of_three_runs_at_once_only_as_many_start_as_the_tenant_can_pay(world: World) -> None:
    period = period_of(time.time())
    first = world.probe(5, tenant="search", purchases=["on_demand"])
    world.ended(first)
    cap = world.attempt(first).cap_micro
    before = world.ledger.balance("search", period)
    assert before is not None
    limit = before.settled_micro + before.reserved_micro + cap + cap // 2
    try:
        assert world.cli("budget", "set", "search", f"{limit / 1_000_000:.6f}")[0] == 0
        runs = [world.probe(5, tenant="search", purchases=["on_demand"]) for _ in range(3)]
        highest = 0

        def all_ended() -> bool:
            nonlocal highest
            balance = world.ledger.balance("search", period)
            assert balance is not None
            highest = max(highest, balance.reserved_micro + balance.settled_micro)
            return all(world.run_or_none(run) is not None and world.run(run).state.final for run in runs)

        world.until(all_ended, "all three to end")
        assert highest <= limit
        states = [world.run(run).state for run in runs]
        assert RunState.PUBLISHED in states
        refused = [run for run in runs if world.run(run).state is RunState.INFEASIBLE]
        assert refused
        for run in refused:
            decision = decision_from_json(world.runs.decisions(run)[-1].decision_json)
            reasons = {reason.code.value for candidate in decision.candidates for reason in candidate.reasons}
            assert any("BUDGET" in reason.upper() for reason in reasons), reasons
            assert world.replays(run)
    finally:
        assert world.cli("budget", "set", "search", "10")[0] == 0


def test_of_those_who_wait_the_more_urgent_goes_first_and_the_queue_shows_it(world: World) -> None:
    holders = [world.probe(HELD_S, **OWNED) for _ in range(2)]
    for holder in holders:
        world.computing(holder)
    patient = world.probe(5, tenant="students", budget_usd=0, priority=30)
    world.until(lambda: world.state_name(patient) == "Waiting", "the patient run to wait")
    urgent = world.probe(5, budget_usd=0, priority=70)
    world.until(lambda: world.state_name(urgent) == "Waiting", "the urgent run to wait")

    def planned() -> dict[str, float]:
        starts = {entry["run_id"]: entry["start_at"] for entry in world.json("queue")["queue"]}
        return starts if starts.keys() >= {patient, urgent} and starts[urgent] <= starts[patient] else {}

    assert world.until(lambda: planned() or None, "the queue to be planned")
    world.cancel(holders[0])
    world.ended(urgent)
    world.ended(patient)
    first, second = world.attempt(urgent), world.attempt(patient)
    assert first.started_at < second.started_at
    assert world.json("queue")["queue"] == []
    for run_id in (urgent, patient):
        assert world.replays(run_id)
    world.cancel(holders[1])
    for holder in holders:
        world.until(lambda holder=holder: world.run(holder).state is RunState.CANCELLED, f"{holder} to be cancelled")


def test_a_run_that_cannot_be_had_as_asked_goes_down_its_own_ladder(world: World) -> None:
    ladder = [
        {"name": "three", "devices": 3, "deadline": "none", "wait": True},
        {"name": "short", "devices": 1, "wait": True, "parameters": {"sleep_s": 1.0}},
    ]
    asked = {"tenant": "vision", "purchases": ["owned"], "devices": 4, "may_wait": False}
    refused = world.start("probe/empty", options={**asked, "ladder": ladder[:1]}, probe={"sleep_s": 1})
    run_id = world.start("probe/empty", options={**asked, "ladder": ladder}, probe={"sleep_s": HELD_S})
    message = world.ended(refused, "Infeasible")
    assert "as asked: " in message
    assert "; rung three: " in message
    world.ended(run_id)
    attempt = world.attempt(run_id)
    assert (attempt.site, attempt.devices) == ("onprem-fra", 1)
    assert attempt.finished_at is not None
    assert attempt.finished_at - attempt.started_at < HELD_S, "the site was asked for the lighter work"
    told = world.json("explain", run_id)["decisions"]
    assert [(step["rung"], step["outcome"]) for step in told[:2]] == [("", "infeasible"), ("three", "infeasible")]
    assert all("CAPACITY_TOO_SMALL" in step["binding"] for step in told[:2])
    assert (told[-1]["rung"], told[-1]["outcome"]) == ("short", "run")
    assert world.settled(run_id)
    assert world.replays(run_id)

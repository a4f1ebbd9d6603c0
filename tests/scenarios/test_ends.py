"""How runs end before their time: cancelled by a person, or with a part of the platform killed under them."""

from __future__ import annotations

import json

import pytest

from infra.adapters.reports import read_report
from infra.core.lifecycle import AttemptState, RunState
from infra.core.metering import ReportKind
from tests.scenarios.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400, func_only=True)]
DATA = {"name": "mnist5k", "version": "v1"}
ON_DEMAND = {"purchases": ["on_demand"]}
EPOCHS = 40
"""So many that a fast computer has not done them all before it is noticed that it has begun."""


def _outcome(world: World, run_id: str, number: int) -> str:
    """What the site said about the end of an attempt."""
    attempt = world.attempt(run_id, number)
    control = world.control
    report = read_report(control.store, control.trusted_keys, run_id, number, ReportKind.CLOSED, attempt.site)
    assert report is not None
    return report.outcome.value


def _paid_once(world: World, run_id: str) -> None:
    """Every attempt has one reservation and one charge, and nothing is reserved any more."""
    world.until(lambda: world.settled(run_id), f"{run_id} to be settled")
    for attempt in world.runs.attempts(run_id):
        kinds = [e.kind.value for e in world.ledger.entries(run_id=run_id) if e.attempt == attempt.attempt]
        assert kinds.count("reserve") == 1
        assert kinds.count("settle") + kinds.count("expire") == 1
        assert attempt.charged is not None
        assert attempt.charged.total_micro <= attempt.cap_micro


def test_cancelling_a_computing_run_ends_its_machines_and_charges_what_was_used(world: World) -> None:
    run_id = world.probe(300, **ON_DEMAND)
    note = world.computing(run_id)
    assert world.machines(note.lease)
    world.cancel(run_id)
    world.ended(run_id, "Cancelled")
    world.until(lambda: world.run(run_id).state is RunState.CANCELLED, "the record to say so")
    assert world.machines(note.lease) == []
    assert note.process is not None
    assert not note.process.alive
    assert _outcome(world, run_id, 1) == "cancelled"
    _paid_once(world, run_id)
    charged = world.attempt(run_id).charged
    assert charged is not None
    assert charged.total_micro > 0
    assert world.runs.publication(run_id) is None
    assert world.replays(run_id)


def test_a_killed_flow_process_of_the_site_is_a_lost_attempt_and_training_goes_on_from_its_checkpoint(
    world: World,
) -> None:
    run_id = world.start(
        "training/digits",
        dataset=DATA,
        options={"tenant": "vision"},
        training={"model": "digits-killed", "epochs": EPOCHS, "checkpoint_every_s": 0.2},
    )
    note = world.computing(run_id)
    checkpoints = f"runs/{run_id}/checkpoints"
    world.until(lambda: world.control.store.list(checkpoints) or None, "a checkpoint")
    assert note.process is not None
    world.kill(note.process.pid)
    world.ended(run_id)
    _, second = world.runs.attempts(run_id)
    assert _outcome(world, run_id, 1) == "lost"
    assert second.state is AttemptState.SETTLED
    publication = world.runs.publication(run_id)
    assert publication is not None
    assert publication.attempt == 2
    done = json.loads(world.control.store.get(f"runs/{run_id}/attempts/2/result.json"))["units_done"]
    assert 0 < done < EPOCHS * 5000, "the second attempt did only what the first had left"
    assert world.control.store.list(checkpoints) == []
    published = [entry.version.version for entry in world.control.database.catalog.versions("digits-killed")]
    assert published.count(publication.version) == 1
    _paid_once(world, run_id)
    assert world.replays(run_id)


def test_killed_workers_of_the_site_and_of_the_control_pool_come_back_and_the_run_finishes(world: World) -> None:
    run_id = world.probe(20, purchases=["spot"])
    note = world.computing(run_id)
    world.kill(world.pid(f"worker-{note.lease.site}"))
    world.kill(world.pid("worker-control"))
    world.ended(run_id, timeout_s=180)
    assert len(world.runs.attempts(run_id)) == 2
    assert _outcome(world, run_id, 1) == "lost"
    assert world.machines(note.lease) == []
    assert world.run(run_id).state is RunState.PUBLISHED
    _paid_once(world, run_id)
    assert note.process is not None
    assert not note.process.alive
    assert world.replays(run_id)

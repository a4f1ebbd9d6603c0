"""What every run store does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra.core.canonical import canonical
from infra.core.errors import ConflictError, InputError
from infra.core.lifecycle import AttemptState, RunState
from infra.core.placement.decision import CostParts
from infra.core.placement.snapshot import QueueEntry
from infra.core.warm import TAKEN
from infra.core.workload import WorkKind
from infra.ports import AttemptRecord, ControlStore, RunStore
from tests.contract import examples
from tests.contract.examples import RUN
from tests.databases import ALL, NOW

pytestmark = pytest.mark.parametrize("database", ALL, indirect=True)


@pytest.fixture
def runs(database: ControlStore) -> RunStore:
    database.runs.open_run(examples.run_record())
    return database.runs


def advance(runs: RunStore, *states: AttemptState, run_id: str = RUN, attempt: int = 1) -> None:
    for state in states:
        runs.update_attempt(run_id, attempt, state)


def test_a_run_opens_once(runs: RunStore) -> None:
    again = runs.open_run(examples.run_record(created_at=NOW + 5, tenant="search"))
    assert again == examples.run_record()
    assert runs.run(RUN) == examples.run_record()
    assert runs.runs() == (examples.run_record(),)


def test_a_run_is_found_by_the_beginning_of_its_id(runs: RunStore) -> None:
    stage = examples.run_record(f"{RUN}:train", created_at=NOW + 1)
    runs.open_run(stage)
    assert runs.run(RUN[:8]) == stage
    assert runs.run(RUN) == examples.run_record()
    assert runs.run(RUN[:7]) is None
    assert runs.run(RUN[:8].upper()) is None
    assert runs.run("%" * 8) is None
    assert runs.run("_" * 8) is None


def test_runs_are_listed_newest_first(runs: RunStore) -> None:
    names = [f"run-{number:05d}" for number in range(4)]
    for name in names:
        runs.open_run(examples.run_record(name, created_at=NOW + 10))
    runs.set_run_state(names[1], RunState.FAILED, "the site did not answer")
    assert [run.run_id for run in runs.runs()] == [*reversed(names), RUN]
    assert [run.run_id for run in runs.runs(limit=2)] == [names[3], names[2]]
    failed = runs.runs([RunState.FAILED, RunState.CANCELLED])
    assert [(run.run_id, run.detail) for run in failed] == [(names[1], "the site did not answer")]


def test_an_ended_run_stays_ended(runs: RunStore) -> None:
    runs.set_run_state(RUN, RunState.CANCELLED, "by its owner")
    assert runs.set_run_state(RUN, RunState.CANCELLED, "by its owner").state is RunState.CANCELLED
    with pytest.raises(ConflictError) as refused:
        runs.set_run_state(RUN, RunState.ACTIVE)
    assert refused.value.code == "RUN_IS_FINAL"
    with pytest.raises(ConflictError) as refused:
        runs.claim_attempt(examples.attempt_record(), 4)
    assert refused.value.code == "RUN_IS_FINAL"


def test_decisions_are_kept_byte_for_byte(runs: RunStore) -> None:
    request, snapshot, decision = examples.request(), examples.snapshot(), examples.decision()
    record = runs.add_decision(RUN, request, snapshot, decision)
    assert runs.add_decision(RUN, request, snapshot, decision) == record
    later = runs.add_decision(RUN, request, examples.snapshot(NOW + 1), decision)
    assert runs.decisions(RUN) == (record, later)
    assert (record.sequence, record.decided_at) == (1, NOW)
    assert (later.sequence, later.decided_at) == (2, NOW + 1)
    stored = runs.decisions(RUN)[0]
    assert stored.request_json.encode() == canonical(request)
    assert stored.snapshot_json.encode() == canonical(snapshot)
    assert stored.decision_json.encode() == canonical(decision)


def test_work_under_way_is_what_was_decided_last_for_dispatched_attempts(runs: RunStore) -> None:
    first, last = (replace(examples.request(), units=units) for units in (10.0, 4.5))
    for request, at in ((first, NOW), (last, NOW + 1)):
        runs.add_decision(RUN, request, examples.snapshot(at), examples.decision())
    runs.open_run(examples.run_record("undecided-run"))
    runs.claim_attempt(examples.attempt_record("undecided-run"), 8)
    advance(runs, AttemptState.DISPATCHED, run_id="undecided-run")
    assert runs.work_under_way() == {}
    runs.claim_attempt(examples.attempt_record(), 8)
    assert runs.work_under_way() == {}
    advance(runs, AttemptState.DISPATCHED)
    assert runs.work_under_way() == {RUN: (last.kind, 4.5)}
    advance(runs, AttemptState.FINISHED)
    assert runs.work_under_way() == {}


def test_what_is_unknown_is_the_callers_fault(runs: RunStore) -> None:
    unknown_run = [
        lambda: runs.set_run_state("nobody", RunState.ACTIVE),
        lambda: runs.claim_attempt(examples.attempt_record("nobody"), 4),
        lambda: runs.add_decision("nobody", examples.request(), examples.snapshot(), examples.decision()),
        lambda: runs.publish(examples.publication("nobody")),
    ]
    for call in unknown_run:
        with pytest.raises(InputError) as refused:
            call()
        assert refused.value.code == "UNKNOWN_RUN"
    for call in [lambda: advance(runs, AttemptState.LOST), lambda: runs.publish(examples.publication())]:
        with pytest.raises(InputError) as refused:
            call()
        assert refused.value.code == "UNKNOWN_ATTEMPT"
    assert runs.run("nobody") is None
    assert runs.decisions("nobody") == ()
    assert runs.attempts("nobody") == ()
    assert runs.publication("nobody") is None


def test_a_claim_makes_the_run_active(runs: RunStore) -> None:
    record = examples.attempt_record()
    assert runs.claim_attempt(record, 1) == record
    assert runs.claim_attempt(record, 1) == record
    assert runs.attempts(RUN) == (record,)
    assert runs.open_attempts() == (record,)
    assert runs.run(RUN) == examples.run_record(state=RunState.ACTIVE, attempt=1)


def test_devices_are_held_until_the_attempt_ends(runs: RunStore) -> None:
    others = [f"other-{number}-run" for number in range(3)]
    for other in others:
        runs.open_run(examples.run_record(other))
    runs.claim_attempt(examples.attempt_record(devices=2), 3)
    runs.claim_attempt(examples.attempt_record(others[0]), 3)
    with pytest.raises(ConflictError) as refused:
        runs.claim_attempt(examples.attempt_record(others[1]), 3)
    assert refused.value.code == "CAPACITY_TAKEN"
    assert runs.run(others[1]) == examples.run_record(others[1])
    runs.claim_attempt(examples.attempt_record(others[1], offer="on-demand"), 1)
    runs.claim_attempt(examples.attempt_record(others[2], site="cloud-us-east"), 1)
    advance(runs, AttemptState.DISPATCHED)
    with pytest.raises(ConflictError):
        runs.claim_attempt(examples.attempt_record(others[1], 2), 3)
    advance(runs, AttemptState.FINISHED)
    assert runs.claim_attempt(examples.attempt_record(others[1], 2, devices=2), 3).devices == 2


def test_attempts_are_claimed_in_order(runs: RunStore) -> None:
    for attempt in (0, 2, -1):
        with pytest.raises(ConflictError) as refused:
            runs.claim_attempt(examples.attempt_record(attempt=attempt), 4)
        assert refused.value.code == "STALE_ATTEMPT"
    runs.claim_attempt(examples.attempt_record(), 4)
    rival = examples.attempt_record(permit=examples.permit(id="another"))
    with pytest.raises(ConflictError) as refused:
        runs.claim_attempt(rival, 4)
    assert refused.value.code == "STALE_ATTEMPT"
    advance(runs, AttemptState.LOST)
    second = examples.attempt_record(attempt=2)
    runs.claim_attempt(second, 4)
    assert runs.run(RUN).attempt == 2
    assert [record.attempt for record in runs.attempts(RUN)] == [1, 2]


def test_a_claim_of_nothing_is_refused(runs: RunStore) -> None:
    for record, code in [
        (examples.attempt_record(devices=0), "BAD_NUMBER"),
        (examples.attempt_record(cap_micro=-1), "BAD_MONEY"),
        (examples.attempt_record(state=AttemptState.DISPATCHED), "BAD_ATTEMPT_STATE"),
    ]:
        with pytest.raises(InputError) as refused:
            runs.claim_attempt(record, 4)
        assert refused.value.code == code
    assert runs.attempts(RUN) == ()


def test_an_attempts_life_is_recorded_without_loss(runs: RunStore) -> None:
    runs.claim_attempt(examples.attempt_record(), 4)
    runs.update_attempt(RUN, 1, AttemptState.DISPATCHED, child_run_id="child", expected_finish_at=NOW + 1 / 3)
    metered = {"run_s": 0.1 + 0.2, "egress_bytes": 12345678901.0}
    finished = runs.update_attempt(
        RUN, 1, AttemptState.FINISHED, finished_at=NOW + 77.7, metered=metered, ending="moved"
    )
    settled = runs.update_attempt(RUN, 1, AttemptState.SETTLED, charged=CostParts(1, 2, 3, 4))
    expected = examples.attempt_record(
        state=AttemptState.FINISHED,
        child_run_id="child",
        expected_finish_at=NOW + 1 / 3,
        finished_at=NOW + 77.7,
        metered=metered,
        ending="moved",
    )
    assert finished == expected
    assert settled == replace(expected, state=AttemptState.SETTLED, charged=CostParts(1, 2, 3, 4))
    assert runs.attempts(RUN) == (settled,)
    assert runs.open_attempts() == ()


def test_an_attempt_takes_only_steps_of_its_life(runs: RunStore) -> None:
    runs.claim_attempt(examples.attempt_record(), 4)
    advance(runs, AttemptState.RESERVED, AttemptState.DISPATCHED, AttemptState.LOST)
    with pytest.raises(ConflictError) as refused:
        runs.update_attempt(RUN, 1, AttemptState.FINISHED, finished_at=NOW)
    assert refused.value.code == "BAD_ATTEMPT_STEP"
    with pytest.raises(InputError) as unknown:
        runs.update_attempt(RUN, 1, AttemptState.LOST, site="elsewhere")
    assert unknown.value.code == "UNKNOWN_FIELD"
    assert runs.attempts(RUN) == (examples.attempt_record(state=AttemptState.LOST),)


def test_open_attempts_come_oldest_first(runs: RunStore) -> None:
    runs.open_run(examples.run_record("another-run"))
    runs.claim_attempt(examples.attempt_record(), 4)
    runs.claim_attempt(examples.attempt_record("another-run", started_at=NOW - 5), 4)
    assert [record.run_id for record in runs.open_attempts()] == ["another-run", RUN]


def test_a_finished_attempt_publishes_once(runs: RunStore) -> None:
    runs.claim_attempt(examples.attempt_record(), 4)
    advance(runs, AttemptState.DISPATCHED, AttemptState.FINISHED)
    assert runs.publication(RUN) is None
    result = examples.publication()
    assert runs.publish(result) == result
    assert runs.publish(replace(result, version="v4")) == result
    assert runs.publication(RUN) == result
    assert runs.run(RUN).state is RunState.PUBLISHED


def test_a_late_attempt_publishes_nothing(runs: RunStore) -> None:
    runs.claim_attempt(examples.attempt_record(), 4)
    advance(runs, AttemptState.DISPATCHED)
    with pytest.raises(ConflictError) as refused:
        runs.publish(examples.publication())
    assert refused.value.code == "FENCED"
    advance(runs, AttemptState.LOST)
    runs.claim_attempt(examples.attempt_record(attempt=2), 4)
    with pytest.raises(ConflictError):
        runs.publish(examples.publication())
    advance(runs, AttemptState.DISPATCHED, AttemptState.FINISHED, attempt=2)
    runs.publish(examples.publication(attempt=2))
    with pytest.raises(ConflictError) as refused:
        runs.publish(examples.publication())
    assert refused.value.code == "FENCED"
    assert runs.publication(RUN) == examples.publication(attempt=2)


def test_a_cancelled_run_publishes_nothing(runs: RunStore) -> None:
    runs.claim_attempt(examples.attempt_record(), 4)
    advance(runs, AttemptState.DISPATCHED, AttemptState.FINISHED)
    runs.set_run_state(RUN, RunState.CANCELLED)
    with pytest.raises(ConflictError) as refused:
        runs.publish(examples.publication())
    assert refused.value.code == "FENCED"
    assert runs.publication(RUN) is None


def queue_entry(run_id: str = RUN, **changes: object) -> QueueEntry:
    waits = QueueEntry(
        run_id, "vision", "onprem-fra", "owned", 2, NOW + 0.1, 600.3, NOW + 60.7, 70, 5_000, 123, 4.5, NOW + 900.1, True
    )
    return replace(waits, **changes)


def test_the_queue_keeps_entries_without_loss_and_replaces_them(runs: RunStore) -> None:
    runs.enqueue(RUN, queue_entry())
    assert runs.queue() == (queue_entry(),)
    runs.enqueue(RUN, queue_entry(start_at=NOW + 5.0, burst_micro=None, latest_start_at=None, why="FREE_NOW"))
    assert [entry.start_at for entry in runs.queue()] == [NOW + 5.0]
    assert runs.queue()[0].burst_micro is None
    runs.enqueue(RUN, None)
    runs.enqueue(RUN, None)
    assert runs.queue() == ()


def test_the_queue_lists_waiting_runs_by_their_id(runs: RunStore) -> None:
    for run_id in ("zz-run", "aa-run"):
        runs.open_run(examples.run_record(run_id))
        runs.enqueue(run_id, queue_entry(run_id))
    runs.enqueue(RUN, queue_entry())
    assert [entry.run_id for entry in runs.queue()] == [RUN, "aa-run", "zz-run"]
    runs.set_run_state(RUN, RunState.CANCELLED)
    assert [entry.run_id for entry in runs.queue()] == ["aa-run", "zz-run"]


def test_only_a_run_that_exists_is_queued(runs: RunStore) -> None:
    with pytest.raises(InputError, match="UNKNOWN_RUN"):
        runs.enqueue("nobody", queue_entry("nobody"))
    assert runs.queue() == ()


def test_a_warm_cluster_is_taken_once_and_its_devices_count_no_more(runs: RunStore) -> None:
    offered = {"site": "cloud-eu-central", "pool": "cloud-eu-central", "offer": "od", "purchase": "on_demand"}

    def claim(run_id: str, lease: str = "", **changes: Any) -> AttemptRecord:
        runs.open_run(examples.run_record(run_id, kind=WorkKind.WARM if "warm" in run_id else WorkKind.TRAINING))
        permit = examples.permit(run_id, offer="od", cluster_lease=lease)
        return runs.claim_attempt(examples.attempt_record(run_id, permit=permit, **{**offered, **changes}), 2)

    def gone(run_id: str, lease: str, **changes: Any) -> None:
        with pytest.raises(ConflictError) as refused:
            claim(run_id, lease, **changes)
        assert refused.value.code == "WARM_CLUSTER_GONE"
        assert runs.attempts(run_id) == ()

    warm = claim("warm-run-1")
    claim("plain-run-1")
    gone("taker-run-1", warm.permit.id)  # it is not sent to its site yet
    advance(runs, AttemptState.DISPATCHED, run_id="warm-run-1")
    advance(runs, AttemptState.DISPATCHED, run_id="plain-run-1")
    gone("taker-run-1", "nobody's")
    gone("taker-run-1", "permit-plain-run-1-1")
    gone("taker-run-1", warm.permit.id, devices=2)
    gone("taker-run-1", warm.permit.id, offer="spot")
    with pytest.raises(ConflictError) as refused:
        claim("taker-run-1")
    assert refused.value.code == "CAPACITY_TAKEN"
    assert runs.attempts("warm-run-1")[0].ending is None

    taker = claim("taker-run-1", warm.permit.id)
    assert runs.attempts("taker-run-1") == (taker,)
    assert taker.permit.cluster_lease == warm.permit.id
    assert runs.attempts("warm-run-1")[0].ending == TAKEN
    assert claim("taker-run-1", warm.permit.id) == taker
    gone("taker-run-2", warm.permit.id)
    advance(runs, AttemptState.DISPATCHED, AttemptState.FINISHED, run_id="taker-run-1")
    gone("taker-run-2", warm.permit.id)
    advance(runs, AttemptState.FINISHED, run_id="warm-run-1")
    assert runs.attempts("warm-run-1")[0].ending == TAKEN
    claim("plain-run-2")
    with pytest.raises(ConflictError) as refused:
        claim("plain-run-3")
    assert refused.value.code == "CAPACITY_TAKEN"


def test_a_warm_cluster_stays_free_when_the_claim_fails(runs: RunStore) -> None:
    runs.open_run(examples.run_record("warm-run-1", kind=WorkKind.WARM))
    warm = runs.claim_attempt(examples.attempt_record("warm-run-1"), 1)
    advance(runs, AttemptState.DISPATCHED, run_id="warm-run-1")
    late = examples.attempt_record(attempt=2, permit=examples.permit(attempt=2, cluster_lease=warm.permit.id))
    with pytest.raises(ConflictError) as refused:
        runs.claim_attempt(late, 1)
    assert refused.value.code == "STALE_ATTEMPT"
    assert runs.attempts("warm-run-1")[0].ending is None

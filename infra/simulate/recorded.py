"""The runs that this platform has placed, read from its database for a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass

from infra.core.errors import InputError
from infra.core.lifecycle import RunState
from infra.core.placement.decision import Candidate, Outcome
from infra.core.rehearsal.model import Ending, Fate, Reality, RecordedRun
from infra.documents import decision_from_json, request_from_json, snapshot_from_json
from infra.ports import AttemptRecord, ControlStore, RunRecord

MOST_RUNS = 100_000


@dataclass(frozen=True, slots=True)
class Record:
    """What was read.

    Attributes:
        runs: By their first decision.
        undecided: Runs about which nothing was decided, or that were given up before they ran.
        unreadable: Runs that an older version recorded in a form that is not understood any more.
    """

    runs: tuple[RecordedRun, ...]
    undecided: int
    unreadable: int


def read_runs(store: ControlStore) -> Record:
    """All runs that can be rehearsed.

    Raises:
        InputError: ``NO_RECORD`` when there is none.
    """
    runs, undecided, unreadable = [], 0, 0
    for found in store.runs.runs(limit=MOST_RUNS):
        try:
            run = _read(store, found)
        except InputError:
            unreadable += 1
            continue
        if run is None:
            undecided += 1
        else:
            runs.append(run)
    if not runs:
        raise InputError(
            "NO_RECORD",
            f"no run to decide again ({undecided} undecided, {unreadable} unreadable)",
            "control-plane database",
            "place some runs first, or give a trace with --trace",
        )
    return Record(tuple(sorted(runs, key=lambda run: (run.decided_at, run.run_id))), undecided, unreadable)


def _read(store: ControlStore, run: RunRecord) -> RecordedRun | None:
    with store.reading():
        records, attempts = store.runs.decisions(run.run_id), store.runs.attempts(run.run_id)
    if not records:
        return None
    ending = Ending.RAN if attempts else _ENDINGS.get(run.state)
    if ending is None:
        return None
    where = f"decision 1 of run {run.run_id}"
    request = request_from_json(records[0].request_json, where)
    snapshots = tuple(
        snapshot_from_json(record.snapshot_json, f"decision {record.sequence} of run {run.run_id}")
        for before, record in zip((None, *records), records, strict=False)
        # All rungs of a ladder are decided on one snapshot.
        if before is None or before.snapshot_json != record.snapshot_json
    )
    decisions = [decision_from_json(record.decision_json, where) for record in records]
    led = [each.chosen for each in decisions if each.outcome is Outcome.RUN]
    chosen = led[-1] if led else None
    fate = Fate(ending, run.created_at, deadline_at=request.deadline_at)
    if attempts:
        fate = _ran(fate, attempts)
    return RecordedRun(run.run_id, request, snapshots, _reality(chosen, attempts), fate)


_ENDINGS = {RunState.INFEASIBLE: Ending.INFEASIBLE, RunState.WAITING: Ending.WAITING}


def _ran(fate: Fate, attempts: tuple[AttemptRecord, ...]) -> Fate:
    last = attempts[-1]
    return Fate(
        Ending.RAN,
        fate.arrived_at,
        last.site,
        last.offer,
        str(last.purchase),
        last.devices,
        attempts[0].started_at,
        last.finished_at,
        sum(attempt.charged.total_micro for attempt in attempts if attempt.charged is not None),
        deadline_at=fate.deadline_at,
    )


def _reality(chosen: Candidate | None, attempts: tuple[AttemptRecord, ...]) -> Reality | None:
    """How the attempts went beside the estimate of the last of them; ``None`` before one has ended."""
    ended = [attempt for attempt in attempts if attempt.finished_at is not None]
    if chosen is None or not ended or chosen.start_at is None or chosen.finish_at is None:
        return None
    if (chosen.site, chosen.offer) != (ended[-1].site, ended[-1].offer):
        return None
    held_s = sum((attempt.finished_at or 0.0) - attempt.started_at for attempt in ended)
    parts = [attempt.charged for attempt in ended if attempt.charged is not None]
    machine = chosen.cost.total_micro - chosen.cost.egress_micro
    machine_charged = sum(each.total_micro - each.egress_micro for each in parts)
    egress_charged = sum(each.egress_micro for each in parts)
    return Reality(
        time_ratio=held_s / max(chosen.finish_at - chosen.start_at, 1e-9),
        machine_ratio=machine_charged / machine if machine and parts else None,
        egress_ratio=egress_charged / chosen.cost.egress_micro if chosen.cost.egress_micro and parts else None,
    )

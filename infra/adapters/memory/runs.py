"""Runs, decisions, attempts and publications in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from infra.adapters import control_rules as rules
from infra.adapters.memory.state import Shelf, State
from infra.core.canonical import canonical
from infra.core.lifecycle import AttemptState, RunState, may_publish, require_step
from infra.core.placement.decision import Decision
from infra.core.placement.snapshot import QueueEntry, Snapshot
from infra.core.warm import TAKEN
from infra.core.workload import WorkKind, WorkloadRequest
from infra.ports import AttemptRecord, DecisionRecord, Publication, RunRecord


class MemoryRunStore:
    """A :class:`infra.ports.RunStore`; see there for what each call promises."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def open_run(self, record: RunRecord) -> RunRecord:
        with self._shelf.transaction():
            return self._shelf.state.runs.setdefault(record.run_id, record)

    def run(self, run_id: str) -> RunRecord | None:
        with self._shelf.looking() as state:
            if run_id in state.runs or len(run_id) < rules.SHORTEST_PREFIX:
                return state.runs.get(run_id)
            return next((run for run in _newest_first(state) if run.run_id.startswith(run_id)), None)

    def runs(self, states: Iterable[RunState] = (), limit: int = 100) -> tuple[RunRecord, ...]:
        wanted = frozenset(states) or frozenset(RunState)
        with self._shelf.looking() as state:
            return tuple(run for run in _newest_first(state) if run.state in wanted)[:limit]

    def set_run_state(self, run_id: str, state: RunState, detail: str = "") -> RunRecord:
        with self._shelf.transaction():
            run = _run(self._shelf.state, run_id)
            rules.require_run_step(run, state)
            changed = replace(run, state=state, detail=detail)
            self._shelf.state.runs[run_id] = changed
            return changed

    def add_decision(
        self, run_id: str, request: WorkloadRequest, snapshot: Snapshot, decision: Decision
    ) -> DecisionRecord:
        texts = tuple(canonical(value).decode() for value in (request, snapshot, decision))
        with self._shelf.transaction():
            state = self._shelf.state
            _run(state, run_id)
            before = state.decisions.get(run_id, ())
            for record in before:
                if (record.request_json, record.snapshot_json, record.decision_json) == texts:
                    return record
            record = DecisionRecord(run_id, len(before) + 1, snapshot.now_at, *texts)
            state.decisions[run_id] = (*before, record)
            return record

    def decisions(self, run_id: str) -> tuple[DecisionRecord, ...]:
        with self._shelf.looking() as state:
            return state.decisions.get(run_id, ())

    def work_under_way(self) -> dict[str, tuple[WorkKind, float]]:
        with self._shelf.looking() as state:
            return {
                run_id: rules.work_of(state.decisions[run_id][-1].request_json)
                for (run_id, _), attempt in state.attempts.items()
                if attempt.state is AttemptState.DISPATCHED and run_id in state.decisions
            }

    def enqueue(self, run_id: str, entry: QueueEntry | None) -> None:
        with self._shelf.transaction():
            _run(self._shelf.state, run_id)
            self._shelf.state.queue.pop(run_id, None)
            if entry is not None:
                self._shelf.state.queue[run_id] = entry

    def queue(self) -> tuple[QueueEntry, ...]:
        with self._shelf.looking() as state:
            return tuple(
                entry for run_id, entry in sorted(state.queue.items()) if state.runs[run_id].state is RunState.WAITING
            )

    def claim_attempt(self, record: AttemptRecord, capacity: int) -> AttemptRecord:
        with self._shelf.transaction():
            state = self._shelf.state
            run = _run(state, record.run_id)
            same = state.attempts.get((record.run_id, record.attempt))
            if same is not None and same.permit.id == record.permit.id:
                return same
            warm = self._warm(record) if record.permit.cluster_lease else None
            held = sum(
                attempt.devices
                for attempt in state.attempts.values()
                if (attempt.site, attempt.offer) == (record.site, record.offer)
                and attempt.state in rules.HOLDING
                and attempt.ending != TAKEN
                and attempt is not warm
            )
            rules.require_claim(run, record, held, capacity)
            if warm is not None:
                state.attempts[warm.run_id, warm.attempt] = replace(warm, ending=TAKEN)
            state.attempts[record.run_id, record.attempt] = record
            state.runs[run.run_id] = replace(run, attempt=record.attempt, state=RunState.ACTIVE, detail="")
            return record

    def _warm(self, record: AttemptRecord) -> AttemptRecord | None:
        """The attempt whose warm cluster is claimed."""
        state, lease_id = self._shelf.state, record.permit.cluster_lease
        found = next((each for each in state.attempts.values() if each.permit.id == lease_id), None)
        rules.require_warm(record, found, state.runs[found.run_id].kind if found is not None else None)
        return found

    def update_attempt(self, run_id: str, attempt: int, state: AttemptState, **changes: Any) -> AttemptRecord:
        rules.require_changes(changes, run_id, attempt)
        with self._shelf.transaction():
            before = _attempt(self._shelf.state, run_id, attempt)
            require_step(before.state, state, rules.attempt_name(run_id, attempt))
            after = replace(before, state=state, **changes)
            self._shelf.state.attempts[run_id, attempt] = after
            return after

    def attempts(self, run_id: str) -> tuple[AttemptRecord, ...]:
        with self._shelf.looking() as state:
            return tuple(record for key, record in sorted(state.attempts.items()) if key[0] == run_id)

    def open_attempts(self) -> tuple[AttemptRecord, ...]:
        with self._shelf.looking() as state:
            open_ones = [record for record in state.attempts.values() if record.state not in rules.CLOSED]
            return tuple(sorted(open_ones, key=lambda record: (record.started_at, record.run_id, record.attempt)))

    def publish(self, publication: Publication) -> Publication:
        with self._shelf.transaction():
            state = self._shelf.state
            run = _run(state, publication.run_id)
            attempt = _attempt(state, publication.run_id, publication.attempt)
            before = state.publications.get(publication.run_id)
            if before is not None and before.attempt == publication.attempt:
                return before
            if before is not None or not may_publish(run.state, run.attempt, publication.attempt, attempt.state):
                raise rules.fenced(run, publication, attempt.state, before)
            state.publications[publication.run_id] = publication
            state.runs[run.run_id] = replace(run, state=RunState.PUBLISHED, detail="")
            return publication

    def publication(self, run_id: str) -> Publication | None:
        with self._shelf.looking() as state:
            return state.publications.get(run_id)


def _newest_first(state: State) -> list[RunRecord]:
    # Sorted upwards, then reversed: of runs with the same time the later one comes first.
    return sorted(state.runs.values(), key=lambda run: run.created_at)[::-1]


def _run(state: State, run_id: str) -> RunRecord:
    run = state.runs.get(run_id)
    if run is None:
        raise rules.unknown_run(run_id)
    return run


def _attempt(state: State, run_id: str, attempt: int) -> AttemptRecord:
    record = state.attempts.get((run_id, attempt))
    if record is None:
        raise rules.unknown_attempt(run_id, attempt)
    return record

"""A run's story: what was asked, decided, tried, paid and published, put together from the records.

:func:`read_story` collects the records, :func:`story_json` gives them as plain JSON, :func:`story_view` for a
terminal. Estimates stand beside what was really charged, part by part.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infra.core.budget import EntryKind
from infra.core.errors import InputError
from infra.core.placement.decision import CostParts, Decision, Outcome
from infra.core.placement.snapshot import Snapshot
from infra.core.trust import PermitClaims
from infra.core.units import iso, usd, usd_float
from infra.core.warm import TAKEN
from infra.core.workload import WorkloadRequest
from infra.documents import decision_from_json, request_from_json, snapshot_from_json
from infra.ports import AttemptRecord, ControlStore, DecisionRecord, LedgerEntry, Publication, RunRecord
from infra.render.answer import decision_answer
from infra.render.prose import money, rung_name, span
from infra.render.terminal import decision_view

MOST_RUNS = 10_000
"""How far back a flow run's stages are looked for."""


@dataclass(frozen=True, slots=True)
class ToldDecision:
    """A decision record, decoded."""

    record: DecisionRecord
    request: WorkloadRequest
    snapshot: Snapshot
    decision: Decision


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that is recorded of one run, each part in the order in which it happened."""

    run: RunRecord
    decisions: tuple[ToldDecision, ...]
    attempts: tuple[AttemptRecord, ...]
    entries: tuple[LedgerEntry, ...]
    publication: Publication | None

    def estimate(self, attempt: AttemptRecord) -> CostParts | None:
        """What the decision that led to this attempt expected it to cost."""
        led = [
            told.decision.chosen
            for told in self.decisions
            if told.decision.outcome is Outcome.RUN and told.record.decided_at <= attempt.permit.issued_at
        ]
        chosen = led[-1] if led else None
        if chosen is None or (chosen.site, chosen.offer) != (attempt.site, attempt.offer):
            return None
        return chosen.cost

    def closing(self, attempt: AttemptRecord) -> LedgerEntry | None:
        """The line that closed the attempt's account."""
        closing = (EntryKind.SETTLE, EntryKind.EXPIRE)
        return next((one for one in self.entries if one.attempt == attempt.attempt and one.kind in closing), None)


def runs_named(store: ControlStore, name: str) -> tuple[RunRecord, ...]:
    """The run of that id; or, when the id of a flow run (or the beginning of one) is given, all its stages in order.

    Raises:
        InputError: ``UNKNOWN_RUN``.
    """
    found = store.runs.run(name)
    if found is None:
        raise InputError(
            "UNKNOWN_RUN",
            f"there is no run {name!r}",
            "RUN",
            "use an id of `headrace runs`, or at least its first 8 characters",
        )
    if found.run_id == name or not found.flow_run_id.startswith(name):
        return (found,)
    stages = [run for run in store.runs.runs(limit=MOST_RUNS) if run.flow_run_id == found.flow_run_id]
    return tuple(sorted(stages, key=lambda run: run.created_at))


def read_story(store: ControlStore, run: RunRecord) -> Story:
    """Collect and decode a run's records, as of one instant.

    Raises:
        InputError: a record cannot be decoded.
    """
    with store.reading():
        records = store.runs.decisions(run.run_id)
        attempts = store.runs.attempts(run.run_id)
        entries = store.ledger.entries(run_id=run.run_id)
        publication = store.runs.publication(run.run_id)
    told = []
    for record in records:
        where = f"decision {record.sequence} of run {run.run_id}"
        told.append(
            ToldDecision(
                record,
                request_from_json(record.request_json, where),
                snapshot_from_json(record.snapshot_json, where),
                decision_from_json(record.decision_json, where),
            )
        )
    return Story(run, tuple(told), attempts, entries, publication)


def story_json(story: Story) -> dict[str, Any]:
    """The story as plain JSON. A permit appears without its signature: it is a record, not a key."""
    return {
        "run": run_json(story.run),
        "decisions": [
            {
                "sequence": told.record.sequence,
                **decision_answer(told.decision, told.request, told.snapshot),
            }
            for told in story.decisions
        ],
        "attempts": [_attempt_json(story, attempt) for attempt in story.attempts],
        "ledger": [
            {
                "sequence": entry.sequence,
                "at": iso(entry.at),
                "kind": entry.kind.value,
                "attempt": entry.attempt,
                "amount_usd": usd_float(entry.amount_micro),
                "amount_micro": entry.amount_micro,
                "parts": _parts_json(entry.parts),
            }
            for entry in story.entries
        ],
        "publication": None if story.publication is None else _publication_json(story.publication),
    }


def run_json(run: RunRecord) -> dict[str, Any]:
    """A run as plain JSON."""
    return {
        "run_id": run.run_id,
        "flow_run_id": run.flow_run_id,
        "kind": run.kind.value,
        "tenant": run.tenant,
        "state": run.state.value,
        "attempt": run.attempt,
        "created_at": iso(run.created_at),
        "detail": run.detail,
    }


def story_view(story: Story) -> RenderableType:
    """The story for a terminal."""
    run = story.run
    title = f"Run {run.run_id}: {run.kind.value} for {run.tenant}, {run.state.value}"
    parts: list[RenderableType] = [Text(title, style="bold")]
    parts.append(Text(f"opened {iso(run.created_at)}" + (f"; {run.detail}" if run.detail else ""), style="dim"))
    for told in story.decisions:
        heading = f"Decision {told.record.sequence} of {len(story.decisions)}, {iso(told.record.decided_at)}"
        if told.request.ladder:
            heading += f", {rung_name(told.request.rung)}"
        parts += [Text(f"\n{heading}", style="bold"), decision_view(told.decision, told.request, told.snapshot)]
    if not story.decisions:
        parts.append(Text("\nNo decision was made."))
    for attempt in story.attempts:
        parts += [Text(f"\nAttempt {attempt.attempt}", style="bold"), *_attempt_lines(attempt)]
        parts.append(_money_table(story, attempt))
    if story.entries:
        parts.append(_ledger_table(story))
    parts.append(_publication_text(story.publication))
    return Group(*parts)


def _attempt_json(story: Story, attempt: AttemptRecord) -> dict[str, Any]:
    closing = story.closing(attempt)
    return {
        "attempt": attempt.attempt,
        "state": attempt.state.value,
        "site": attempt.site,
        "pool": attempt.pool,
        "offer": attempt.offer,
        "purchase": str(attempt.purchase),
        "device": attempt.device,
        "devices": attempt.devices,
        "cap_usd": usd_float(attempt.cap_micro),
        "child_run_id": attempt.child_run_id,
        "started_at": iso(attempt.started_at),
        "expected_finish_at": iso(attempt.expected_finish_at),
        "finished_at": None if attempt.finished_at is None else iso(attempt.finished_at),
        "metered": attempt.metered,
        "ending": attempt.ending,
        "permit": _permit_json(attempt.permit),
        "cost": {
            "estimate": _parts_json(story.estimate(attempt)),
            "actual": _parts_json(closing.parts if closing else None),
        },
    }


def _permit_json(permit: PermitClaims) -> dict[str, Any]:
    return {
        "id": permit.id,
        "site": permit.site,
        "pool": permit.pool,
        "offer": permit.offer,
        "devices": permit.devices,
        "datasets": [
            {
                "name": one.name,
                "version": one.version,
                "residency": list(one.residency),
                "trust_zone": one.trust_zone.value,
            }
            for one in permit.datasets
        ],
        "residency": list(permit.residency),
        "trust_zone": permit.trust_zone.value,
        "cap_usd": usd_float(permit.cap_micro),
        "work_sha256": permit.work_sha256,
        "issued_at": iso(permit.issued_at),
        "expires_at": iso(permit.expires_at),
        "cluster_lease": permit.cluster_lease,
    }


def _parts_json(parts: CostParts | None) -> dict[str, float] | None:
    if parts is None:
        return None
    amounts = {f"{_part(field.name)}_usd": usd_float(getattr(parts, field.name)) for field in fields(parts)}
    return {**amounts, "total_usd": usd_float(parts.total_micro)}


def _publication_json(publication: Publication) -> dict[str, Any]:
    return {
        "attempt": publication.attempt,
        "name": publication.name,
        "version": publication.version,
        "uri": publication.uri,
        "manifest_sha256": publication.manifest_sha256,
        "published_at": iso(publication.published_at),
        "metrics": publication.metrics,
    }


def _part(name: str) -> str:
    return name.removesuffix("_micro")


def _attempt_lines(attempt: AttemptRecord) -> list[Text]:
    permit = attempt.permit
    data = ", ".join(f"{one.name}@{one.version} ({', '.join(one.residency)})" for one in permit.datasets)
    took = f", ended {iso(round(attempt.finished_at))}" if attempt.finished_at is not None else ""
    lines = [
        f"{attempt.site}/{attempt.offer}: {attempt.devices} × {attempt.device}, {attempt.purchase}: {attempt.state.value}",
        f"started {iso(round(attempt.started_at))}{took}; expected by {iso(round(attempt.expected_finish_at))}",
        f"permit {permit.id}: data {data or 'none'}; at most {money(permit.cap_micro)}; "
        f"valid {span(permit.expires_at - permit.issued_at)} from {iso(round(permit.issued_at))}",
    ]
    if permit.cluster_lease:
        lines.append(f"uses a warm cluster: that of permit {permit.cluster_lease}")
    if attempt.ending == TAKEN:
        lines.append("its warm cluster was given to a run")
    if attempt.child_run_id:
        lines.append(f"site's flow run {attempt.child_run_id}")
    if attempt.metered:
        told = (f"{name} {value:,.3f}".rstrip("0").rstrip(".") for name, value in sorted(attempt.metered.items()))
        lines.append(f"metered: {', '.join(told)}")
    return [Text(f"  {line}") for line in lines]


def _money_table(story: Story, attempt: AttemptRecord) -> Table:
    estimate, closing = story.estimate(attempt), story.closing(attempt)
    actual = closing.parts if closing else None
    table = Table(box=box.SIMPLE, show_footer=True)
    table.add_column("cost", footer="total")
    for heading, parts in (("estimate", estimate), ("actual", actual)):
        table.add_column(heading, footer="–" if parts is None else usd(parts.total_micro), justify="right")
    for field in fields(CostParts):
        amounts = ["–" if parts is None else usd(getattr(parts, field.name)) for parts in (estimate, actual)]
        table.add_row(_part(field.name), *amounts)
    return table


def _ledger_table(story: Story) -> Table:
    table = Table(title="Ledger", title_justify="left", box=box.SIMPLE)
    for heading in ("#", "time", "what", "account", "attempt"):
        table.add_column(heading)
    table.add_column("amount", justify="right")
    for entry in story.entries:
        account = f"{entry.tenant}/{entry.period}"
        row = (str(entry.sequence), iso(round(entry.at)), entry.kind.value, account, str(entry.attempt))
        table.add_row(*row, usd(entry.amount_micro))
    return table


def _publication_text(publication: Publication | None) -> Text:
    if publication is None:
        return Text("\nNothing was published.")
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in sorted(publication.metrics.items()))
    return Text(
        f"\nPublished {publication.name}@{publication.version} by attempt {publication.attempt}, "
        f"{iso(round(publication.published_at))}: {metrics or 'no metrics'}\n"
        f"  {publication.uri}\n  manifest {publication.manifest_sha256}",
        style="green",
    )

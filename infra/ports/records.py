"""What the control plane remembers: runs, decisions, attempts, results, data, history, policies."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from infra.core.inventory import DatasetVersion
from infra.core.lifecycle import AttemptState, RunState
from infra.core.placement.decision import CostParts, Decision
from infra.core.placement.learning import Observation
from infra.core.placement.snapshot import QueueEntry, Snapshot
from infra.core.policy_source import PolicySource
from infra.core.spot.sightings import SpotSighting
from infra.core.trust import PermitClaims
from infra.core.workload import WorkKind, WorkloadRequest
from infra.ports.money import Ledger


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A placed run. ``run_id`` is the flow run's id, with ``:stage`` behind it for a stage of a longer flow."""

    run_id: str
    flow_run_id: str
    kind: WorkKind
    tenant: str
    state: RunState
    attempt: int
    created_at: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A decision as it was made, in canonical JSON, so that it can be recomputed byte for byte."""

    run_id: str
    sequence: int
    decided_at: float
    request_json: str
    snapshot_json: str
    decision_json: str


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One try of a run at one site, as the control plane sees it.

    Attributes:
        expected_finish_at: When the devices are expected back; other decisions plan with it.
        late_finish_at: When they are with nine of ten; ``None`` where nobody said.
        child_run_id: The site's flow run, once dispatched.
        metered: What the site measured (seconds by part, bytes), once reported.
        charged: What was settled.
        ending: Why it ended where that was no fault of the work: ``moved``, ``reclaimed`` or ``refused``, or that
            a warm one's cluster was ``taken``; else ``None``.
    """

    run_id: str
    attempt: int
    state: AttemptState
    site: str
    pool: str
    offer: str
    purchase: str
    device: str
    devices: int
    cap_micro: int
    permit: PermitClaims
    started_at: float
    expected_finish_at: float
    child_run_id: str | None = None
    finished_at: float | None = None
    metered: dict[str, float] | None = None
    charged: CostParts | None = None
    ending: str | None = None
    late_finish_at: float | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """The one result of a run."""

    run_id: str
    attempt: int
    name: str
    version: str
    uri: str
    manifest_sha256: str
    published_at: float
    metrics: dict[str, float]


class RunStore(Protocol):
    """Records of runs, decisions, attempts and publications."""

    def open_run(self, record: RunRecord) -> RunRecord:
        """Insert the run, or return the one that is already there (same run id)."""

    def run(self, run_id: str) -> RunRecord | None:
        """A run by its id, or the newest one whose id starts with ``run_id`` (at least 8 characters)."""

    def runs(self, states: Iterable[RunState] = (), limit: int = 100) -> tuple[RunRecord, ...]:
        """Newest first; all states when none is named."""

    def set_run_state(self, run_id: str, state: RunState, detail: str = "") -> RunRecord:
        """ConflictError RUN_IS_FINAL when it already ended in another state."""

    def add_decision(
        self, run_id: str, request: WorkloadRequest, snapshot: Snapshot, decision: Decision
    ) -> DecisionRecord:
        """Append a decision as canonical JSON. Repeating the same one returns the stored record."""

    def decisions(self, run_id: str) -> tuple[DecisionRecord, ...]: ...

    def work_under_way(self) -> dict[str, tuple[WorkKind, float]]:
        """Kind and units, as last decided, of the runs with a dispatched attempt."""

    def enqueue(self, run_id: str, entry: QueueEntry | None) -> None:
        """Write down, replace or, with ``None``, remove the run's place in the queue. InputError UNKNOWN_RUN."""

    def queue(self) -> tuple[QueueEntry, ...]:
        """Entries of the runs that wait, by run id. A run that left the state *waiting* is not in it any more."""

    def claim_attempt(self, record: AttemptRecord, capacity: int) -> AttemptRecord:
        """Open the next attempt and take its devices, in one transaction.

        ConflictError CAPACITY_TAKEN when the offer's open attempts would exceed ``capacity`` devices, STALE_ATTEMPT
        when ``record.attempt`` is not the run's attempt + 1. The run's attempt becomes ``record.attempt`` and its
        state ACTIVE. Repeating the same claim (same permit id) returns the stored record.

        A permit that names a ``cluster_lease`` takes that warm cluster: its attempt's ending becomes ``taken`` and its
        devices count no more. ConflictError WARM_CLUSTER_GONE when it is not the dispatched attempt of a warm run at
        this offer with as many devices, or was taken before.
        """

    def update_attempt(self, run_id: str, attempt: int, state: AttemptState, **changes: Any) -> AttemptRecord:
        """Take a step of the attempt's life (see lifecycle.require_step) and set fields."""

    def attempts(self, run_id: str) -> tuple[AttemptRecord, ...]: ...

    def open_attempts(self) -> tuple[AttemptRecord, ...]:
        """Attempts that are neither settled nor expired, oldest first. Those hold devices while RESERVED/DISPATCHED."""

    def publish(self, publication: Publication) -> Publication:
        """Publish once per run; the run becomes PUBLISHED with it. Returns the stored one when this attempt published.

        ConflictError FENCED when lifecycle.may_publish says no.
        """

    def publication(self, run_id: str) -> Publication | None: ...


class Catalog(Protocol):
    """Accepted and quarantined dataset versions, published artefacts among them, and arrivals."""

    def accept(self, version: DatasetVersion, uri: str, manifest_sha256: str, at: float) -> None:
        """Idempotent for equal content; ConflictError VERSION_EXISTS when the manifest differs.

        Accepting it again with other ``copies`` adds those sites to the ones that hold a copy.
        """

    def quarantine(
        self,
        name: str,
        version: str,
        uri: str,
        report: dict[str, Any],
        at: float,
        described: DatasetVersion | None = None,
    ) -> None:
        """Record a version that broke its contract. An accepted version of the same name stays what it is.

        ``described`` says its size and residency; without it they are those of the newest accepted version
        (InputError NO_RESIDENCY when there is none). Repeating it replaces the report.
        """

    def find(self, name: str, version: str) -> CatalogEntry | None:
        """The accepted version, else the quarantined one. ``version`` may be ``latest``: the newest accepted one."""

    def versions(self, name: str | None = None) -> tuple[CatalogEntry, ...]:
        """Newest first."""

    def claim_arrival(self, dataset: str, version: str, content_sha256: str, flow_run_id: str) -> bool:
        """True for the first flow run that claims this arrival, and for that one again; False for all others."""


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A dataset version with where it lies; ``report`` is set when it is quarantined."""

    version: DatasetVersion
    uri: str
    manifest_sha256: str
    recorded_at: float
    quarantined: bool = False
    report: dict[str, Any] | None = None


class History(Protocol):
    """Past runs, from which rates are learnt."""

    def add(self, observation: Observation) -> None:
        """Idempotent for its (run, attempt)."""

    def observations(self, limit_per_kind: int = 200) -> tuple[Observation, ...]:
        """Newest first, with the instant at which the attempt was placed where the attempt is known."""


class SpotStore(Protocol):
    """What attempts showed of their offers' capacity, spot above all. A sighting is never changed or deleted."""

    def add(self, sighting: SpotSighting) -> None:
        """Idempotent for its (run, attempt, what)."""

    def sightings(self, limit_per_offer: int = 200) -> tuple[SpotSighting, ...]:
        """The newest of each (site, offer), newest first."""


class PolicyChange(StrEnum):
    """Why a version of the policy became the current one."""

    APPLY = "apply"
    STOP = "stop"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """One version of the policy that is, or was, the current one.

    Attributes:
        sequence: Position, increasing from 1.
        version: Digest of ``source``.
        why: What the person who changed it said.
    """

    sequence: int
    at: float
    change: PolicyChange
    version: str
    why: str
    source: PolicySource


class PolicyStore(Protocol):
    """The current policy and all before it. What was once current is never changed or deleted.

    A decision is recorded in a transaction that reads the current version again: since there is one writer at a time,
    no decision that is recorded after :meth:`change` has returned was made with an older version.
    """

    def current(self) -> PolicyRecord | None:
        """The newest one; ``None`` before the first."""

    def change(self, source: PolicySource, change: PolicyChange, why: str, at: float) -> PolicyRecord:
        """Make it the current one. When it is already, nothing changes and the current record is returned."""

    def history(self, limit: int = 100) -> tuple[PolicyRecord, ...]:
        """Newest first."""


class ControlStore(Protocol):
    """The control plane's database: the six stores, and transactions that span them.

    Each call of a store is a transaction by itself. Inside ``with store.transaction():`` the calls of this thread
    join one: all of them are kept, or, when an exception leaves the block, none. So a claim of devices and its
    reservation of money stand or fall together::

        with database.transaction():
            attempt = database.runs.claim_attempt(record, capacity)
            database.ledger.reserve(tenant, period, run_id, attempt.attempt, cap_micro, now_at)

    A call that fails inside the block undoes its own writes, so the block may handle its error and go on. There is one
    writer at a time: keep such blocks short, and neither wait nor call other services in them.
    """

    ledger: Ledger
    runs: RunStore
    catalog: Catalog
    history: History
    policies: PolicyStore
    spot: SpotStore

    def transaction(self) -> AbstractContextManager[None]:
        """All writes of the block, or none. Blocks may be nested; the outermost one commits."""

    def reading(self) -> AbstractContextManager[None]:
        """Reads of the block see the database as of one instant; writes are refused with RuntimeError."""

    def close(self) -> None: ...

"""What a decision says: the choice, every candidate with its reasons, and what would have to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from infra.core.inventory import Purchase
from infra.core.workload import WorkloadRequest


class Outcome(StrEnum):
    RUN = "run"
    WAIT = "wait"
    INFEASIBLE = "infeasible"


class ReasonCode(StrEnum):
    """Why a candidate is not chosen. All but the last two are hard constraints."""

    RESIDENCY_EXCLUDED = "RESIDENCY_EXCLUDED"
    TRUST_ZONE_TOO_LOW = "TRUST_ZONE_TOO_LOW"
    POLICY_STALE = "POLICY_STALE"
    POLICY_FORBIDS = "POLICY_FORBIDS"
    SITE_DOWN = "SITE_DOWN"
    PURCHASE_NOT_ALLOWED = "PURCHASE_NOT_ALLOWED"
    DEVICE_KIND_MISMATCH = "DEVICE_KIND_MISMATCH"
    MEMORY_TOO_SMALL = "MEMORY_TOO_SMALL"
    CAPACITY_TOO_SMALL = "CAPACITY_TOO_SMALL"
    CAPACITY_BUSY = "CAPACITY_BUSY"
    PRICE_MISSING = "PRICE_MISSING"
    PRICE_STALE = "PRICE_STALE"
    ESTIMATE_UNKNOWN = "ESTIMATE_UNKNOWN"
    DATASET_UNREACHABLE = "DATASET_UNREACHABLE"
    DEADLINE_MISSED = "DEADLINE_MISSED"
    BUDGET_RUN_EXCEEDED = "BUDGET_RUN_EXCEEDED"
    BUDGET_TENANT_EXCEEDED = "BUDGET_TENANT_EXCEEDED"
    NOT_CHEAPEST = "NOT_CHEAPEST"
    SPOT_POLICY = "SPOT_POLICY"


@dataclass(frozen=True, slots=True)
class Reason:
    """A code with its parameters, sorted by name. Values are strings, numbers or tuples of strings."""

    code: ReasonCode
    params: tuple[tuple[str, str | int | float | tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class CostParts:
    """Expected micro-dollars by part."""

    compute_micro: int = 0
    boot_micro: int = 0
    egress_micro: int = 0
    rework_micro: int = 0

    @property
    def total_micro(self) -> int:
        return self.compute_micro + self.boot_micro + self.egress_micro + self.rework_micro


@dataclass(frozen=True, slots=True)
class TimeParts:
    """Expected seconds by part, from now to the finish."""

    wait_s: float = 0.0
    boot_s: float = 0.0
    transfer_s: float = 0.0
    compute_s: float = 0.0
    rework_s: float = 0.0
    handover_s: float = 0.0

    @property
    def total_s(self) -> float:
        return self.wait_s + self.handover_s + self.boot_s + self.transfer_s + self.compute_s + self.rework_s


@dataclass(frozen=True, slots=True)
class Candidate:
    """One offer with one start.

    Attributes:
        start_at: When it would start; ``None`` when it never could.
        finish_at: Expected finish: the medians of the parts and the expected rework.
        finish_high_at: Finish at the probability that the request requires: the deadline is held against it.
        cost: Expected cost by part.
        wait_micro: What its wait is worth to the request; nobody is charged for it.
        cap_micro: What is reserved, and the most that may be spent unless it is extended: the cost with the spread on
            top, with a little headroom where the budgets have it.
        feasible: Whether every hard constraint holds.
        reasons: Why it is not the choice; empty for the chosen one only.
        finish_p90_at: Finish that is kept nine times of ten.
        deadline_probability: The probability of finishing before the deadline; ``None`` without deadline or start.
        time_high: Each part at its own required quantile. All of them at once are rarer, so they add up to more than
            the time until ``finish_high_at``.
        cost_p90_micro: Cost that is kept nine times of ten.
        cost_high_micro: Cost at the required probability, before the margin that the need has.
    """

    site: str
    pool: str
    offer: str
    purchase: Purchase
    device: str
    devices: int
    feasible: bool
    reasons: tuple[Reason, ...]
    start_at: float | None = None
    finish_at: float | None = None
    finish_high_at: float | None = None
    time: TimeParts = TimeParts()
    cost: CostParts = CostParts()
    cap_micro: int = 0
    wait_micro: int = 0
    finish_p90_at: float | None = None
    deadline_probability: float | None = None
    time_high: TimeParts = TimeParts()
    cost_p90_micro: int = 0
    cost_high_micro: int = 0

    @property
    def weight_micro(self) -> int:
        """What is minimised: the cost, and what the wait is worth."""
        return self.cost.total_micro + self.wait_micro


class ChangeKind(StrEnum):
    """What a counterfactual changes in the request, or in the tenant's budget."""

    BUDGET = "budget"
    TENANT_BUDGET = "tenant_budget"
    DEADLINE = "deadline"
    RESIDENCY = "residency"
    TRUST_ZONE = "trust_zone"
    DEVICES = "devices"
    DEVICE_KIND = "device_kind"
    MEMORY = "memory"
    PURCHASE = "purchase"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Change:
    """One change: the kind and the smallest value that is enough (micro-dollars, epoch seconds, a tag…)."""

    kind: ChangeKind
    value: str | int | float


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """Changes that, together, make the request feasible; verified by deciding again with them.

    Attributes:
        site, offer: Where it would then run.
        cost_micro, finish_at: What it would then cost and when it would end.
    """

    changes: tuple[Change, ...]
    site: str
    offer: str
    cost_micro: int
    finish_at: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of :func:`infra.core.placement.decide.decide`. Its sequences may be worked out when first looked at.

    Attributes:
        chosen: The candidate to run or to wait for; ``None`` when infeasible.
        wait_until_at: Start of the chosen candidate when the outcome is *wait*.
        candidates: All of them, the chosen one first, then feasible by cost, then the rest; a total order.
        binding: Codes of the constraints that stand in the way when infeasible.
        engine: Version of the deciding code; a replay with another version says so.
    """

    outcome: Outcome
    chosen: Candidate | None
    wait_until_at: float | None
    candidates: Sequence[Candidate]
    binding: Sequence[ReasonCode]
    counterfactuals: Sequence[Counterfactual]
    engine: str


@dataclass(frozen=True, slots=True)
class Step:
    """One rung of a request's ladder that was tried: the request as it is there, and its decision."""

    request: WorkloadRequest
    decision: Decision

"""What ``headrace place --json`` answers: the decision in dollars and ISO times, for programs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from infra.core.inventory import Purchase
from infra.core.placement.decision import ChangeKind, Outcome, ReasonCode
from infra.documents.fields import Document

Parameter = str | int | float | tuple[str, ...]


class OfferAnswer(Document):
    """Where a run goes."""

    site: str = Field(description="Name of the site.")
    pool: str = Field(description="Prefect work pool.")
    offer: str = Field(description="Name of the offer at that site.")
    purchase: Purchase = Field(description="How it is paid for.")
    device: str = Field(description="Kind of device.")
    devices: int = Field(description="How many devices.")


class ReasonAnswer(Document):
    """Why a candidate is not chosen."""

    code: ReasonCode = Field(description="Stable code.")
    params: dict[str, Parameter] = Field(
        description="Parameters of the code, in core units: *_micro micro-dollars, *_at epoch seconds, *_s seconds."
    )
    text: str = Field(description="The same for a person; its wording may change.")


class CostAnswer(Document):
    """Expected cost by part, in USD."""

    compute_usd: float = Field(description="Devices while they compute and read.")
    boot_usd: float = Field(description="Devices while they start.")
    egress_usd: float = Field(description="Data that leaves another site.")
    rework_usd: float = Field(description="Work expected to be done again after interruptions.")
    total_usd: float = Field(description="Sum of the parts.")


class TimeAnswer(Document):
    """Expected seconds by part, from now to the finish."""

    wait_s: float = Field(description="Until devices are free or the price is right.")
    handover_s: float = Field(description="From the decision until the site asks for machines.")
    boot_s: float = Field(description="Start of machines.")
    transfer_s: float = Field(description="Moving data.")
    compute_s: float = Field(description="The work itself.")
    rework_s: float = Field(description="Work done again after interruptions.")
    total_s: float = Field(description="Sum of the parts.")


class CandidateAnswer(Document):
    """One offer with one start; money and times are null where they could not be computed."""

    site: str = Field(description="Name of the site.")
    pool: str = Field(description="Prefect work pool.")
    offer: str = Field(description="Name of the offer.")
    purchase: Purchase = Field(description="How it is paid for.")
    device: str = Field(description="Kind of device.")
    devices: int = Field(description="How many devices.")
    chosen: bool = Field(description="Whether this is the choice.")
    feasible: bool = Field(description="Whether every hard constraint holds.")
    reasons: tuple[ReasonAnswer, ...] = Field(description="Why it is not the choice; empty for the chosen one only.")
    start: str | None = Field(description="ISO 8601 start.")
    finish: str | None = Field(description="ISO 8601 expected finish: as likely before as after.")
    finish_p90: str | None = Field(description="ISO 8601 finish that nine of ten runs keep.")
    finish_high: str | None = Field(description="ISO 8601 finish at the required probability.")
    deadline_probability: float | None = Field(description="Probability of being in time; null without a deadline.")
    cost_usd: float | None = Field(description="Expected cost in USD.")
    cost: CostAnswer | None = Field(description="Expected cost by part.")
    wait_usd: float | None = Field(description="What its wait is worth to the request in USD; nobody pays it.")
    cost_p90_usd: float | None = Field(description="Cost that nine of ten runs keep, in USD.")
    cost_high_usd: float | None = Field(description="Cost at the required probability, in USD.")
    time: TimeAnswer | None = Field(description="Expected time by part.")
    time_high: TimeAnswer | None = Field(
        description="Each part at its own required probability; all at once are rarer, so the sum is beyond finish_high."
    )
    cap_usd: float | None = Field(description="The most that it may cost in USD.")


class ChangeAnswer(Document):
    """One change to the request, or to the tenant's budget."""

    kind: ChangeKind = Field(description="What is changed.")
    value: str | int | float = Field(
        description="The smallest value that is enough: USD for budgets, ISO 8601 for a deadline, a tag, a count, ..."
    )
    text: str = Field(description="The same for a person, as `budget >= $1.84`.")


class CounterfactualAnswer(Document):
    """Changes that together make the request feasible; each was verified by deciding again."""

    changes: tuple[ChangeAnswer, ...] = Field(description="All of them are needed.")
    site: str = Field(description="Where it would run.")
    offer: str = Field(description="On which offer.")
    cost_usd: float = Field(description="What it would cost in USD.")
    finish: str = Field(description="ISO 8601 instant at which it would end.")


class StepAnswer(Document):
    """One rung of the request's ladder that was tried."""

    rung: str = Field(description="Name of the rung; empty for the request as asked.")
    outcome: Outcome = Field(description="What was decided about it; the last one tried counts.")
    binding: tuple[ReasonCode, ...] = Field(description="Constraints in the way when infeasible.")


class DigestsAnswer(Document):
    """SHA-256 of the canonical JSON of what was decided on and of the decision; equal inputs give equal decisions."""

    request: str = Field(description="Of the request record.")
    snapshot: str = Field(description="Of the snapshot record.")
    decision: str = Field(description="Of the decision record.")


class DecisionAnswer(Document):
    """A decision."""

    outcome: Outcome = Field(description="run: start now; wait: start at wait_until; infeasible: see binding.")
    offer: OfferAnswer | None = Field(description="The choice; null when infeasible.")
    cost_usd: float | None = Field(description="Expected cost of the choice in USD.")
    cost: CostAnswer | None = Field(description="The same by part.")
    cap_usd: float | None = Field(description="The most that it may cost in USD; this is reserved.")
    start: str | None = Field(description="ISO 8601 start of the choice.")
    finish: str | None = Field(description="ISO 8601 expected finish of the choice.")
    finish_high: str | None = Field(
        description="ISO 8601 finish at the required probability; held against the deadline."
    )
    deadline_probability: float | None = Field(description="Probability of being in time; null without a deadline.")
    required_probability: float = Field(description="How sure the deadline must be, as the request says.")
    wait_until: str | None = Field(description="ISO 8601 start when the outcome is wait.")
    candidates: tuple[CandidateAnswer, ...] = Field(description="All offers: the choice, then feasible ones by cost.")
    binding: tuple[ReasonCode, ...] = Field(description="Constraints in the way when infeasible.")
    counterfactuals: tuple[CounterfactualAnswer, ...] = Field(description="What would make it feasible.")
    rung: str = Field("", description="Rung of the request's ladder that this is about; empty: as asked.")
    ladder: tuple[StepAnswer, ...] = Field(
        (), description="Rungs that were tried, from the top down; empty when the request has no ladder."
    )
    simulated: bool = Field(description="Whether the devices are local processes that stand for real ones.")
    decided_at: str = Field(description="ISO 8601 instant of the snapshot.")
    engine: str = Field(description="Version of the deciding code.")
    digests: DigestsAnswer = Field(description="For comparing and replaying.")


class ProblemAnswer(Document):
    """What is wrong."""

    code: str = Field(description="Stable code.")
    problem: str = Field(description="What was wrong, for a person.")
    where: str = Field(description="File and field, or what else is concerned.")
    remedy: str = Field(description="What to do about it.")


class ErrorAnswer(Document):
    """The answer when there is no decision; the exit status is then not 0."""

    outcome: Literal["error"] = Field(description="Tells an error from a decision.")
    error: ProblemAnswer = Field(description="What is wrong.")

"""What ``headrace place --json`` answers for a pipeline: the plan in dollars and ISO times, for programs."""

from __future__ import annotations

from pydantic import Field

from infra.core.placement.decision import Outcome, ReasonCode
from infra.documents.answer import ChangeAnswer, CostAnswer, OfferAnswer, ReasonAnswer, TimeAnswer
from infra.documents.fields import Document


class MoveAnswer(Document):
    """Data that a stage reads from another site."""

    what: str = Field(description="Name of the dataset, or of the stage whose result it is.")
    version: str = Field(description="Version of the dataset; empty for a stage's result.")
    source: str = Field(description="Site that it leaves.")
    bytes: int = Field(description="Size in bytes.")
    egress_usd: float = Field(description="What leaving that site costs, in USD.")
    transfer_s: float = Field(description="Seconds on the slower of the two links.")


class AlternativeAnswer(Document):
    """The next best place for a stage while all others stay where they are."""

    site: str = Field(description="Name of the site.")
    offer: str = Field(description="Name of the offer at that site.")
    extra_usd: float = Field(description="How much more the whole pipeline would cost, in USD.")
    later_s: float = Field(description="How much later it would end at the high estimates; negative when earlier.")


class StageAnswer(Document):
    """Where and when one stage goes."""

    stage: str = Field(description="Name of the stage.")
    offer: OfferAnswer = Field(description="Where it goes.")
    start: str = Field(description="Expected start.")
    finish: str = Field(description="Expected finish.")
    start_high: str = Field(description="Start when everything before it takes its high estimate.")
    finish_high: str = Field(description="Finish when it and everything before it take their high estimates.")
    cost_usd: float = Field(description="Expected cost in USD.")
    cost: CostAnswer = Field(description="Expected cost by part.")
    need_usd: float = Field(description="What it needs of the budgets, in USD.")
    time: TimeAnswer = Field(description="Expected seconds by part.")
    moves: tuple[MoveAnswer, ...] = Field(description="Data that it reads from other sites.")
    residency: tuple[str, ...] = Field(description="Where its result may go.")
    alternative: AlternativeAnswer | None = Field(description="Next best place; null when no other is possible.")


class StagePlaceAnswer(Document):
    """A stage and where it would go."""

    stage: str = Field(description="Name of the stage.")
    site: str = Field(description="Name of the site.")
    offer: str = Field(description="Name of the offer at that site.")


class StageByStageAnswer(Document):
    """What placing one stage after the other would give."""

    places: tuple[StagePlaceAnswer, ...] = Field(description="As far as it gets.")
    stuck_at: str | None = Field(description="First stage that finds no place any more; null when all do.")
    cost_usd: float = Field(description="Expected cost of the stages that were placed, in USD.")
    finish_high: str = Field(description="When the last of them ends at the high estimates.")


class BlockedOfferAnswer(Document):
    """An offer that cannot take a stage."""

    site: str = Field(description="Name of the site.")
    offer: str = Field(description="Name of the offer at that site.")
    reasons: tuple[ReasonAnswer, ...] = Field(description="Why not.")


class BlockedStageAnswer(Document):
    """A stage that no offer can take."""

    stage: str = Field(description="Name of the stage.")
    offers: tuple[BlockedOfferAnswer, ...] = Field(description="Every offer, with what stands in the way.")


class PipelineChangesAnswer(Document):
    """Changes that together make the pipeline possible."""

    changes: tuple[ChangeAnswer, ...] = Field(description="All of them are needed.")
    cost_usd: float = Field(description="What it would then cost, in USD.")
    finish_high: str = Field(description="When it would then end at the high estimates.")


class PipelineAnswer(Document):
    """The plan of a pipeline."""

    outcome: Outcome = Field(description="run: a first stage starts now; wait: all start later; infeasible.")
    cost_usd: float | None = Field(description="Expected cost of all stages, in USD; null when infeasible.")
    need_usd: float | None = Field(description="What all stages need of the budgets, in USD.")
    wait_until: str | None = Field(description="Start of the first stage when the outcome is wait.")
    finish: str | None = Field(description="Expected end of the last stage.")
    finish_high: str | None = Field(description="The same at the high estimates: the deadline is held against it.")
    stages: tuple[StageAnswer, ...] = Field(description="Each after those that it waits for; empty when infeasible.")
    stage_by_stage: StageByStageAnswer = Field(description="For comparison.")
    binding: tuple[ReasonCode, ...] = Field(description="What stands in the way when infeasible.")
    blocked: tuple[BlockedStageAnswer, ...] = Field(description="Stages that no offer can take.")
    counterfactuals: tuple[PipelineChangesAnswer, ...] = Field(description="Smallest changes that would help.")
    proven: bool = Field(description="Whether it is proven that no plan is cheaper.")
    simulated: bool = Field(description="Whether a stage's site stands for a real one.")
    decided_at: str = Field(description="The snapshot's instant.")
    engine: str = Field(description="Version of the deciding code.")

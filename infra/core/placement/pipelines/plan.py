"""The words of pipeline placement: what is asked for, and what the plan of a whole pipeline says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infra.core.errors import InputError
from infra.core.inventory import Purchase, TrustZone
from infra.core.placement.decision import Change, CostParts, Outcome, Reason, ReasonCode, TimeParts
from infra.core.units import require_instant, require_number
from infra.core.workload import WorkloadRequest

MOST_STAGES = 64


@dataclass(frozen=True, slots=True)
class StageInput:
    """What a stage waits for: another stage's result, which it reads.

    Attributes:
        stage: Name of the stage that makes it.
        bytes: Expected size of what is read.
        reads: Whether it reads it at all. A stage that only has to come after the other one inherits nothing from it.
    """

    stage: str
    bytes: int = 0
    reads: bool = True

    def __post_init__(self) -> None:
        require_number(self.bytes, f"input {self.stage}: bytes")
        if self.bytes and not self.reads:
            raise InputError(
                "CONTRADICTORY_PIPELINE",
                f"{self.bytes} bytes that are not read",
                f"input {self.stage}: bytes",
                "let it read them, or give none",
            )


@dataclass(frozen=True, slots=True)
class PipelineStage:
    """One run of a pipeline.

    Attributes:
        request: The run's own wishes. Its deadline and budget hold for this stage besides the pipeline's.
        inputs: Results of other stages; the stage starts when all are there.
    """

    name: str
    request: WorkloadRequest
    inputs: tuple[StageInput, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("BAD_NAME", "a stage without a name", "pipeline: stages", "give each stage a name")


@dataclass(frozen=True, slots=True)
class PipelineRequest:
    """Several runs with one deadline and one budget.

    Attributes:
        deadline_at: Instant by which every stage must have ended, or ``None``.
        budget_micro: The most that all stages together may cost, or ``None`` for whatever the tenant still has.
        kept_at: Site that keeps the stages' results where their residency allows it; empty: each lies where it was
            made. A result that may not lie at that site also stays where it was made.
    """

    name: str
    tenant: str
    stages: tuple[PipelineStage, ...]
    deadline_at: float | None = None
    budget_micro: int | None = None
    kept_at: str = ""

    def __post_init__(self) -> None:
        if self.deadline_at is not None:
            require_instant(self.deadline_at, "pipeline: deadline_at")
        if self.budget_micro is not None:
            require_number(self.budget_micro, "pipeline: budget_usd")
        ordered_stages(self)
        for stage in self.stages:
            if stage.request.tenant != self.tenant:
                raise InputError(
                    "CONTRADICTORY_PIPELINE",
                    f"{stage.request.tenant!r} pays for {stage.name!r}, and {self.tenant!r} for the pipeline",
                    "pipeline: stages",
                    "let one tenant pay for all stages",
                )


def ordered_stages(request: PipelineRequest) -> tuple[PipelineStage, ...]:
    """The stages in an order in which each comes after its inputs; of those that could be next, the first by name.

    Raises:
        InputError: ``EMPTY_PIPELINE``, ``PIPELINE_TOO_LARGE``, ``DUPLICATE_STAGE``, ``UNKNOWN_STAGE``,
            ``DUPLICATE_INPUT`` or ``PIPELINE_CYCLE``.
    """
    if not request.stages:
        raise InputError("EMPTY_PIPELINE", "there is no stage", "pipeline: stages", "add at least one stage")
    if len(request.stages) > MOST_STAGES:
        raise InputError(
            "PIPELINE_TOO_LARGE",
            f"{len(request.stages)} stages",
            "pipeline: stages",
            f"use at most {MOST_STAGES} stages, or several pipelines",
        )
    named: dict[str, PipelineStage] = {}
    for stage in request.stages:
        if stage.name in named:
            raise InputError(
                "DUPLICATE_STAGE", f"{stage.name!r} stands twice", "pipeline: stages", "give each stage its own name"
            )
        named[stage.name] = stage
    for stage in request.stages:
        _require_known_inputs(stage, named)
    ordered: dict[str, PipelineStage] = {}
    left = dict(sorted(named.items()))
    while left:
        ready = next((each for each in left.values() if all(item.stage in ordered for item in each.inputs)), None)
        if ready is None:
            raise InputError(
                "PIPELINE_CYCLE",
                f"{', '.join(left)} wait for each other",
                "pipeline: stages",
                "no stage may come after itself",
            )
        ordered[ready.name] = left.pop(ready.name)
    return tuple(ordered.values())


def _require_known_inputs(stage: PipelineStage, named: dict[str, PipelineStage]) -> None:
    seen: set[str] = set()
    for item in stage.inputs:
        if item.stage not in named:
            raise InputError(
                "UNKNOWN_STAGE",
                f"{stage.name!r} waits for {item.stage!r}, which is no stage",
                "pipeline: stages",
                f"use one of {', '.join(sorted(set(named) - {stage.name})) or 'none: it is the only stage'}",
            )
        if item.stage in seen:
            raise InputError(
                "DUPLICATE_INPUT",
                f"{stage.name!r} names {item.stage!r} twice",
                "pipeline: stages",
                "name each input once, with all of its bytes",
            )
        seen.add(item.stage)


@dataclass(frozen=True, slots=True)
class StageMove:
    """Data that a stage reads from another site: a dataset, or another stage's result.

    Attributes:
        what: Name of the dataset, or of the stage.
        version: Of the dataset; empty for a stage's result.
    """

    what: str
    version: str
    source: str
    bytes: int
    egress_micro: int
    transfer_s: float


@dataclass(frozen=True, slots=True)
class StageAlternative:
    """The next best place for one stage while all others stay where they are, and what it would change.

    Attributes:
        extra_micro: How much more the whole pipeline would cost.
        later_s: How much later it would end at the high estimates; negative when earlier.
    """

    site: str
    offer: str
    extra_micro: int
    later_s: float


@dataclass(frozen=True, slots=True)
class StagePlacement:
    """Where and when one stage goes.

    Attributes:
        start_at, finish_at: When everything before it takes as long as expected.
        start_high_at, finish_high_at: When everything takes its high estimate: the deadline, the devices and the price
            windows are held against these.
        time: Expected seconds by part; ``wait_s`` is from the decision to ``start_at``.
        needed_micro: What it needs of the budgets.
        residency: Where its result may go: inherited from everything that it was made from; empty when nowhere.
        next_best: Its next best place, worked out when first looked at; empty when no other place is possible.
    """

    stage: str
    site: str
    pool: str
    offer: str
    purchase: Purchase
    device: str
    devices: int
    start_at: float
    finish_at: float
    start_high_at: float
    finish_high_at: float
    time: TimeParts
    cost: CostParts
    needed_micro: int
    moves: tuple[StageMove, ...]
    residency: tuple[str, ...]
    trust_zone: TrustZone
    next_best: Sequence[StageAlternative] = ()

    @property
    def alternative(self) -> StageAlternative | None:
        """The next best place; ``None`` when no other place is possible."""
        return self.next_best[0] if self.next_best else None


@dataclass(frozen=True, slots=True)
class StageByStage:
    """What placing one stage after the other would give, each as cheap as it can be then.

    Attributes:
        offers: (stage, site, offer) as far as it gets.
        stuck_at: The first stage that finds no place any more; empty when all do.
        cost_micro, finish_high_at: Of the stages that were placed.
    """

    offers: tuple[tuple[str, str, str], ...]
    stuck_at: str
    cost_micro: int
    finish_high_at: float


@dataclass(frozen=True, slots=True)
class BlockedStage:
    """A stage that no offer can take, with what stands in the way at each: (site, offer, reasons)."""

    stage: str
    offers: tuple[tuple[str, str, tuple[Reason, ...]], ...]


@dataclass(frozen=True, slots=True)
class PipelineCounterfactual:
    """Changes that, together, make the pipeline possible; verified by deciding again with them."""

    changes: tuple[Change, ...]
    cost_micro: int
    finish_high_at: float


@dataclass(frozen=True, slots=True)
class PipelineDecision:
    """The result of :func:`infra.core.placement.pipelines.decide.decide_pipeline`.

    Attributes:
        outcome: *run* when a first stage starts now, *wait* when all start later.
        stages: In the order in which they are placed, each after its inputs; empty when infeasible.
        cost_micro, needed_micro: Of all stages.
        wait_until_at: Start of the first stage when the outcome is *wait*.
        finish_at, finish_high_at: When the last stage ends; ``None`` when infeasible.
        compared: What placing stage by stage would give, one item, worked out when first looked at.
        binding: Codes of what stands in the way when infeasible.
        blocked: Stages that no offer can take, whatever the others do.
        proven: Whether the search ended with a proof that nothing is cheaper (it does at usual sizes).
        engine: Version of the deciding code.
    """

    outcome: Outcome
    stages: tuple[StagePlacement, ...]
    cost_micro: int
    needed_micro: int
    wait_until_at: float | None
    finish_at: float | None
    finish_high_at: float | None
    compared: Sequence[StageByStage]
    binding: tuple[ReasonCode, ...]
    blocked: tuple[BlockedStage, ...]
    counterfactuals: tuple[PipelineCounterfactual, ...]
    proven: bool
    engine: str

    @property
    def stage_by_stage(self) -> StageByStage:
        """What placing one stage after the other would give."""
        return self.compared[0]

"""What a person fills in to start a run: shown as a form in the Prefect UI, checked before the flow begins."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.core.errors import InputError
from infra.core.inventory import Purchase, TrustZone
from infra.core.units import micro_from_usd
from infra.core.workload import DatasetRef, Fallback, Resources, WorkKind, WorkloadRequest
from tasks.rungs import Choices, RungOptions


class DatasetChoice(BaseModel):
    """A version of a dataset."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Name of the dataset, as in its contract.")
    version: str = Field("latest", description="A landed or accepted version; 'latest' is the newest accepted one.")
    arrival_sha256: str = Field(
        "",
        title="Arrival (SHA-256)",
        description="Leave empty. The event of an arrival fills it in, so that each arrival is handled once.",
    )


class PlacementOptions(BaseModel):
    """Limits within which Headrace chooses where the run goes."""

    model_config = ConfigDict(extra="forbid")

    tenant: str = Field(description="Who pays, as named in tenants.yaml.")
    deadline_minutes: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        title="Deadline (minutes)",
        description="The result must be there this many minutes after the run was started.",
    )
    deadline: datetime | None = Field(
        None,
        title="Deadline (instant)",
        description="The result must be there by then, with a time zone. Instead of the minutes, not beside them.",
    )
    deadline_probability: float = Field(
        0.9,
        gt=0.5,
        lt=1,
        allow_inf_nan=False,
        title="Deadline probability",
        description="How sure the deadline must be, such as 0.9: of ten runs like this one, nine are in time.",
    )
    budget_usd: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        title="Budget (USD)",
        description="The most that this run may cost; none: what the tenant still has this month. 0: owned devices only.",
    )
    waiting_usd_per_hour: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        title="Waiting (USD per hour)",
        description="What an hour of waiting is worth: it starts at once elsewhere where that costs less. "
        "None: what the tenant says, doubled for every 10 points of priority above 50.",
    )
    priority: int = Field(50, ge=0, le=100, description="From 0 to 100, higher first among those that wait.")
    residency: list[str] = Field(
        default=[], description="Narrow the data's own residency: ISO 3166 codes or groups such as EU."
    )
    trust_zone: Literal["public", "partner", "private"] = Field(
        "public", description="Least trusted zone that may run it: public, partner or private."
    )
    purchases: list[Literal["owned", "on_demand", "spot"]] = Field(
        default=["owned", "on_demand", "spot"], description="Ways of paying that are allowed."
    )
    devices: int = Field(1, ge=1, description="Devices to use at once, all of one offer.")
    device_kinds: list[str] = Field(default=[], description="Kinds of device that will do; empty: any.")
    memory_gb: float = Field(
        0, ge=0, allow_inf_nan=False, title="Memory (GB)", description="Least memory of one device."
    )
    may_wait: bool = Field(True, description="Wait for a cheaper or free device when the deadline allows it.")
    ladder: list[RungOptions] = Field(
        default=[], description="What it takes instead, in this order, when it can neither start nor wait as asked."
    )

    def request(
        self,
        kind: WorkKind,
        datasets: tuple[DatasetRef, ...],
        units: float,
        started_at: float,
        choices: Choices | None = None,
        rows: float = 0.0,
    ) -> WorkloadRequest:
        """The workload request, with a deadline in minutes counted from ``started_at``.

        Args:
            choices: Of the work that a rung of the ladder may make lighter, on so many ``rows``.

        Raises:
            InputError: For contradictory or unknown values.
        """
        if self.deadline is not None and self.deadline_minutes is not None:
            raise InputError(
                "CONTRADICTORY_DEADLINE", "two deadlines", "options: deadline", "give an instant or minutes, not both"
            )
        deadline_at = None
        if self.deadline_minutes is not None:
            deadline_at = started_at + self.deadline_minutes * 60
        elif self.deadline is not None:
            if self.deadline.tzinfo is None:
                raise InputError("BAD_TIME", "no time zone", "options: deadline", "write 2026-11-24T14:20:00Z")
            deadline_at = self.deadline.timestamp()
        request = WorkloadRequest(
            kind=kind,
            tenant=self.tenant,
            datasets=datasets,
            units=units,
            resources=Resources(self.devices, tuple(self.device_kinds), self.memory_gb),
            deadline_at=deadline_at,
            budget_micro=None if self.budget_usd is None else micro_from_usd(self.budget_usd, "options: budget_usd"),
            priority=self.priority,
            wait_micro_per_hour=None
            if self.waiting_usd_per_hour is None
            else micro_from_usd(self.waiting_usd_per_hour),
            residency=tuple(self.residency),
            trust_zone=TrustZone(self.trust_zone),
            purchases=tuple(Purchase(purchase) for purchase in self.purchases),
            fallbacks=(Fallback.WAIT,) if self.may_wait else (),
            deadline_probability=self.deadline_probability,
            ladder=tuple(
                rung.rung(units, choices, rows, f"options: ladder[{index}]") for index, rung in enumerate(self.ladder)
            ),
        )
        request.rungs()  # refuses a rung that asks for more
        return request


class _Choices(BaseModel):
    """Choices of one kind of work: those that are not the control plane's own become the work's parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
    published_as: ClassVar[str] = ""

    def parameters(self) -> dict[str, float | int | str | dict[str, float]]:
        return self.model_dump(exclude={self.published_as})

    def units(self, rows: float) -> float:
        """Amount of work on so many rows, in the kind's unit."""
        return rows

    def lighter(self, parameters: dict[str, Any], where: str) -> Self:
        """The choices with these parameters instead of those of the same name.

        Raises:
            InputError: ``UNKNOWN_PARAMETER``, ``BAD_PARAMETER``.
        """
        known = self.parameters()
        for name in parameters:
            if name not in known:
                raise InputError(
                    "UNKNOWN_PARAMETER",
                    f"{name!r} is no parameter of this work",
                    where,
                    f"use only {', '.join(sorted(known))}",
                )
        try:
            return type(self).model_validate({**self.model_dump(), **parameters})
        except ValidationError as problem:
            first = problem.errors(include_url=False)[0]
            raise InputError(
                "BAD_PARAMETER", first["msg"], f"{where}.{first['loc'][0]}", "see the form of the deployment"
            ) from None


class TrainingChoices(_Choices):
    """How to train, and the model's name."""

    published_as = "model"
    model: str = Field("digits-model", description="Name under which the model is published.")
    epochs: int = Field(8, ge=1, le=10_000, description="Passes over the training part.")
    batch_size: int = Field(64, ge=1, description="Samples per step, over all devices together.")
    learning_rate: float = Field(0.002, gt=0, allow_inf_nan=False, description="Step size of the Adam optimiser.")
    hidden: int = Field(128, ge=1, description="Width of the hidden layer.")
    seed: int = Field(0, ge=0, description="Equal seeds give equal models.")
    checkpoint_every_s: float = Field(
        10.0,
        ge=0,
        allow_inf_nan=False,
        title="Checkpoint every (s)",
        description="Seconds between checkpoints; an interrupted run goes on from the last one.",
    )

    def units(self, rows: float) -> float:
        return rows * self.epochs


class EvaluationChoices(_Choices):
    """What a model must reach."""

    published_as = "report"
    report: str = Field("digits-evaluation", description="Name under which the report is published.")
    thresholds: dict[str, float] = Field(default={"accuracy": 0.85}, description="Least value of each named metric.")
    champion_tolerance: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="How far below the champion's accuracy the model may stay."
    )


class EmbeddingChoices(_Choices):
    """The table of vectors and how it is filled."""

    published_as = "table"
    table: str = Field("api-docs-index", description="Name of the vector table.")
    batch_rows: int = Field(32, ge=1, le=10_000, description="Documents in one Dask task.")
    max_tokens: int = Field(128, ge=8, le=512, description="Tokens of a document that count; more is slower.")


class InferenceChoices(_Choices):
    """How to score, and the predictions' name."""

    published_as = "predictions"
    predictions: str = Field("digits-predictions", description="Name under which the predictions are published.")
    partition_rows: int = Field(1000, ge=1, description="Rows in one partition; a finished one is never done again.")


class ProbeChoices(_Choices):
    """How long the empty job lasts."""

    sleep_s: float = Field(
        0.0,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        title="Sleep (s)",
        description="Seconds to sleep at the site; several devices share them.",
    )

    def units(self, rows: float) -> float:
        return self.sleep_s

"""What somebody wants done: the workload request."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from infra.core.canonical import ADDED
from infra.core.errors import InputError
from infra.core.inventory import Purchase, TrustZone
from infra.core.jurisdictions import countries_of
from infra.core.rung import Rung
from infra.core.units import require_instant, require_number


class WorkKind(StrEnum):
    TRAINING = "training"
    EVALUATION = "evaluation"
    EMBEDDING_REFRESH = "embedding_refresh"
    BATCH_INFERENCE = "batch_inference"
    PROBE = "probe"
    """An empty job: what a run through Headrace costs in itself."""
    WARM = "warm"
    """A cluster that is booted before anybody asks for it and idles until a run takes it."""


class Fallback(StrEnum):
    """What may be done when nothing can start at once, besides refusing."""

    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class DatasetRef:
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run needs at once.

    Attributes:
        devices: How many devices, all of one offer.
        device_kinds: Kinds that will do; empty means any.
        memory_gb: Least memory of one device.
    """

    devices: int = 1
    device_kinds: tuple[str, ...] = ()
    memory_gb: float = 0.0

    def __post_init__(self) -> None:
        require_number(self.devices, "resources: devices", minimum=1)
        require_number(self.memory_gb, "resources: memory_gb")


@dataclass(frozen=True, slots=True)
class WorkloadRequest:
    """One run's wishes and limits.

    Attributes:
        units: Amount of work in the kind's own unit: samples × epochs to train, documents to embed, samples to score.
        deadline_at: Instant by which the result must be there, or ``None``.
        budget_micro: The most that this run may cost, or ``None`` for whatever the tenant still has.
        priority: 0 to 100, higher first among those that wait.
        wait_micro_per_hour: What an hour of waiting is worth, in micro-dollars; ``None`` for what its tenant says.
        residency: Tags that restrict the run beyond its datasets' own; empty adds nothing.
        trust_zone: Least trusted zone that may run it.
        purchases: Ways of paying that are allowed.
        checkpointed: Whether an interrupted run goes on from a checkpoint.
        deadline_probability: How sure the deadline must be, above one half and below one. Money is held against the
            same quantile.
        ladder: What it takes instead, in this order, when it can neither run nor wait as asked. A decision is about one
            rung and looks at no other (see :mod:`infra.core.placement.ladder`).
        rung: The rung whose wishes these are; empty: as asked.
    """

    kind: WorkKind
    tenant: str
    datasets: tuple[DatasetRef, ...]
    units: float
    resources: Resources = field(default_factory=Resources)
    deadline_at: float | None = None
    budget_micro: int | None = None
    priority: int = 50
    residency: tuple[str, ...] = ()
    trust_zone: TrustZone = TrustZone.PUBLIC
    purchases: tuple[Purchase, ...] = (Purchase.OWNED, Purchase.ON_DEMAND, Purchase.SPOT)
    checkpointed: bool = True
    fallbacks: tuple[Fallback, ...] = (Fallback.WAIT,)
    wait_micro_per_hour: int | None = None
    deadline_probability: float = 0.9
    ladder: tuple[Rung, ...] = field(default=(), metadata=ADDED)
    rung: str = field(default="", metadata=ADDED)

    def __post_init__(self) -> None:
        require_number(self.units, "request: units")
        if self.deadline_at is not None:
            require_instant(self.deadline_at, "request: deadline_at")
        if self.budget_micro is not None:
            require_number(self.budget_micro, "request: budget_usd")
        if self.wait_micro_per_hour is not None:
            require_number(self.wait_micro_per_hour, "request: waiting_usd_per_hour")
        if not 0 <= self.priority <= 100:
            raise InputError("BAD_PRIORITY", f"{self.priority}", "request: priority", "use 0 to 100")
        # A NaN compares false with everything, so it is refused here too.
        if not 0.5 < self.deadline_probability < 1.0:
            raise InputError(
                "BAD_PROBABILITY",
                f"{self.deadline_probability}",
                "request: deadline_probability",
                "give a probability above 0.5 and below 1, such as 0.9",
            )
        if not self.purchases:
            raise InputError(
                "NO_PURCHASE",
                "no way of paying is allowed",
                "request: purchases",
                "name at least one of " + ", ".join(Purchase),
            )
        for tag in self.residency:
            countries_of(tag, "request: residency")
        if len(set(self.datasets)) != len(self.datasets):
            # Two versions of one dataset are no mistake: a model is compared with its champion.
            raise InputError("DUPLICATE_DATASET", "a version is named twice", "request: datasets", "name each once")
        names = [rung.name for rung in self.ladder]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise InputError(
                    "DUPLICATE_RUNG", f"{name!r} stands twice", f"request: ladder[{index}].name", "name each once"
                )
        if self.rung and self.rung not in names:
            raise InputError(
                "UNKNOWN_RUNG",
                f"{self.rung!r} is not on its ladder",
                "request: rung",
                f"one of: {', '.join(names) or 'there is none'}",
            )

    @property
    def on(self) -> Rung | None:
        """The rung whose wishes these are; ``None`` when they are as asked."""
        return next((rung for rung in self.ladder if rung.name == self.rung), None)

    def rungs(self) -> tuple[WorkloadRequest, ...]:
        """The request as asked and on each rung of its ladder, from the top down.

        One that stands on a rung already is no more what was asked: it is all that is left of its ladder.

        Raises:
            InputError: ``RUNG_ASKS_MORE`` when a rung asks for more than the request.
        """
        if self.rung:
            return (self,)
        return (self, *(self._taking(index, rung) for index, rung in enumerate(self.ladder)))

    def _taking(self, index: int, rung: Rung) -> WorkloadRequest:
        asked = self.resources
        for name, wanted, most in (
            ("devices", rung.devices, asked.devices),
            ("memory_gb", rung.memory_gb, asked.memory_gb),
            ("units", rung.units, self.units),
        ):
            if wanted is not None and wanted > most:
                raise InputError(
                    "RUNG_ASKS_MORE",
                    f"{wanted:g} is more than the {most:g} asked for",
                    f"request: ladder[{index}].{name}",
                    "a rung takes less, or as much; ask for the larger one first",
                )
        fallbacks = self.fallbacks
        if rung.wait is not None:
            others = tuple(each for each in fallbacks if each is not Fallback.WAIT)
            fallbacks = (*others, Fallback.WAIT) if rung.wait else others
        return replace(
            self,
            rung=rung.name,
            units=self.units if rung.units is None else rung.units,
            resources=Resources(
                asked.devices if rung.devices is None else rung.devices,
                asked.device_kinds if rung.device_kinds is None else rung.device_kinds,
                asked.memory_gb if rung.memory_gb is None else rung.memory_gb,
            ),
            deadline_at=None if rung.no_deadline else self.deadline_at,
            fallbacks=fallbacks,
        )

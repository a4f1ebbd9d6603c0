"""Workload requests as people write them: YAML or JSON in dollars, gigabytes and ISO times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pydantic import Field, field_validator

from infra.core.errors import InputError
from infra.core.inventory import DatasetVersion, Purchase, TrustZone
from infra.core.units import instant, iso, micro_from_usd
from infra.core.workload import DatasetRef, Fallback, Resources, WorkKind, WorkloadRequest
from infra.documents.fields import Count, Document, Duration, Instant, Name, Number, Probability, Usd, duration_s
from infra.documents.files import display, parse_yaml, read_tree
from infra.documents.problems import join, located, validated
from infra.documents.rung import RungDocument

LATEST = "latest"
VERSION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


class DatasetRefDocument(Document):
    """A dataset version; may also be written as one text, ``name@version``."""

    name: Name = Field(description="Name of the dataset.")
    version: str = Field(LATEST, pattern=VERSION_PATTERN, description="Its version; latest is the newest accepted one.")


class WorkDocument(Document):
    """How much is to be done."""

    units: Number = Field(
        description="Amount in the kind's unit. training: samples x epochs; evaluation and batch_inference: samples; "
        "embedding_refresh: documents; probe: 1."
    )


class ResourcesDocument(Document):
    """What the run needs at once."""

    devices: Count = Field(1, description="How many devices, all of one offer; at least 1.")
    device_kinds: tuple[Name, ...] = Field((), description="Kinds of device that will do; empty means any.")
    memory_gb: Number = Field(0.0, description="Least memory of one device in gigabytes.")


class RequestDocument(Document):
    """One run's wishes and limits."""

    kind: WorkKind = Field(description="What is to be done.")
    tenant: Name = Field(description="Who pays.")
    datasets: tuple[DatasetRefDocument, ...] = Field(
        (), description="Dataset versions that it reads, each {name, version} or the text name@version."
    )
    work: WorkDocument = Field(description="How much is to be done.")
    resources: ResourcesDocument = Field(default_factory=ResourcesDocument, description="What the run needs at once.")
    deadline: Instant | None = Field(
        None, description="ISO 8601 instant with a zone by which the result must be there."
    )
    deadline_in: Duration | None = Field(
        None, description="The same, counted from now (from the snapshot's instant): 30m, 1h30m, 45s, PT30M."
    )
    deadline_probability: Probability = Field(
        0.9, description="How sure the deadline must be; budgets are held against the cost at the same probability."
    )
    budget_usd: Usd | None = Field(None, description="The most it may cost in USD; null: what the tenant still has.")
    waiting_usd_per_hour: Usd | None = Field(
        None, description="What an hour of waiting is worth in USD; null: what its tenant says, at its priority."
    )
    priority: Count = Field(50, description="0 to 100; higher first among those that wait.")
    residency: tuple[str, ...] = Field(
        (), description="Tags that restrict the run beyond its datasets' own: ISO 3166-1 codes, EU, EEA, PUBLIC, ..."
    )
    trust_zone: TrustZone = Field(TrustZone.PUBLIC, description="Least trusted zone that may run it.")
    purchases: tuple[Purchase, ...] = Field(tuple(Purchase), description="Ways of paying that are allowed.")
    checkpointed: bool = Field(True, strict=True, description="Whether an interrupted run goes on from a checkpoint.")
    fallbacks: tuple[Fallback, ...] = Field(
        tuple(Fallback), description="What may be done when nothing can start at once; empty: only run now or refuse."
    )
    ladder: tuple[RungDocument, ...] = Field(
        (), description="What it takes instead, in this order, when it can neither run nor wait as asked."
    )

    @field_validator("datasets", mode="before")
    @classmethod
    def _split_texts(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            return value
        return [_split(item) if isinstance(item, str) else item for item in value]

    def to_core(self, now_at: float, where: str) -> WorkloadRequest:
        """The core value.

        Args:
            now_at: What ``deadline_in`` counts from, and what a deadline must lie after.

        Raises:
            InputError: ``CONTRADICTORY_REQUEST``, ``DEADLINE_PAST``, ``RUNG_ASKS_MORE`` and what core says of its fields.
        """
        renamed = {"budget_micro": "budget_usd", "deadline_at": "deadline"}
        with located(where, "resources"):
            resources = Resources(self.resources.devices, self.resources.device_kinds, self.resources.memory_gb)
        _refuse_twice(self.purchases, where, "purchases")
        _refuse_twice(self.residency, where, "residency")
        _refuse_twice(self.fallbacks, where, "fallbacks")
        due_at = deadline_at(self.deadline, self.deadline_in, now_at, where)
        ladder = tuple(rung.to_core(where, f"ladder[{index}]") for index, rung in enumerate(self.ladder))
        with located(where, renamed=renamed):
            request = WorkloadRequest(
                kind=self.kind,
                tenant=self.tenant,
                datasets=tuple(DatasetRef(ref.name, ref.version) for ref in self.datasets),
                units=self.work.units,
                resources=resources,
                deadline_at=due_at,
                budget_micro=None if self.budget_usd is None else micro_from_usd(self.budget_usd),
                priority=self.priority,
                residency=self.residency,
                trust_zone=self.trust_zone,
                purchases=self.purchases,
                checkpointed=self.checkpointed,
                fallbacks=self.fallbacks,
                wait_micro_per_hour=None
                if self.waiting_usd_per_hour is None
                else micro_from_usd(self.waiting_usd_per_hour),
                deadline_probability=self.deadline_probability,
                ladder=ladder,
            )
            request.rungs()  # refuses a rung that asks for more
            return request


def deadline_at(deadline: str | None, deadline_in: str | None, now_at: float, where: str) -> float | None:
    """The instant that ``deadline`` names or that ``deadline_in`` counts from now; ``None`` without either.

    Raises:
        InputError: ``CONTRADICTORY_REQUEST`` for both, ``DEADLINE_PAST``.
    """
    if deadline is not None and deadline_in is not None:
        raise InputError(
            "CONTRADICTORY_REQUEST", "deadline and deadline_in", join(where, "deadline_in"), "give one of the two"
        )
    if deadline_in is not None:
        return now_at + duration_s(deadline_in)
    if deadline is None:
        return None
    at = instant(deadline)
    if at <= now_at:
        raise InputError(
            "DEADLINE_PAST",
            f"{deadline} is not after now ({iso(now_at)})",
            join(where, "deadline"),
            "give a later deadline, or none",
        )
    return at


def _split(text: str) -> dict[str, str]:
    name, at, version = text.partition("@")
    return {"name": name, "version": version} if at else {"name": name}


def _refuse_twice(values: tuple[str, ...], where: str, path: str) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise InputError(
                "DUPLICATE_VALUE", f"{value} stands twice", join(where, f"{path}[{index}]"), "name each once"
            )


def load_request(source: str | Path, now_at: float) -> WorkloadRequest:
    """A workload request from a file, or from YAML or JSON text (any ``str`` with a line break or a brace is text).

    Args:
        source: A path, or the text itself.
        now_at: Epoch seconds that ``deadline_in`` counts from; a deadline before it is refused.

    Raises:
        InputError: with the file and the dotted path of what is wrong.
    """
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
        where, tree = "request", parse_yaml(source, "request")
    else:
        path = Path(source)
        where, tree = display(path), read_tree(path)
    return validated(RequestDocument, tree, where).to_core(now_at, where)


def with_versions(request: WorkloadRequest, newest: Callable[[str], str | None]) -> WorkloadRequest:
    """The request with each ``latest`` replaced by a version.

    Args:
        newest: The newest accepted version of a dataset; ``None`` when it has none.

    Raises:
        InputError: ``UNKNOWN_DATASET`` when a dataset has no version.
    """
    refs = []
    for index, ref in enumerate(request.datasets):
        version = newest(ref.name) if ref.version == LATEST else ref.version
        if version is None:
            raise InputError(
                "UNKNOWN_DATASET",
                f"no accepted version of {ref.name!r}",
                f"request: datasets[{index}]",
                "name a dataset that has arrived, or a version",
            )
        refs.append(DatasetRef(ref.name, version))
    return replace(request, datasets=tuple(refs))


def only_version(datasets: tuple[DatasetVersion, ...]) -> Callable[[str], str | None]:
    """For :func:`with_versions`: the one version of a dataset that a snapshot lists.

    A snapshot does not say which of several versions is the newest, so the returned function raises ``InputError``
    ``AMBIGUOUS_VERSION`` for them.
    """

    def newest(name: str) -> str | None:
        versions = [dataset.version for dataset in datasets if dataset.name == name]
        if len(versions) > 1:
            raise InputError(
                "AMBIGUOUS_VERSION",
                f"the snapshot has {len(versions)} versions of {name!r}",
                "request: datasets",
                f"name one of: {', '.join(f'{name}@{version}' for version in versions)}",
            )
        return versions[0] if versions else None

    return newest

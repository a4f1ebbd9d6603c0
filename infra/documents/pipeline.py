"""Pipelines as people write them: several requests with one tenant, one deadline and one budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from infra.core.errors import InputError
from infra.core.placement.pipelines.decide import PipelineRequest, PipelineStage, StageInput
from infra.core.units import BYTES_PER_GB, micro_from_usd
from infra.documents.fields import Document, Duration, Instant, Name, Number, Usd
from infra.documents.files import display, parse_yaml, read_tree
from infra.documents.problems import join, located, validated
from infra.documents.request import RequestDocument, deadline_at, with_versions


class StageInputDocument(Document):
    """Another stage's result; may also be written as the stage's name alone."""

    stage: Name = Field(description="Name of the stage that makes it.")
    gb: Number = Field(0.0, description="Expected size in gigabytes of 10^9 bytes.")


class StageDocument(RequestDocument):
    """One stage: a request with a name, and what it waits for."""

    name: Name = Field(description="Name of the stage, unique within the pipeline.")
    tenant: Name = Field("", description="Left out: the pipeline's tenant pays.")
    inputs: tuple[StageInputDocument, ...] = Field(
        (), description="Results of other stages that it reads, each {stage, gb} or the stage's name."
    )
    after: tuple[Name, ...] = Field(
        (), description="Stages that must have ended before it, whose results it does not read."
    )

    @field_validator("inputs", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            return value
        return [{"stage": item} if isinstance(item, str) else item for item in value]

    def to_stage(self, tenant: str, now_at: float, where: str) -> PipelineStage:
        """The core value; ``where`` names the file and the stage."""
        request = self if self.tenant else self.model_copy(update={"tenant": tenant})
        with located(where, "inputs"):
            inputs = tuple(StageInput(item.stage, round(item.gb * BYTES_PER_GB)) for item in self.inputs)
        inputs += tuple(StageInput(name, 0, reads=False) for name in self.after)
        return PipelineStage(self.name, request.to_core(now_at, where), inputs)


class PipelineDocument(Document):
    """Several runs that belong together."""

    name: Name = Field("pipeline", description="Name of the pipeline.")
    tenant: Name = Field(description="Who pays for all stages.")
    deadline: Instant | None = Field(
        None, description="ISO 8601 instant with a zone by which every stage must have ended."
    )
    deadline_in: Duration | None = Field(
        None, description="The same, counted from now (from the snapshot's instant): 30m, 1h30m, 45s, PT30M."
    )
    budget_usd: Usd | None = Field(
        None, description="The most that all stages together may cost in USD; null: what the tenant still has."
    )
    kept_at: str = Field(
        "",
        description="Site that keeps the stages' results where their residency allows it; empty: each where it was made.",
    )
    stages: tuple[StageDocument, ...] = Field(description="The stages, in any order.")

    def to_core(self, now_at: float, where: str) -> PipelineRequest:
        """The core value.

        Raises:
            InputError: What the stages' requests and their order may be refused for.
        """
        due_at = deadline_at(self.deadline, self.deadline_in, now_at, where)
        stages = []
        for index, stage in enumerate(self.stages):
            try:
                stages.append(stage.to_stage(self.tenant, now_at, where))
            except InputError as error:
                place = error.where.removeprefix(f"{where}: ") if error.where != where else ""
                full = f"stages[{index}].{place}" if place else f"stages[{index}]"
                raise InputError(error.code, error.problem, join(where, full), error.remedy) from error
        with located(where, renamed={"pipeline: stages": "stages"}):
            return PipelineRequest(
                name=self.name,
                tenant=self.tenant,
                stages=tuple(stages),
                deadline_at=due_at,
                budget_micro=None if self.budget_usd is None else micro_from_usd(self.budget_usd),
                kept_at=self.kept_at,
            )


def is_pipeline(tree: Any) -> bool:
    """Whether a parsed file is a pipeline and not a single request."""
    return isinstance(tree, dict) and "stages" in tree


def load_pipeline(source: str | Path, now_at: float) -> PipelineRequest:
    """A pipeline from a file, or from YAML or JSON text (any ``str`` with a line break or a brace is text).

    Args:
        source: A path, or the text itself.
        now_at: Epoch seconds that ``deadline_in`` counts from; a deadline before it is refused.

    Raises:
        InputError: with the file and the dotted path of what is wrong.
    """
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
        where, tree = "pipeline", parse_yaml(source, "pipeline")
    else:
        path = Path(source)
        where, tree = display(path), read_tree(path)
    return validated(PipelineDocument, tree, where).to_core(now_at, where)


def with_stage_versions(request: PipelineRequest, newest: Callable[[str], str | None]) -> PipelineRequest:
    """The pipeline with each ``latest`` replaced by a version, see :func:`infra.documents.request.with_versions`."""
    return replace(
        request, stages=tuple(replace(stage, request=with_versions(stage.request, newest)) for stage in request.stages)
    )

"""The base job template of pools of type ``headrace``: the fields that a deployment may set, and nothing more.

There is no ``command`` and no ``working_dir``: what a pool runs is the flow of a deployment's entrypoint, whoever calls
the API. ``env`` takes names from a short list of harmless ones; anything else is refused when the run is submitted.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.workers.base import BaseJobConfiguration
from pydantic import BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    from prefect.client.schemas.objects import Flow as APIFlow
    from prefect.client.schemas.objects import FlowRun, WorkPool
    from prefect.client.schemas.responses import DeploymentResponse

ENV_NAMES = (
    r"^(OMP_NUM_THREADS|MKL_NUM_THREADS|OPENBLAS_NUM_THREADS|TOKENIZERS_PARALLELISM|TZ|HEADRACE_TAG_[A-Z0-9_]+)$"
)
"""Variables that a deployment or an API call may set. ``HEADRACE_TAG_*`` is free text for the flow's own use."""

DOCUMENTATION_URL = "/headrace/help.html#worker"
"""Relative to the Prefect server's UI, where `headrace up` has the page served; docs/worker.md says more."""

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class HeadraceVariables(BaseModel):
    """Fields of the pool's form, for its defaults and for each deployment."""

    model_config = ConfigDict(extra="ignore")

    start_deadline_s: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        title="Start deadline (s)",
        description="How long a cluster may take to come up before the attempt is given back as failed.",
    )
    metering_interval_s: float = Field(
        default=15.0,
        ge=1,
        le=3600,
        title="Metering interval (s)",
        description="Time between two signed meter readings of a running attempt. The cap is checked every second.",
    )
    stop_grace_s: float = Field(
        default=8.0,
        ge=0,
        le=120,
        title="Stop grace (s)",
        description="Time that a run has to save a checkpoint after it was told to stop, before it is killed.",
    )
    log_level: str = Field(
        default="INFO",
        title="Log level",
        description="Level of the run's own log in the UI.",
        json_schema_extra={"enum": list(LOG_LEVELS)},
    )
    env: dict[str, str] = Field(
        default_factory=dict,
        title="Environment variables",
        description="A few harmless variables: thread counts, TZ, and HEADRACE_TAG_* for the flow's own use.",
        json_schema_extra={"propertyNames": {"pattern": ENV_NAMES}},
    )
    name: str = Field(
        default="",
        title="Process name",
        description="Shown in the worker's log; the flow run's name when empty.",
    )


class HeadraceConfiguration(BaseJobConfiguration):
    """One run's values of the template, checked again here because an API call may pass the form by."""

    start_deadline_s: float = Field(default=120.0, gt=0, le=3600)
    metering_interval_s: float = Field(default=15.0, ge=1, le=3600)
    stop_grace_s: float = Field(default=8.0, ge=0, le=120)
    log_level: str = Field(default="INFO")

    @field_validator("env")
    @classmethod
    def _only_harmless(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        wrong = sorted(name for name in value if not re.fullmatch(ENV_NAMES.strip("^$"), name))
        if wrong:
            raise ValueError(f"ENV_NOT_ALLOWED: {', '.join(wrong)}; allowed names match {ENV_NAMES}")
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in LOG_LEVELS:
            raise ValueError(f"{value!r} is no log level; use one of {', '.join(LOG_LEVELS)}")
        return value.upper()

    @classmethod
    def json_template(cls) -> dict[str, Any]:
        """Prefect's template without ``command`` and ``labels``, which this worker never uses."""
        template = super().json_template()
        return {name: value for name, value in template.items() if name not in ("command", "labels")}

    def prepare_for_flow_run(
        self,
        flow_run: FlowRun,
        deployment: DeploymentResponse | None = None,
        flow: APIFlow | None = None,
        work_pool: WorkPool | None = None,
        worker_name: str | None = None,
        worker_id: UUID | None = None,
    ) -> None:
        """Keep what the run's events refer to. The environment is made by the worker, not here: ``env`` stays small."""
        allowed = dict(self.env)
        super().prepare_for_flow_run(flow_run, deployment, flow, work_pool, worker_name, worker_id)
        self.env = allowed
        self.command = None


def logo_url() -> str:
    """The packaged logo as a ``data:`` address, so that the UI needs nothing from outside."""
    svg = Path(__file__).with_name("logo.svg").read_bytes()
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")

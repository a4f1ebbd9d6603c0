"""The parts of a site file that say how a pool's machines or jobs are started, one for each kind of cluster."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from pydantic import Field

from infra.core.catalogue import Provider
from infra.core.cluster_settings import SLURM_DIRECTIVES, Ec2Settings, SlurmSettings
from infra.core.errors import InputError
from infra.documents.fields import Document, Name, Positive, Text
from infra.documents.problems import join, located
from infra.documents.regions import AWS_COUNTRIES


class Ec2Document(Document):
    """How a pool's EC2 machines are started: private addresses only, encrypted volumes, credentials never in a file."""

    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", description="AWS region, in the site's own country.")
    image: str = Field(
        pattern=r"^ami-[0-9a-f]{8,17}$",
        description="Machine image (AMI) that has Docker and, for GPUs, NVIDIA's driver and container toolkit.",
    )
    subnets: tuple[Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$")], ...] = Field(
        min_length=1, description="One for each availability zone that may be used, tried in this order."
    )
    security_groups: tuple[Annotated[str, Field(pattern=r"^sg-[0-9a-f]{8,17}$")], ...] = Field(
        (),
        json_schema_extra={"minItems": 1},
        description="Required: whose members reach each other, and whose port 8786 the site's worker reaches.",
    )
    docker_image: Text = Field(description="Container with this software, in the version that the site's worker has.")
    scheduler_instance_type: str = Field(
        "t3.small", pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$", description="Machine of the Dask scheduler, always on demand."
    )
    instance_profile: Text | None = Field(
        None, description="Name or ARN of the machines' IAM instance profile; none for no rights at all."
    )
    volume_gb: Annotated[int, Field(strict=True, ge=8, le=16_384)] = Field(40, description="Size of the root volume.")


class SlurmDocument(Document):
    """How a pool's jobs are put into Slurm's queue, one for each device."""

    partition: Text = Field(description="Partition that the jobs are put into.")
    gres: dict[Name, Text | None] = Field(
        description="For each device that the pool sells, the generic resource of one, such as `gpu-l4: gpu:l4:1`; null "
        "for what needs none."
    )
    account: Text | None = Field(None, description="Account that Slurm books the jobs on, where it keeps books.")
    qos: Text | None = Field(None, description="Quality of service of the jobs.")
    cores: Annotated[int, Field(strict=True, ge=1, le=100_000)] = Field(1, description="Processor cores of one job.")
    memory_gb: Positive = Field(4.0, description="Main memory of one job in gigabytes, not of its device.")
    python: Text | None = Field(
        None, description="Interpreter on the nodes that has this software; none for the site worker's own path."
    )
    directives: tuple[Text, ...] = Field(
        (), description=f"More options of sbatch, each --name=value; allowed are {', '.join(SLURM_DIRECTIVES)}."
    )
    scheduler_interface: Text | None = Field(
        None, description="Network interface at which nodes reach the Dask scheduler, for example ib0."
    )
    scheduler_host: Text | None = Field(None, description="Instead of that, the host name or address.")


class PoolSections(Protocol):
    """The sections of a pool's document."""

    ec2: Ec2Document | None
    slurm: SlurmDocument | None


def settings_of(pool: PoolSections, jurisdiction: str, where: str, path: str) -> dict[str, Any]:
    """The core settings of a pool by the field that they belong in.

    Args:
        where: The file.
        path: The pool's place in it.

    Raises:
        InputError: for what contradicts itself or the site's country.
    """
    found: dict[str, Any] = {}
    if pool.ec2 is not None:
        _require_country(
            AWS_COUNTRIES.get(pool.ec2.region), pool.ec2.region, jurisdiction, join(where, f"{path}.ec2.region")
        )
        with located(where, f"{path}.ec2"):
            found["ec2"] = Ec2Settings(**pool.ec2.model_dump())
    if pool.slurm is not None:
        values = pool.slurm.model_dump()
        with located(where, f"{path}.slurm"):
            found["slurm"] = SlurmSettings(**values | {"gres": tuple(values["gres"].items())})
    return found


def place_of(settings: dict[str, Any]) -> tuple[Provider, str] | None:
    """Provider and region of the machines of a pool with these settings; ``None`` when it starts none of a named type."""
    if "ec2" in settings:
        return Provider.AWS, settings["ec2"].region
    return None


def _require_country(country: str | None, region: str, jurisdiction: str, where: str) -> None:
    if country is not None and country != jurisdiction:
        raise InputError(
            "CONTRADICTORY_SITE",
            f"{region} is in {country}, the site says {jurisdiction}",
            where,
            "correct the jurisdiction, or choose a region in that country",
        )

"""The parts of a site file that say how a pool's machines or jobs are started, one for each kind of cluster."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from pydantic import Field

from infra.core.catalogue import Provider
from infra.core.cluster_settings import (
    SLURM_DIRECTIVES,
    AzureSettings,
    Ec2Settings,
    GcpSettings,
    OpenStackSettings,
    SlurmSettings,
)
from infra.core.errors import InputError
from infra.documents.fields import Document, Name, Positive, Text
from infra.documents.problems import join, located
from infra.documents.regions import AWS_COUNTRIES, AZURE_COUNTRIES, GCP_COUNTRIES


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


_GCP_NAME = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
_AZURE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.()-]{0,88}[A-Za-z0-9_)-]$"
_UUID = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$"


class GcpDocument(Document):
    """How a pool's machines of Google Compute Engine are started: private addresses only, own image and firewall."""

    project: str = Field(
        pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$", description="Project that the machines are made in."
    )
    zone: str = Field(pattern=r"^[a-z]+-[a-z]+\d+-[a-z]$", description="Zone, in the site's own country.")
    subnetwork: str = Field(pattern=_GCP_NAME, description="Subnetwork of the zone's region.")
    image: str = Field(
        pattern=r"^projects/[a-z][a-z0-9-]*/global/images/(family/)?[a-z][a-z0-9-]*$",
        description="Own image with Docker, systemd, cloud-init and, for GPUs, NVIDIA's driver and container toolkit.",
    )
    network_tags: tuple[Annotated[str, Field(pattern=_GCP_NAME)], ...] = Field(
        (),
        json_schema_extra={"minItems": 1},
        description="Required: tags of every machine, to which the firewall's rules apply.",
    )
    docker_image: Text = Field(description="Container with this software, in the version that the site's worker has.")
    scheduler_machine_type: str = Field(
        "e2-medium", pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)+$", description="Machine of the Dask scheduler, on demand."
    )
    network_project: str | None = Field(
        None, pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$", description="Project of the network, where it is another one."
    )
    service_account: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com$",
        description="The machines' service account; none for no rights at all.",
    )
    disk_gb: Annotated[int, Field(strict=True, ge=10, le=65_536)] = Field(50, description="Size of the boot disk.")
    disk_type: str = Field("pd-balanced", pattern=r"^[a-z][a-z0-9-]*$", description="Kind of the boot disk.")
    disk_kms_key: str | None = Field(
        None,
        pattern=r"^projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[^/\s]+$",
        description="Own key that encrypts the disk; none for Google's.",
    )


class AzureDocument(Document):
    """How a pool's virtual machines of Azure are started: private addresses only, own image and security group."""

    subscription: str = Field(pattern=_UUID, description="Id of the subscription.")
    location: str = Field(pattern=r"^[a-z]+\d?$", description="Location, in the site's own country.")
    resource_group: str = Field(
        pattern=_AZURE_NAME, description="Group that machines are made in; vnet and security group are in it, too."
    )
    vnet: str = Field(pattern=_AZURE_NAME, description="Virtual network.")
    subnet: str = Field(
        pattern=r"^/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/Microsoft\.Network/virtualNetworks/[^/\s]+/subnets/[^/\s]+$",
        description="Id of its subnet.",
    )
    security_group: str = Field(pattern=_AZURE_NAME, description="Network security group of every machine.")
    image: str = Field(
        pattern=r"^/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/Microsoft\.Compute/(images|galleries)/\S+$",
        description="Id of an own image with Docker, systemd, cloud-init and, for GPUs, NVIDIA's driver and toolkit.",
    )
    docker_image: Text = Field(description="Container with this software, in the version that the site's worker has.")
    scheduler_vm_size: str = Field(
        "Standard_B2s",
        pattern=r"^(Standard|Basic)_[A-Za-z0-9_-]+$",
        description="Machine of the Dask scheduler, never spot.",
    )
    disk_gb: Annotated[int, Field(strict=True, ge=8, le=1023)] = Field(50, description="Size of the disk.")
    encryption_at_host: bool = Field(
        True, strict=True, description="Encrypt disks and caches on the host; the subscription must have the feature."
    )


class OpenStackDocument(Document):
    """How a pool's servers of an OpenStack cloud are started: no floating address, own image and security group."""

    auth_url: Text = Field(description="Address of the identity service; https only.")
    region: Name = Field(description="Region of the cloud.")
    network: str = Field(pattern=_UUID, description="Id of the network.")
    security_group: Text = Field(description="Name or id of the security group of every server.")
    image: str = Field(
        pattern=_UUID,
        description="Id of an own image with Docker, systemd, cloud-init and, for GPUs, NVIDIA's driver and toolkit.",
    )
    docker_image: Text = Field(description="Container with this software, in the version that the site's worker has.")
    scheduler_flavor: Name = Field(description="Flavor of the Dask scheduler's server.")
    gpu_devices: tuple[Name, ...] = Field((), description="The pool's devices that are NVIDIA's.")


class PoolSections(Protocol):
    """The sections of a pool's document."""

    ec2: Ec2Document | None
    slurm: SlurmDocument | None
    gcp: GcpDocument | None
    azure: AzureDocument | None
    openstack: OpenStackDocument | None


_MADE: dict[str, type] = {
    "ec2": Ec2Settings,
    "slurm": SlurmSettings,
    "gcp": GcpSettings,
    "azure": AzureSettings,
    "openstack": OpenStackSettings,
}
_COUNTRIES = {"ec2": ("region", AWS_COUNTRIES), "gcp": ("zone", GCP_COUNTRIES), "azure": ("location", AZURE_COUNTRIES)}


def settings_of(pool: PoolSections, jurisdiction: str, where: str, path: str) -> dict[str, Any]:
    """The core settings of a pool by the field that they belong in.

    Args:
        where: The file.
        path: The pool's place in it.

    Raises:
        InputError: for what contradicts itself or the site's country.
    """
    found: dict[str, Any] = {}
    for name, kind in _MADE.items():
        document = getattr(pool, name)
        if document is None:
            continue
        values = document.model_dump()
        if name == "slurm":
            values["gres"] = tuple(values["gres"].items())
        with located(where, f"{path}.{name}"):
            settings = found[name] = kind(**values)
        if name in _COUNTRIES:
            field, countries = _COUNTRIES[name]
            region = settings.region if name == "gcp" else getattr(settings, field)
            _require_country(countries.get(region), region, jurisdiction, join(where, f"{path}.{name}.{field}"))
    return found


def place_of(settings: dict[str, Any]) -> tuple[Provider, str] | None:
    """Provider and region of the machines of a pool with these settings; ``None`` when it starts none of a named type."""
    for name, provider, field in (
        ("ec2", Provider.AWS, "region"),
        ("gcp", Provider.GCP, "region"),
        ("azure", Provider.AZURE, "location"),
        ("openstack", Provider.OPENSTACK, "region"),
    ):
        if name in settings:
            return provider, getattr(settings[name], field)
    return None


def _require_country(country: str | None, region: str, jurisdiction: str, where: str) -> None:
    if country is not None and country != jurisdiction:
        raise InputError(
            "CONTRADICTORY_SITE",
            f"{region} is in {country}, the site says {jurisdiction}",
            where,
            "correct the jurisdiction, or choose a region in that country",
        )

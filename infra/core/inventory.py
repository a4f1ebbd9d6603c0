"""What there is: sites, their offers, and the datasets that lie at them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from infra.core.canonical import ADDED
from infra.core.cluster_settings import AzureSettings, Ec2Settings, GcpSettings, OpenStackSettings, SlurmSettings
from infra.core.errors import InputError
from infra.core.jurisdictions import countries_of, require_country
from infra.core.pricing import Price
from infra.core.units import require_number
from infra.core.warm import WarmSetting


class TrustZone(StrEnum):
    """How far a site is trusted, from least to most."""

    PUBLIC = "public"
    PARTNER = "partner"
    PRIVATE = "private"

    @property
    def rank(self) -> int:
        return _TRUST_RANKS[self]


_TRUST_RANKS = {zone: rank for rank, zone in enumerate(TrustZone)}


class Purchase(StrEnum):
    """How an offer is paid for."""

    OWNED = "owned"
    ON_DEMAND = "on_demand"
    SPOT = "spot"


class Cluster(StrEnum):
    """How a pool gets its Dask cluster."""

    ATTACHED = "attached"
    """A standing Dask cluster; a run gets some of its workers."""
    LOCAL = "local"
    """The built-in cloud whose virtual machines are processes on this machine (always simulated)."""
    EC2 = "ec2"
    """Machines of AWS EC2, started for each lease."""
    SLURM = "slurm"
    """Jobs in the queue of an on-prem Slurm, put there for each lease."""
    GCP = "gcp"
    """Machines of Google Compute Engine, started for each lease."""
    AZURE = "azure"
    """Virtual machines of Azure, started for each lease."""
    OPENSTACK = "openstack"
    """Servers of an OpenStack cloud, public or one's own, started for each lease."""


INSTANCE_TYPES = {
    Cluster.EC2: (re.compile(r"[a-z0-9-]+\.[a-z0-9-]+"), "g5.xlarge"),
    Cluster.GCP: (
        re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+(\+[a-z0-9-]+)?"),
        "g2-standard-4 or n1-standard-4+nvidia-tesla-t4",
    ),
    Cluster.AZURE: (re.compile(r"(Standard|Basic)_[A-Za-z0-9_-]+"), "Standard_NC4as_T4_v3"),
    Cluster.OPENSTACK: (re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*"), "gpu.l4.small"),
}
"""Kinds of cluster whose offers are machines of a named type: the form of these names, and an example."""

_NEEDED = {
    Cluster.EC2: "region, image, subnets, security_groups and docker_image",
    Cluster.SLURM: "partition and gres",
    Cluster.GCP: "project, zone, subnetwork, image, network_tags and docker_image",
    Cluster.AZURE: "subscription, location, resource_group, vnet, subnet, security_group, image and docker_image",
    Cluster.OPENSTACK: "auth_url, region, network, security_group, image, docker_image and scheduler_flavor",
}
"""Kinds of cluster with settings, in the field of their name, and what must be in them."""

_UNSOLD = {
    **dict.fromkeys(
        ((kind, Purchase.OWNED) for kind in (Cluster.EC2, Cluster.GCP, Cluster.AZURE)),
        "machines of a public cloud are not owned",
    ),
    (Cluster.OPENSTACK, Purchase.SPOT): "OpenStack has no spot",
    (Cluster.SLURM, Purchase.SPOT): "jobs in a queue of Slurm cannot be spot",
}
"""Ways of paying that a kind of cluster does not have."""


_NEVER_WARM = (Cluster.ATTACHED, Cluster.SLURM)
"""Kinds of cluster that stand anyway, or wait in a queue."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that a pool can sell now.

    Attributes:
        name: Unique within its site.
        device: Kind of device, for example ``gpu-l4``.
        capacity: How many devices of it exist.
        memory_gb: Memory of one device.
        relative_speed: Throughput of one device against the reference device (1.0).
        price: Price of one device for one hour, or ``None`` when it is not known: then nothing is placed here.
        boot_s: Expected time from the request to a usable machine.
        interruptions_per_hour: Expected reclaims of one device, 0 unless it is spot.
        instance_type: Kind of machine with one such device, where a cloud's machines are started.
    """

    name: str
    purchase: Purchase
    device: str
    capacity: int
    memory_gb: float
    relative_speed: float
    price: Price | None
    boot_s: float = 0.0
    interruptions_per_hour: float = 0.0
    instance_type: str | None = None

    def __post_init__(self) -> None:
        where = f"offer {self.name}"
        require_number(self.capacity, f"{where}: capacity")
        require_number(self.memory_gb, f"{where}: memory_gb", exclusive=True)
        require_number(self.relative_speed, f"{where}: relative_speed", exclusive=True)
        require_number(self.boot_s, f"{where}: boot_s")
        require_number(self.interruptions_per_hour, f"{where}: interruptions_per_hour")
        if self.interruptions_per_hour and self.purchase is not Purchase.SPOT:
            raise InputError(
                "CONTRADICTORY_OFFER",
                f"{self.purchase} cannot be interrupted",
                f"{where}: interruptions_per_hour",
                "set it to 0 or make the offer spot",
            )


@dataclass(frozen=True, slots=True)
class Pool:
    """A Prefect work pool at a site, with the offers that it sells.

    Attributes:
        ec2: How machines are started, for a pool of :attr:`Cluster.EC2` and no other.
        slurm: How jobs are submitted, for a pool of :attr:`Cluster.SLURM` and no other.
        gcp: As ``ec2``, for :attr:`Cluster.GCP`.
        azure: As ``ec2``, for :attr:`Cluster.AZURE`.
        openstack: As ``ec2``, for :attr:`Cluster.OPENSTACK`.
        warm: Clusters of its offers that may be kept booted.
    """

    name: str
    cluster: Cluster
    offers: tuple[Offer, ...]
    ec2: Ec2Settings | None = None
    slurm: SlurmSettings | None = None
    gcp: GcpSettings | None = None
    azure: AzureSettings | None = None
    openstack: OpenStackSettings | None = None
    warm: tuple[WarmSetting, ...] = field(default=(), metadata=ADDED)

    def __post_init__(self) -> None:
        where = f"pool {self.name}"
        for kind, needed in _NEEDED.items():
            missing = getattr(self, kind.value) is None
            if missing == (self.cluster is kind):
                raise InputError(
                    "CONTRADICTORY_POOL",
                    f"a pool that is {kind} without its settings"
                    if missing
                    else f"settings of {kind} in a pool that is {self.cluster}",
                    f"{where}: {kind}",
                    f"add {needed}" if missing else "remove them",
                )
        for index, offer in enumerate(self.offers):
            self._check_offer(offer, f"{where}: offers[{index}]")
        for index, setting in enumerate(self.warm):
            self._check_warm(setting, index, f"{where}: warm[{index}]")

    @property
    def settings(self) -> Ec2Settings | SlurmSettings | GcpSettings | AzureSettings | OpenStackSettings | None:
        """How machines are started or jobs submitted; ``None`` where nothing is."""
        return self.ec2 or self.slurm or self.gcp or self.azure or self.openstack

    def _check_offer(self, offer: Offer, where: str) -> None:
        form, example = INSTANCE_TYPES.get(self.cluster, (None, ""))
        if (offer.instance_type is None) != (form is None):
            raise InputError(
                "CONTRADICTORY_POOL",
                f"an offer of a pool that is {self.cluster} with instance_type {offer.instance_type}",
                f"{where}.instance_type",
                "remove it" if form is None else f"name the instance type, such as {example}",
            )
        if form is not None and not form.fullmatch(offer.instance_type or ""):
            raise InputError(
                "BAD_VALUE",
                f"{offer.instance_type!r} is no machine type of {self.cluster}",
                f"{where}.instance_type",
                f"name one such as {example}",
            )
        if problem := _UNSOLD.get((self.cluster, offer.purchase)):
            others = " or ".join(each for each in Purchase if (self.cluster, each) not in _UNSOLD)
            raise InputError("CONTRADICTORY_OFFER", problem, f"{where}.purchase", f"use {others}")
        if self.slurm is not None and offer.device not in dict(self.slurm.gres):
            raise InputError(
                "CONTRADICTORY_POOL",
                f"no generic resource of Slurm for the device {offer.device}",
                f"{where}.device",
                f"add it to slurm.gres, for example {offer.device}: gpu:1, or null for cores alone",
            )

    def _check_warm(self, setting: WarmSetting, index: int, where: str) -> None:
        offer = next((each for each in self.offers if each.name == setting.offer), None)
        if offer is None:
            names = ", ".join(each.name for each in self.offers)
            raise InputError("UNKNOWN_OFFER", f"{setting.offer!r} is not sold here", f"{where}.offer", f"use {names}")
        if self.cluster in _NEVER_WARM or offer.purchase is Purchase.OWNED:
            what = "owned" if offer.purchase is Purchase.OWNED else self.cluster.value
            raise InputError(
                "CONTRADICTORY_POOL",
                f"nothing that is {what} is kept warm",
                where,
                "remove it: only machines that a cloud starts for a run need to boot",
            )
        if setting.most * setting.devices > offer.capacity:
            raise InputError(
                "CONTRADICTORY_POOL",
                f"{setting.most} clusters of {setting.devices} devices, and there are {offer.capacity}",
                f"{where}.most",
                f"use at most {offer.capacity // setting.devices}",
            )
        if (setting.offer, setting.devices) in [(each.offer, each.devices) for each in self.warm[:index]]:
            raise InputError(
                "DUPLICATE_WARM", f"{setting.offer} with {setting.devices} devices stands twice", where, "keep one"
            )


@dataclass(frozen=True, slots=True)
class Site:
    """A place with compute, in one jurisdiction and one trust zone.

    Attributes:
        egress_micro_per_gb: Price of a gigabyte that leaves this site.
        bandwidth_mbps: Megabits per second in and out of this site.
        simulated: Whether its devices are local processes that stand for the real ones.
    """

    name: str
    jurisdiction: str
    trust_zone: TrustZone
    pools: tuple[Pool, ...]
    egress_micro_per_gb: int = 0
    bandwidth_mbps: float = 1000.0
    simulated: bool = False

    def __post_init__(self) -> None:
        where = f"site {self.name}"
        require_country(self.jurisdiction, f"{where}: jurisdiction")
        require_number(self.egress_micro_per_gb, f"{where}: egress_usd_per_gb")
        require_number(self.bandwidth_mbps, f"{where}: bandwidth_mbps", exclusive=True)
        names = [offer.name for pool in self.pools for offer in pool.offers]
        if not names:
            raise InputError("EMPTY_SITE", "a site without an offer", where, "add a pool with at least one offer")
        for name in names:
            if names.count(name) > 1:
                raise InputError("DUPLICATE_OFFER", f"offer {name!r} stands twice", where, "give each offer its name")
        for pool in self.pools:
            if pool.cluster is Cluster.LOCAL and not self.simulated:
                raise InputError(
                    "CONTRADICTORY_SITE",
                    f"pool {pool.name!r} runs local processes",
                    f"{where}: simulated",
                    "say simulated: true, or choose a real cluster",
                )


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """One accepted version of a dataset (or of a published artefact, which is a dataset too).

    Attributes:
        copies: Names of the sites that hold a copy.
        residency: Residency tags, see :mod:`infra.core.jurisdictions`.
        trust_zone: The least trusted zone that may read it.
    """

    name: str
    version: str
    bytes: int
    copies: tuple[str, ...]
    residency: tuple[str, ...]
    trust_zone: TrustZone = TrustZone.PUBLIC

    def __post_init__(self) -> None:
        where = f"dataset {self.name}@{self.version}"
        require_number(self.bytes, f"{where}: bytes")
        for tag in self.residency:
            countries_of(tag, f"{where}: residency")
        if not self.residency:
            raise InputError("NO_RESIDENCY", "no residency tag", where, "write PUBLIC if it may go anywhere")

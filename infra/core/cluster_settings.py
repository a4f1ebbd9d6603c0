"""Where and how the machines or jobs of a pool's clusters are started: one kind of settings for each kind of cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.core.errors import InputError
from infra.core.units import require_number


@dataclass(frozen=True, slots=True)
class Ec2Settings:
    """Where and how a pool's EC2 machines are started. They have private addresses only, and encrypted volumes.

    Attributes:
        image: Machine image (AMI) that has Docker and, for GPUs, NVIDIA's driver and container toolkit.
        subnets: One for each availability zone that may be used; a cluster lies in one, and the next is tried when a
            zone has no capacity.
        security_groups: Firewalls of every machine: members reach each other, the site's worker reaches port 8786.
        docker_image: Container with this software, in the version that the site's worker has.
        scheduler_instance_type: Kind of machine of the Dask scheduler, always on demand.
        instance_profile: Name or ARN of the IAM instance profile of the machines, or ``None`` for no rights at all.
        volume_gb: Size of the root volume.
    """

    region: str
    image: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    docker_image: str
    scheduler_instance_type: str = "t3.small"
    instance_profile: str | None = None
    volume_gb: int = 40

    def __post_init__(self) -> None:
        where = f"ec2 in {self.region}"
        if not self.security_groups:
            raise InputError(
                "NO_SECURITY_GROUP",
                "without a security group dask-cloudprovider makes one that opens ports 8786 and 8787 to the internet",
                f"{where}: security_groups",
                "name a group whose members reach each other, and whose port 8786 the site's worker reaches",
            )
        if not self.subnets:
            raise InputError("NO_SUBNET", "no subnet", f"{where}: subnets", "name one for each availability zone")
        require_number(self.volume_gb, f"{where}: volume_gb", exclusive=True)


_SLURM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_GRES = re.compile(r"[A-Za-z0-9_]+(:[A-Za-z0-9._-]+)?(:[0-9]+)?")
_DIRECTIVE = re.compile(r"--(?P<name>[a-z][a-z-]*)(=[A-Za-z0-9._:,@%+/&|!*\[\]()-]+)?")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]*")
_PATH = re.compile(r"/[A-Za-z0-9._/@+-]*")

SLURM_DIRECTIVES = (
    *("acctg-freq", "cluster-constraint", "constraint", "contiguous", "core-spec", "cores-per-socket", "cpu-freq"),
    *("distribution", "exclude", "exclusive", "extra-node-info", "gpu-bind", "gpu-freq", "hint", "licenses"),
    *("mail-type", "mail-user", "mem-bind", "mincpus", "network", "nice", "nodelist", "oversubscribe"),
    *(
        "power",
        "prefer",
        "priority",
        "profile",
        "propagate",
        "reservation",
        "sockets-per-node",
        "spread-job",
        "switches",
    ),
    *("thread-spec", "threads-per-core", "tmp", "use-min-nodes", "wckey"),
)
"""Options of ``sbatch`` that a site may add. What Headrace sets itself, and what would let a job outlive its lease, start
again, or run something else, is not among them."""


def is_path(text: str) -> bool:
    """Whether a path can stand in a job's script as it is: absolute, and nothing in it that a shell would read."""
    return _PATH.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class SlurmSettings:
    """How a pool's jobs are put into Slurm's queue: one job for each device. The Dask scheduler runs beside the site's
    worker, which has the commands of Slurm and a directory for its state that the nodes have under the same path.

    Attributes:
        partition: Partition that the jobs are put into.
        gres: For each device that the pool sells, the generic resource of one, for example ``gpu:l4:1``; ``None`` for
            what needs none, such as a device that is some cores.
        account: Account that Slurm books the jobs on, where it keeps books.
        qos: Quality of service of the jobs.
        cores: Processor cores of one job.
        memory_gb: Main memory of one job, not of its device.
        python: Interpreter on the nodes that has this software; ``None`` for the path of the site worker's own.
        directives: More options of ``sbatch``, each ``--name=value``, from :data:`SLURM_DIRECTIVES`.
        scheduler_interface: Network interface at which nodes reach the Dask scheduler, for example ``ib0``.
        scheduler_host: Instead of that, the host name or address.
    """

    partition: str
    gres: tuple[tuple[str, str | None], ...]
    account: str | None = None
    qos: str | None = None
    cores: int = 1
    memory_gb: float = 4.0
    python: str | None = None
    directives: tuple[str, ...] = ()
    scheduler_interface: str | None = None
    scheduler_host: str | None = None

    def __post_init__(self) -> None:
        where = f"slurm partition {self.partition}"
        for field in ("partition", "account", "qos", "scheduler_interface"):
            _require(_SLURM_NAME, getattr(self, field), f"{where}: {field}", "use letters, digits, dot, _ and -")
        _require(_HOST, self.scheduler_host, f"{where}: scheduler_host", "give a host name or an address")
        _require(_PATH, self.python, f"{where}: python", "give an absolute path without spaces")
        for _, resource in self.gres:
            _require(_GRES, resource, f"{where}: gres", "write name, name:type or name:type:count, such as gpu:l4:1")
        for directive in self.directives:
            self._require_directive(directive, f"{where}: directives")
        if self.scheduler_interface is not None and self.scheduler_host is not None:
            raise InputError(
                "CONTRADICTORY_POOL",
                "both an interface and a host of the scheduler",
                f"{where}: scheduler_host",
                "give one of them",
            )
        require_number(self.cores, f"{where}: cores", exclusive=True)
        require_number(self.memory_gb, f"{where}: memory_gb", exclusive=True)

    def gres_of(self, device: str) -> str | None:
        """The generic resource of one device of a kind."""
        return dict(self.gres)[device]

    @staticmethod
    def _require_directive(directive: str, where: str) -> None:
        match = _DIRECTIVE.fullmatch(directive)
        if match is None:
            raise InputError("BAD_VALUE", f"{directive!r} is no directive", where, "write --name=value, without spaces")
        if match["name"] not in SLURM_DIRECTIVES:
            raise InputError(
                "DIRECTIVE_NOT_ALLOWED",
                f"--{match['name']} is set by Headrace itself or takes a job out of its hands",
                where,
                f"one of: {', '.join(SLURM_DIRECTIVES)}",
            )


def _require(pattern: re.Pattern[str], value: str | None, where: str, remedy: str) -> None:
    if value is not None and not pattern.fullmatch(value):
        raise InputError("BAD_VALUE", f"{value!r} has another form", where, remedy)


def _require_firewall(named: object, field: str, where: str, problem: str) -> None:
    if not named:
        raise InputError(
            "NO_SECURITY_GROUP",
            problem,
            f"{where}: {field}",
            "name one whose machines reach each other, and whose port 8786 the site's worker reaches",
        )


@dataclass(frozen=True, slots=True)
class GcpSettings:
    """Where and how a pool's machines of Google Compute Engine are started. They have private addresses only.

    Attributes:
        zone: One zone; a cluster lies in it.
        subnetwork: Subnetwork of the zone's region.
        image: Own image, as ``projects/PROJECT/global/images/NAME``, with Docker, systemd, cloud-init and, for GPUs,
            NVIDIA's driver and container toolkit.
        network_tags: Network tags of every machine, to which the firewall's rules apply.
        docker_image: Container with this software, in the version that the site's worker has.
        scheduler_machine_type: Kind of machine of the Dask scheduler, always on demand.
        network_project: Project of the network where it is another one (a shared VPC).
        service_account: E-mail address of the machines' service account, or ``None`` for no rights at all.
        disk_gb: Size of the boot disk. Google encrypts disks always.
        disk_kms_key: Own key for that, as ``projects/…/cryptoKeys/NAME``.
    """

    project: str
    zone: str
    subnetwork: str
    image: str
    network_tags: tuple[str, ...]
    docker_image: str
    scheduler_machine_type: str = "e2-medium"
    network_project: str | None = None
    service_account: str | None = None
    disk_gb: int = 50
    disk_type: str = "pd-balanced"
    disk_kms_key: str | None = None

    def __post_init__(self) -> None:
        where = f"gcp in {self.zone}"
        problem = "without network tags dask-cloudprovider gives machines those of public web servers"
        _require_firewall(self.network_tags, "network_tags", where, problem)
        require_number(self.disk_gb, f"{where}: disk_gb", exclusive=True)

    @property
    def region(self) -> str:
        return self.zone.rpartition("-")[0]


@dataclass(frozen=True, slots=True)
class AzureSettings:
    """Where and how a pool's virtual machines of Azure are started. They have private addresses only.

    Attributes:
        subscription: Id of the subscription.
        resource_group: Group that the machines are made in; the network and the security group are in it as well.
        subnet: Id of the subnet, ``/subscriptions/…/subnets/NAME``.
        security_group: Name of the network security group of every machine.
        image: Id of an own image or of a version of it in a gallery, with Docker, systemd, cloud-init and, for GPUs,
            NVIDIA's driver and container toolkit.
        docker_image: Container with this software, in the version that the site's worker has.
        scheduler_vm_size: Size of the Dask scheduler's machine, never spot.
        disk_gb: Size of the disk, at most 1023.
        encryption_at_host: Encrypt disks and caches on the host, too. The subscription must have the feature.
    """

    subscription: str
    location: str
    resource_group: str
    vnet: str
    subnet: str
    security_group: str
    image: str
    docker_image: str
    scheduler_vm_size: str = "Standard_B2s"
    disk_gb: int = 50
    encryption_at_host: bool = True

    def __post_init__(self) -> None:
        where = f"azure in {self.location}"
        _require_firewall(self.security_group, "security_group", where, "no security group")
        require_number(self.disk_gb, f"{where}: disk_gb", exclusive=True)
        if self.disk_gb > 1023:
            raise InputError("BAD_NUMBER", f"{self.disk_gb} is too large", f"{where}: disk_gb", "use at most 1023")


@dataclass(frozen=True, slots=True)
class OpenStackSettings:
    """Where and how a pool's servers of an OpenStack cloud are started. They have no floating address.

    Attributes:
        auth_url: Address of the identity service. The credential itself is in the worker's environment.
        network: Id of the network.
        security_group: Name or id of the security group of every server.
        image: Id of an own image with Docker, systemd, cloud-init and, for GPUs, NVIDIA's driver and container toolkit.
        docker_image: Container with this software, in the version that the site's worker has.
        scheduler_flavor: Flavor of the Dask scheduler's server.
        gpu_devices: The devices of the pool that are NVIDIA's; a flavor's name does not tell.
    """

    auth_url: str
    region: str
    network: str
    security_group: str
    image: str
    docker_image: str
    scheduler_flavor: str
    gpu_devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"openstack in {self.region}"
        _require_firewall(self.security_group, "security_group", where, "no security group")
        if not self.auth_url.startswith("https://"):
            raise InputError(
                "BAD_VALUE",
                f"{self.auth_url!r} is no https address",
                f"{where}: auth_url",
                "use https:// : secrets go there",
            )

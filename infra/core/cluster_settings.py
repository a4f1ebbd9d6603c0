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

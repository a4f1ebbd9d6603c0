"""What a lease's machines are to be: told to the keeper that makes them, on whichever cloud."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.adapters.certificates import ClusterIdentity
from infra.adapters.cloud.tags import lease_tags
from infra.adapters.cloud.user_data import has_nvidia_gpu
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.cluster_settings import AzureSettings, Ec2Settings, GcpSettings, OpenStackSettings
from infra.core.inventory import Cluster
from infra.ports import Lease

WORKER_PATIENCE_S = 120
"""How long a worker waits for a scheduler that is not up yet, or was lost, before it ends and its machine or job with it."""

MachineSettings = Ec2Settings | GcpSettings | AzureSettings | OpenStackSettings

SETTINGS: dict[Cluster, type[MachineSettings]] = {
    Cluster.EC2: Ec2Settings,
    Cluster.GCP: GcpSettings,
    Cluster.AZURE: AzureSettings,
    Cluster.OPENSTACK: OpenStackSettings,
}
_KINDS = {settings: kind for kind, settings in SETTINGS.items()}


def settings_from(kind: Cluster, told: dict[str, Any]) -> MachineSettings:
    """Settings of a pool as they were written down."""
    return SETTINGS[kind](**{name: tuple(item) if isinstance(item, list) else item for name, item in told.items()})


def worker_certificates(devices: int) -> tuple[str, ...]:
    """Names of the certificates of a lease's worker machines."""
    return tuple(f"worker-{index}" for index in range(devices))


@dataclass(frozen=True, slots=True)
class MachineOrder:
    """What a lease's machines are to be.

    Attributes:
        owner: See :func:`infra.adapters.cloud.tags.owner_of`.
        spot: Whether the workers' machines may be taken back.
        machine_ends_at: Hard end of each machine's life, a little after the lease's.
        serve_timeout_s: How long a machine may take to serve.
    """

    lease: Lease
    settings: MachineSettings
    owner: str
    instance_type: str
    device: str
    spot: bool
    idle_timeout_s: float
    machine_ends_at: float
    serve_timeout_s: float
    identity: ClusterIdentity

    @classmethod
    def read(cls, directory: LeaseDirectory) -> MachineOrder:
        """The order as the provider wrote it down.

        Raises:
            ValueError: The directory holds no lease.
        """
        lease, document = directory.require_lease(), directory.document()
        told = dict(document["order"])
        del told["start_deadline_at"]  # the keeper's, not the machines'
        told["settings"] = settings_from(Cluster(document["provider"]), told["settings"])
        return cls(lease=lease, identity=ClusterIdentity(lease.id, directory.tls), **told)

    @property
    def tags(self) -> dict[str, str]:
        return lease_tags(self.lease, self.owner)

    @property
    def kind(self) -> Cluster:
        return _KINDS[type(self.settings)]

    @property
    def gpu(self) -> bool:
        """Whether the workers' containers ask for NVIDIA's devices."""
        if isinstance(self.settings, OpenStackSettings):
            return self.device in self.settings.gpu_devices
        return has_nvidia_gpu(self.kind, self.instance_type)

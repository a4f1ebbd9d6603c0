"""What would be made for a lease, for people to read. The certificates in it are words, and its lease is an example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infra.adapters.certificates import ClusterIdentity
from infra.adapters.cloud import ec2_arguments, slurm_job
from infra.adapters.cloud.extras import is_installed
from infra.adapters.cloud.machine_fleets import MODULES
from infra.adapters.cloud.order import MachineOrder
from infra.adapters.cloud.rendering import (
    azure_interface,
    azure_machine,
    gcp_body,
    openstack_server,
    render,
)
from infra.core.cluster_settings import AzureSettings, Ec2Settings, GcpSettings, OpenStackSettings, SlurmSettings
from infra.core.errors import InputError
from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site
from infra.ports import Lease

EXAMPLE_LIFE_S = 3600.0
USER_DATA = "<cloud-init: the hard end's timer, and docker run with this machine's own certificate and key>"
_LIBRARIES = {Cluster.EC2: "aiobotocore", Cluster.SLURM: "dask_jobqueue", **MODULES}
_EXTRAS = {Cluster.EC2: "cloud"}


def preview(site: Site, pool: Pool, offer: Offer, devices: int, now_at: float) -> dict[str, Any]:
    """The class, its arguments and the requests for a lease of this offer that begins now and takes an hour.

    Raises:
        InputError: ``NOTHING_TO_RENDER`` for a pool that starts nothing outside of this machine.
    """
    settings = pool.settings
    if settings is None:
        raise InputError(
            "NOTHING_TO_RENDER",
            f"a pool that is {pool.cluster} starts no machines or jobs elsewhere",
            f"pool {pool.name}",
            "name a pool of ec2, gcp, azure, openstack or slurm",
        )
    lease = Lease(
        "example", "example-run", 1, site.name, pool.name, offer.name, devices, 0, now_at, now_at + EXAMPLE_LIFE_S
    )
    identity = ClusterIdentity(lease.id, Path("/the-site-s-state/leases/example/tls"))
    shown = _shown(settings, lease, offer, identity, now_at)
    extra = _EXTRAS.get(pool.cluster, pool.cluster.value)
    missing = None if is_installed(_LIBRARIES[pool.cluster]) else f"pip install 'headrace[{extra}]'"
    return {"cluster": pool.cluster.value, "missing": missing, **shown}


def _shown(
    settings: Ec2Settings | SlurmSettings | GcpSettings | AzureSettings | OpenStackSettings,
    lease: Lease,
    offer: Offer,
    identity: ClusterIdentity,
    now_at: float,
) -> dict[str, Any]:
    spot, kind = offer.purchase is Purchase.SPOT, offer.instance_type or ""
    ends_at, owner = lease.ends_at + 30.0, "the-site-s-owner"
    if isinstance(settings, SlurmSettings):
        logs = identity.directory.parent / "logs"
        resource = settings.gres_of(offer.device)
        jobs = slurm_job.SlurmOrder(lease, settings, owner, resource, 300.0, lease.ends_at + 5.0, identity, logs)
        return {"class": "dask_jobqueue.SLURMCluster", "arguments": slurm_job.cluster_arguments(jobs, now_at)}
    order = MachineOrder(
        lease, settings, owner, kind, offer.device, spot, 300.0, ends_at, offer.boot_s + 210.0, identity
    )
    if isinstance(settings, Ec2Settings):
        arguments = ec2_arguments.cluster_arguments(order, settings.subnets[0], now_at)
        return {"class": "dask_cloudprovider.aws.EC2Cluster", "arguments": arguments}
    rendered = render(order, now_at)
    return {
        "class": rendered.cluster_class,
        "config": rendered.config,
        "arguments": rendered.arguments,
        "scheduler_options": rendered.scheduler_options,
        "worker_options": rendered.worker_options,
        "requests": {role: _request(order, role, now_at) for role in ("scheduler", "worker")},
    }


def _request(order: MachineOrder, role: str, now_at: float) -> dict[str, Any]:
    if isinstance(order.settings, AzureSettings):
        interface = azure_interface(order, f"<id of {order.settings.security_group}>")
        machine = azure_machine(order, role, "<name>", USER_DATA, "<its interface>", "<a key that nobody has>")
        return {"interface": interface, "machine": machine}
    if isinstance(order.settings, OpenStackSettings):
        return openstack_server(order, role, "<name>", USER_DATA)
    settings = order.settings
    body = {
        "name": "<name>",
        "networkInterfaces": [
            {
                "subnetwork": f"projects/{settings.network_project or settings.project}/regions/{settings.region}"
                f"/subnetworks/{settings.subnetwork}"
            }
        ],
        "disks": [{"boot": "true", "autoDelete": "true", "initializeParams": {"sourceImage": settings.image}}],
        "metadata": {"items": [{"key": "user-data", "value": USER_DATA}]},
    }
    return gcp_body(body, order, role, now_at)

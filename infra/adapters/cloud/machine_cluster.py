"""dask-cloudprovider's clusters on GCP, Azure and OpenStack with what a lease needs of them (see ``rendering``).

As on EC2, a machine's user-data holds its own certificate and little else, each machine has its own, every step of a start
has a deadline, and machines carry the lease's tags from their first moment. Unlike there, workers' machines are made when
the scheduler serves: a start takes two boots.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import time
from collections.abc import Callable
from typing import Any

import dask.config
from distributed.deploy.spec import ProcessInterface
from distributed.security import Security

from infra import faults
from infra.adapters.cloud.order import MachineOrder
from infra.adapters.cloud.rendering import (
    azure_interface,
    azure_machine,
    gcp_body,
    openstack_server,
    render,
)
from infra.adapters.cloud.steps import NoCapacity, StartSteps, answers
from infra.adapters.cloud.tags import CloudMachine
from infra.adapters.cloud.user_data import inherited, machine_configuration
from infra.core.inventory import Cluster
from infra.faults import Point

CREATE_TIMEOUT_S = 180.0
POLL_S = 0.5
NO_CAPACITY_WORDS = (
    *("ZONE_RESOURCE_POOL_EXHAUSTED", "QUOTA_EXCEEDED", "quotaExceeded", "does not have enough resources available"),
    *(
        "SkuNotAvailable",
        "AllocationFailed",
        "QuotaExceeded",
        "OverconstrainedAllocationRequest",
        "OperationNotAllowed",
    ),
    *("No valid host", "Quota exceeded", "NoValidHost"),
)
"""What GCP, Azure and OpenStack say when they have no such machine to give."""


class _Told:
    """Mixed into the library's machines: what they are told, and that making one has a deadline."""

    role: str
    cluster: LeaseMachines
    machine_id = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Not all of the library's classes pass these on.
        self.bootstrap = False
        self.gpu_instance = self.role == "worker" and self.cluster.order.gpu

    @property
    def set_env(self) -> str:
        """What the container's command begins with; the library would put all of its configuration here."""
        if not hasattr(self, "_told"):
            order = self.cluster.order
            self._told = inherited(
                machine_configuration(order.identity, self.role, self.cluster.certificate(self.role))
            )
        return self._told

    @set_env.setter
    def set_env(self, _librarys: str) -> None:
        return None

    async def create_vm(self) -> tuple[str, None]:
        """Make the machine; its private address."""
        async with self.cluster.step(f"creating the {self.role}'s machine", CREATE_TIMEOUT_S):
            try:
                address = await self.create()
            except Exception as problem:
                if any(words in str(problem) for words in NO_CAPACITY_WORDS):
                    self.cluster.refused(self.machine_id)
                    raise NoCapacity(f"NO_CAPACITY: {problem}") from problem
                raise
        faults.passed(Point.MACHINES_ASKED)
        return address, None

    async def create(self) -> str:
        """The provider's part."""
        address, _ = await super().create_vm()
        return address

    async def close(self) -> None:
        """Only marked as closed: machines are ended by their tags, all at once, also those that were half made."""
        await ProcessInterface.close(self)

    def made(self, machine_id: str) -> None:
        """Write down that it was asked for."""
        region, now_at = getattr(self.cluster.order.settings, "region", ""), time.time()
        tags = self.cluster.order.tags
        self.machine_id = machine_id
        self.cluster.written(CloudMachine(machine_id, region, "pending", now_at, 0.0, "", self.name, tags), self.role)

    async def wait_for_scheduler(self) -> None:
        """Wait until its port answers.

        Raises:
            RuntimeError: When it does not answer in time.
        """
        host, _, port = self.address.rpartition("/")[2].rpartition(":")
        async with self.cluster.step("waiting for the scheduler to answer", self.cluster.order.serve_timeout_s):
            while not await answers(host, int(port)):
                await asyncio.sleep(POLL_S)


class _Gcp(_Told):
    def create_gcp_config(self) -> dict[str, Any]:
        """The request for the machine."""
        self.made(self.name)
        return gcp_body(super().create_gcp_config(), self.cluster.order, self.role, time.time())

    async def update_status(self) -> str:
        """The machine's state; one that is not listed yet is being made."""
        listed = self.cluster.compute.instances().list(
            project=self.projectid, zone=self.zone, filter=f"name={self.name}"
        )
        found = (await self.call_async(listed.execute)).get("items", ())
        status = found[0]["status"] if found else "PROVISIONING"
        if status in ("STOPPING", "TERMINATED", "SUSPENDED"):
            raise RuntimeError(f"the machine {self.name} ended while it started: {status}")
        return str(status)


class _Azure(_Told):
    async def create(self) -> str:
        """Make interface and machine. Bodies go as they are: the library's own are in a form of older clients."""
        cluster, order, group = self.cluster, self.cluster.order, self.cluster.resource_group
        network, compute = cluster.network_client, cluster.compute_client
        firewall = await self.call_async(network.network_security_groups.get, group, self.security_group)
        self.made(self.name)
        body = json.dumps(azure_interface(order, firewall.id)).encode()
        interfaces, machines = network.network_interfaces, compute.virtual_machines
        made = await self.call_async(interfaces.begin_create_or_update, group, self.nic_name, body)
        self.nic = await self.call_async(made.result)
        told = base64.b64encode(cluster.render_process_cloud_init(self).encode()).decode()
        machine = azure_machine(order, self.role, self.name, told, self.nic.id, throwaway_public_key())
        made = await self.call_async(machines.begin_create_or_update, group, self.name, json.dumps(machine).encode())
        await self.call_async(made.result)
        self.nic = await self.call_async(interfaces.get, group, self.nic_name)
        return str(self.nic.ip_configurations[0].private_ip_address)


class _OpenStack(_Told):
    async def create(self) -> str:
        """Make the server over a connection of our own: the library's would need its secret in Dask's configuration."""
        connection = self.cluster.connection
        user_data = self.cluster.render_process_cloud_init(self)
        told = openstack_server(self.cluster.order, self.role, self.name, user_data)
        server = await self.call_async(connection.create_server, **told)
        self.instance = server
        self.made(server.id)
        while server.status.upper() != "ACTIVE":
            if server.status.upper() == "ERROR":
                raise RuntimeError(f"the server {self.name} is in error: {(server.fault or {}).get('message', '')}")
            await asyncio.sleep(POLL_S)
            server = await self.call_async(connection.compute.get_server, server.id)
        fixed = [
            address["addr"]
            for network in server.addresses.values()
            for address in network
            if address.get("OS-EXT-IPS:type", "fixed") == "fixed"
        ]
        self.internal_ip = fixed[0]
        return str(fixed[0])


_MACHINES: dict[Cluster, type[_Told]] = {Cluster.GCP: _Gcp, Cluster.AZURE: _Azure, Cluster.OPENSTACK: _OpenStack}


class LeaseMachines(StartSteps):
    """Mixed into the library's cluster: a scheduler and the lease's workers with private addresses, TLS only.

    Args:
        written: Called with each machine when it is asked for, to write it down.
        refused: Called with the id of a machine that the cloud does not have to give.
        connection: OpenStack's connection.
    """

    def __init__(
        self,
        order: MachineOrder,
        written: Callable[[CloudMachine, str], None],
        refused: Callable[[str], None],
        connection: Any = None,
    ) -> None:
        self.order, self.written, self.refused, self.connection = order, written, refused, connection
        self._certificates = [f"worker-{index}" for index in range(order.lease.devices)]
        rendered = render(order, time.time())
        dask.config.set(rendered.config)
        super().__init__(**rendered.arguments, security=Security(**order.identity.security_arguments(("client",))))
        mixin = _MACHINES[order.kind]
        self.scheduler_class = type("LeaseScheduler", (mixin, self.scheduler_class), {"role": "scheduler"})
        self.worker_class = type("LeaseWorker", (mixin, self.worker_class), {"role": "worker"})
        self.scheduler_options |= rendered.scheduler_options
        self.worker_options |= rendered.worker_options

    def certificate(self, role: str) -> str:
        """The certificate of a machine; a worker's is given out once."""
        return "scheduler" if role == "scheduler" else self._certificates.pop(0)

    async def wait_for_all_workers(self) -> tuple[str, ...]:
        """Block until every worker has joined; their Dask names.

        Raises:
            RuntimeError: When one has not joined in time.
        """
        wanted = {worker.name for worker in self.workers.values()}
        async with self.step("waiting for the workers to join", self.order.serve_timeout_s):
            while True:
                known = await self.scheduler_comm.identity(n_workers=-1)
                if wanted <= {worker["name"] for worker in known["workers"].values()}:
                    return tuple(sorted(wanted))
                await asyncio.sleep(POLL_S)


def lease_machines(
    order: MachineOrder,
    written: Callable[[CloudMachine, str], None],
    refused: Callable[[str], None],
    connection: Any = None,
) -> Any:
    """The cluster of a lease, not started yet. One in a process: the library's configuration is the process's."""
    module, _, name = render(order, time.time()).cluster_class.rpartition(".")
    library = getattr(importlib.import_module(module), name)
    return type("LeaseCluster", (LeaseMachines, library), {})(order, written, refused, connection)


def throwaway_public_key() -> str:
    """An SSH key for which Azure asks when no password shall log in. Its private part is gone with this call."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return public.public_bytes(*form).decode()

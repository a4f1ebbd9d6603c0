"""dask-cloudprovider's EC2 cluster with what a lease needs of it; everything else is the library's.

What differs from :class:`dask_cloudprovider.aws.EC2Cluster`, and why:

- A machine's user-data holds its own certificate and little else; the library sends the whole Dask configuration.
- Each machine has its own certificate, made before the first call; so no machine can be added later.
- Disks are encrypted; instances, disks and network interfaces carry the lease's tags from their first moment; the
  metadata service answers to tokens only. The library builds the request itself, so it is amended on its way out.
- A region without capacity is an error at once. EC2 calls it an internal error, which clients repeat for minutes.
- Workers' machines boot while the scheduler's does, for its address is known before it answers. The library makes
  them afterwards, so that a start takes two boots.
- Each step has a deadline and is named when it is missed; the library waits for the scheduler for ever.
- Only workers are spot, and only machines with an NVIDIA device ask Docker for one, judged by the workers' type.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import botocore.config
from botocore.exceptions import BotoCoreError, ClientError
from dask_cloudprovider.aws.ec2 import EC2Cluster, EC2Scheduler, EC2Worker
from distributed.security import Security

from infra import faults
from infra.adapters.cloud.ec2_arguments import cluster_arguments
from infra.adapters.cloud.ec2_fleet import described_machine, machines_of, tag_filters
from infra.adapters.cloud.order import MachineOrder, worker_certificates
from infra.adapters.cloud.steps import NoCapacity, StartSteps, answers
from infra.adapters.cloud.tags import CloudMachine
from infra.adapters.cloud.user_data import inherited, machine_configuration
from infra.faults import Point

LARGEST_BYTES = 16_384
"""EC2's limit for user-data before it is encoded."""

CREATE_TIMEOUT_S = 60.0
POLL_S = 0.1
LOOK_EVERY_S = 5.0
NO_CAPACITY_CODES = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientReservedInstanceCapacity",
        "SpotMaxPriceTooLow",
        "MaxSpotInstanceCountExceeded",
        "VcpuLimitExceeded",
        "InstanceLimitExceeded",
        "InsufficientFreeAddressesInSubnet",
        "Unsupported",
    }
)
"""Errors of ``RunInstances`` that another place or offer may not have, and that trying again at once will not end."""

CLIENT = botocore.config.Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 5})


class _Machine:
    """Mixed into the library's instances."""

    role: str
    cluster: LeaseCluster

    @property
    def set_env(self) -> str:
        """What the container's command begins with; the library would put all of its configuration here."""
        if not hasattr(self, "_told"):
            order = self.cluster.order
            configuration = machine_configuration(
                order.identity, self.role, self.cluster.certificate(self), order.spot and self.role == "worker"
            )
            self._told = inherited(configuration)
        return self._told

    @set_env.setter
    def set_env(self, _librarys: str) -> None:
        return None

    async def create_vm(self) -> tuple[str, None]:
        """Make the machine, or wait for it when that has begun already.

        A call for a machine is always waited for, also when its start is given up: unseen, it would be ended last.
        """
        if not hasattr(self, "_creation"):
            self._creation = self.cluster.begin(self._create())
        return await asyncio.shield(self._creation)

    async def _create(self) -> tuple[str, None]:
        async with self.cluster.step(f"creating the {self.role}'s machine", CREATE_TIMEOUT_S):
            address = await super().create_vm()
        faults.passed(Point.MACHINES_ASKED)
        self.cluster.created(self)
        return address

    async def destroy_vm(self) -> None:
        if self.instance is not None:
            await super().destroy_vm()


class LeaseScheduler(_Machine, EC2Scheduler):
    """The scheduler's machine: no device, never spot."""

    role = "scheduler"

    async def wait_for_scheduler(self) -> None:
        """Wait until its port answers.

        Raises:
            RuntimeError: When its machine ended before that, or it does not answer in time.
        """
        host, _, port = self.address.rpartition("/")[2].rpartition(":")
        self.cluster.begin_workers(self.address)
        async with self.cluster.step("waiting for the scheduler to answer", self.cluster.order.serve_timeout_s):
            look_at = time.monotonic() + LOOK_EVERY_S
            while not await answers(host, int(port)):
                self.cluster.require_creations()
                await asyncio.sleep(POLL_S)
                if time.monotonic() >= look_at:
                    await self.cluster.require_machines()
                    look_at = time.monotonic() + LOOK_EVERY_S


class LeaseWorker(_Machine, EC2Worker):
    """One worker on a machine of its own."""

    role = "worker"


class LeaseCluster(StartSteps, EC2Cluster):
    """A scheduler and the lease's workers in one subnet, TLS only.

    Args:
        written: Called with each machine when it was created, to write it down.
    """

    def __init__(self, order: MachineOrder, subnet: str, written: Callable[[CloudMachine, str], None]) -> None:
        self.order = order
        self._made: set[str] = set()
        self._creations: list[asyncio.Task[tuple[str, None]]] = []
        self._ahead: list[LeaseWorker] = []
        self._written, self._certificates = written, list(worker_certificates(order.lease.devices))
        security = Security(**order.identity.security_arguments(("client",)))
        super().__init__(**cluster_arguments(order, subnet, time.time()), security=security)
        self.scheduler_class, self.worker_class = LeaseScheduler, self._next_worker
        self.scheduler_options["gpu_instance"] = False
        self.worker_options["gpu_instance"] = order.gpu
        self.boto_session = _Session(self.boto_session, order)

    def begin(self, creation: Coroutine[Any, Any, tuple[str, None]]) -> asyncio.Task[tuple[str, None]]:
        """Start making a machine."""
        task = asyncio.ensure_future(creation)
        self._creations.append(task)
        return task

    def begin_workers(self, scheduler: str) -> None:
        """Start making the workers' machines; the cluster asks for them when it is at them."""
        for _ in range(self.order.lease.devices):
            worker = LeaseWorker(scheduler, **self.worker_options)
            worker._creation = self.begin(worker._create())
            self._ahead.append(worker)

    def _next_worker(self, _scheduler: str, **_options: Any) -> LeaseWorker:
        return self._ahead.pop(0)

    def require_creations(self) -> None:
        """Raise what kept a machine from being made."""
        for creation in self._creations:
            if creation.done() and creation.exception() is not None:
                creation.result()

    def certificate(self, machine: _Machine) -> str:
        """The certificate of this machine; a worker's is given out once."""
        return "scheduler" if machine.role == "scheduler" else self._certificates.pop(0)

    def created(self, machine: Any) -> None:
        described = described_machine(self.order.settings.region, machine.instance)
        self._made.add(described.id)
        self._written(described, machine.role)

    async def require_machines(self) -> None:
        """Raise RuntimeError when one of this cluster's machines has ended already."""
        try:
            machines = await self.machines()
        except (OSError, BotoCoreError, ClientError):
            return  # the cloud does not say; the step has its deadline
        for machine in machines:
            # Those of a try in another zone have ended too, and have the same tags.
            if machine.id in self._made and not machine.alive:
                raise RuntimeError(f"the machine {machine.id} ended while it started: {machine.why}")

    async def machines(self) -> list[CloudMachine]:
        """All of the lease's machines, found by their tags."""
        region = self.order.settings.region
        async with self.boto_session.create_client("ec2", region_name=region) as client:
            response = await client.describe_instances(Filters=tag_filters(self.order.tags))
        return machines_of(region, response)

    async def end_machines(self) -> None:
        """Terminate all of the lease's machines in one call, without asking Dask."""
        if self._creations:
            await asyncio.wait(self._creations, timeout=CREATE_TIMEOUT_S / 6)
        region = self.order.settings.region
        ids = [machine.id for machine in await self.machines() if machine.alive]
        if ids:
            async with self.boto_session.create_client("ec2", region_name=region) as client:
                await client.terminate_instances(InstanceIds=ids)

    async def wait_for_all_workers(self) -> tuple[str, ...]:
        """Block until every worker has joined; their Dask names.

        Raises:
            RuntimeError: When one's machine ended before that, or it has not joined in time.
        """
        wanted = {worker.name for worker in self.workers.values()}
        async with self.step("waiting for the workers to join", self.order.serve_timeout_s):
            look_at = time.monotonic() + LOOK_EVERY_S
            while True:
                known = await self.scheduler_comm.identity(n_workers=-1)
                if wanted <= {worker["name"] for worker in known["workers"].values()}:
                    return tuple(sorted(wanted))
                await asyncio.sleep(POLL_S)
                if time.monotonic() >= look_at:
                    await self.require_machines()
                    look_at = time.monotonic() + LOOK_EVERY_S

    def render_process_cloud_init(self, process: Any) -> str:
        text = super().render_process_cloud_init(process)
        if len(text.encode()) > LARGEST_BYTES:
            raise RuntimeError(f"user-data of {len(text.encode())} bytes: EC2 takes {LARGEST_BYTES}")
        return text


class _Session:
    """Makes the library's EC2 clients: with our patience, and amending the request for machines."""

    def __init__(self, session: Any, order: MachineOrder) -> None:
        self._session, self._order = session, order

    def create_client(self, service: str, region_name: str, config: Any = None) -> Any:
        """As the session's own; ``config`` of the library, which tries ten times, is not used."""
        created = self._session.create_client(service, region_name=region_name, config=CLIENT)
        return _Amended(created, self._order)


class _Amended:
    """An asynchronous context manager around the client's own."""

    def __init__(self, created: Any, order: MachineOrder) -> None:
        self._created, self._order = created, order

    async def __aenter__(self) -> Any:
        client = await self._created.__aenter__()
        client.meta.events.register_first("before-parameter-build.ec2.RunInstances", self._amend)
        client.meta.events.register_first("needs-retry.ec2.RunInstances", _refuse_at_once)
        return client

    async def __aexit__(self, *problem: Any) -> Any:
        return await self._created.__aexit__(*problem)

    def _amend(self, params: dict[str, Any], **_: Any) -> None:
        for mapping in params["BlockDeviceMappings"]:
            mapping["Ebs"]["Encrypted"] = True
        params["MetadataOptions"] = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
        tags = [{"Key": key, "Value": value} for key, value in self._order.tags.items()]
        params["TagSpecifications"].append({"ResourceType": "network-interface", "Tags": tags})
        if not params.get("IamInstanceProfile", True):
            del params["IamInstanceProfile"]


def _refuse_at_once(response: Any, **_: Any) -> None:
    error = response[1].get("Error", {}) if response is not None else {}
    if error.get("Code") in NO_CAPACITY_CODES:
        raise NoCapacity(f"NO_CAPACITY: {error['Code']}: {error.get('Message', '')}")

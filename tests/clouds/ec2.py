"""EC2, S3 and STS on one machine: ``python -m tests.clouds.ec2`` runs it and prints what to export.

The API is moto's, on loopback and on the machines' network. Each instance becomes a network namespace with its private
address, in which the container of its user-data runs as a process. Faults: see :class:`tests.clouds.api.Faults`.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clouds.api import Api, Control, Faults
from tests.clouds.hypervisor import ACCOUNT, Hypervisor
from tests.clouds.network import Network, NoFreeSlot

REGION = "eu-central-1"
IMAGE = "ami-0123456789abcdef0"
_running: list[Ec2Emulator] = []


@dataclass(frozen=True)
class Place:
    """Where machines can be made: a subnet of the default network and a security group that lets them talk."""

    region: str
    subnet: str
    security_group: str
    image: str = IMAGE


def missing() -> str:
    """Why the emulator cannot run here; empty when it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it needs root, for network namespaces"
    absent = [tool for tool in ("ip", "tc", "setpriv") if shutil.which(tool) is None]
    return f"{', '.join(absent)} is missing (Debian: apt install iproute2 util-linux)" if absent else ""


class Ec2Emulator:
    """The cloud. Use it as a context manager; one at a time in a process, for moto keeps its books there.

    Args:
        port: Of the API; 0 for any free one.
        directory: Console logs of the machines; a temporary one when it is not given.

    Raises:
        RuntimeError: When it cannot run here (see :func:`missing`) or one runs in this process.
    """

    def __init__(self, boot_s: float = 0.0, port: int = 0, directory: Path | None = None) -> None:
        problem = missing() or ("one runs in this process" if _running else "")
        if problem:
            raise RuntimeError(f"no emulated EC2: {problem}")
        from moto.core.models import reset_model_data  # noqa: F401  (moto's absence is told here, before anything exists)

        self._boot_s, self._port, self._given = boot_s, port, directory
        self._undo: contextlib.ExitStack = contextlib.ExitStack()

    def __enter__(self) -> Ec2Emulator:
        with contextlib.ExitStack() as stack:
            _running.append(self)
            stack.callback(_running.remove, self)
            self._network = Network()
            stack.callback(self._network.close)
            self.directory = directory = self._given or Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-cloud-"))
            )
            stack.callback(_forget_books)
            _forget_books()
            _own_networks(self._network, stack)
            _end_once(stack)
            books = threading.Lock()
            self._api = Api(_moto(), books, lambda: self._hypervisor.look(), self._act)
            self._api.faults.boot_s = self._boot_s
            self._hypervisor = Hypervisor(self._network, directory, self._api.faults, books)
            stack.callback(self._hypervisor.stop)
            self.url = self._serve(stack, "127.0.0.1", self._port)
            self._serve(stack, self._network.gateway_of(REGION), int(self.url.rpartition(":")[2]))
            self._hypervisor.start()
            self._undo = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    @property
    def faults(self) -> Faults:
        return self._api.faults

    @property
    def calls(self) -> list[Any]:
        """EC2 calls so far, see :class:`tests.clouds.api.Call`."""
        return self._api.calls

    @property
    def slot(self) -> int:
        """Its number among the emulators of this computer, which is in the names of its namespaces."""
        return self._network.slot

    @property
    def control(self) -> Control:
        return Control(self.url)

    def environment(self, region: str = REGION) -> dict[str, str]:
        """Variables with which any AWS client finds this cloud."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "emulated",
            "AWS_SECRET_ACCESS_KEY": "emulated-secret",
            "AWS_DEFAULT_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str = "ec2", region: str = REGION) -> Any:
        """A boto3 client of this cloud."""
        import boto3

        values = self.environment(region)
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=values["AWS_ENDPOINT_URL"],
            aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
        )

    def place(self, region: str = REGION) -> Place:
        """A subnet and a new security group of a region's default network."""
        ec2 = self.client(region=region)
        subnet = ec2.describe_subnets()["Subnets"][0]
        name = f"headrace-{len(self.calls)}"
        group = ec2.create_security_group(GroupName=name, Description="machines", VpcId=subnet["VpcId"])
        return Place(region, subnet["SubnetId"], group["GroupId"])

    def instances(self, region: str = REGION, ended: bool = False) -> list[dict[str, Any]]:
        """Instances as the API describes them; without the terminated ones unless ``ended``."""
        reservations = self.client(region=region).describe_instances()["Reservations"]
        found = [instance for reservation in reservations for instance in reservation["Instances"]]
        return [instance for instance in found if ended or instance["State"]["Name"] != "terminated"]

    def console(self, instance_id: str) -> str:
        return self._hypervisor.machine(instance_id).console

    def _act(self, name: str, arguments: dict[str, Any]) -> Any:
        if name == "machines":
            return [_row(machine.facts) for machine in self._hypervisor.machines()]
        machine = self._hypervisor.machine(arguments["instance"])
        if name == "reclaim":
            self._hypervisor.reclaim(machine.facts.id, float(arguments["notice_s"]))
        elif name == "fail":
            self._hypervisor.fail(machine.facts.id)
        elif name == "console":
            return machine.console
        elif machine.wire is None:
            raise ValueError(f"{machine.facts.id} does not run yet")
        elif name == "cut":
            machine.wire.cut()
        elif name == "mend":
            machine.wire.mend()
        elif name == "limit":
            machine.wire.limit(arguments["mbps"])
        else:
            raise ValueError(f"no such action: {name}")
        return None

    def _serve(self, stack: contextlib.ExitStack, host: str, port: int) -> str:
        from moto.moto_server.werkzeug_app import MotoRequestHandler
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        server = make_server(host, port, self._api, threaded=True, request_handler=MotoRequestHandler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name=f"api {host}", daemon=True)
        thread.start()

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        stack.callback(stop)
        return f"http://{host}:{server.server_port}"


def _moto() -> Any:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    return DomainDispatcherApplication(create_backend_app)


def _forget_books() -> None:
    from moto.backends import get_backend

    for service in ("ec2", "s3", "sts", "iam"):
        get_backend(service).reset()


def _own_networks(network: Network, stack: contextlib.ExitStack) -> None:
    """Let each region's default network have a range of its own, for they share one bridge here."""
    from moto.ec2.models.subnets import Subnet
    from moto.ec2.models.vpcs import VPCBackend

    # Moto gives an address away again while the machine that had it still shuts down.
    stack.callback(setattr, Subnet, "del_subnet_ip", Subnet.del_subnet_ip)
    Subnet.del_subnet_ip = lambda *_: None
    usual = VPCBackend.create_default_vpc

    def create_default_vpc(backend: Any) -> Any:
        vpc = backend.create_vpc(cidr_block=network.range_of(backend.region_name), is_default=True)
        for zone in backend.describe_availability_zones():
            backend.create_default_subnet(zone.name)
        return vpc

    VPCBackend.create_default_vpc = create_default_vpc
    stack.callback(setattr, VPCBackend, "create_default_vpc", usual)


def _end_once(stack: contextlib.ExitStack) -> None:
    """Terminating an instance again is no error at AWS, and changes nothing; moto trips over it."""
    from moto.ec2.models.instances import Instance

    usual, lock = Instance.terminate, threading.Lock()

    def terminate(instance: Any) -> Any:
        with lock:
            return copy.copy(instance._state) if instance.state == "terminated" else usual(instance)

    Instance.terminate = terminate
    stack.callback(setattr, Instance, "terminate", usual)


def _row(facts: Any) -> dict[str, Any]:
    row = {"id": facts.id, "region": facts.region, "address": facts.address}
    return row | {"type": facts.instance_type, "spot": facts.spot, "tags": facts.tags}


def main(arguments: list[str] | None = None) -> int:
    """Run the emulated cloud until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.clouds.ec2", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="of the API; any free one when it is not given")
    parser.add_argument("--boot-s", type=float, default=2.0, help="seconds until a machine runs its user-data")
    parser.add_argument("--region", default=REGION)
    parser.add_argument("--bucket", default="headrace", help="S3 bucket to make")
    options = parser.parse_args(arguments)
    if problem := missing():
        print(f"no emulated EC2: {problem}", file=sys.stderr)
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with Ec2Emulator(boot_s=options.boot_s, port=options.port) as cloud:
            place = cloud.place(options.region)
            where = {"CreateBucketConfiguration": {"LocationConstraint": options.region}}
            cloud.client("s3", options.region).create_bucket(
                Bucket=options.bucket, **({} if options.region == "us-east-1" else where)
            )
            for name, value in cloud.environment(options.region).items():
                print(f"export {name}={value}")
            print(f"# account {ACCOUNT}, bucket {options.bucket}; in a site's pool:")
            print(f"# ec2: {{region: {place.region}, image: {place.image}, subnets: [{place.subnet}],")
            print(f"#       security_groups: [{place.security_group}], docker_image: any}}", flush=True)
            stop.wait()
    except NoFreeSlot as problem:
        print(f"no emulated EC2: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

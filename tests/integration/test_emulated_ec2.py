"""The emulated cloud itself: the library's own class runs on it, faults, and that it cleans up after a killed one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest

from tests.clouds.api import Control
from tests.clouds.ec2 import Ec2Emulator
from tests.clouds.network import namespaces
from tests.clouds.user_data import Container, Ignored, PowerOff, steps
from tests.integration.clusters_support import until
from tests.integration.ec2_support import ON_EC2

on_ec2 = pytest.mark.usefixtures("cloud")
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ec2Emulator]:
    with Ec2Emulator() as running:
        yield running


def on_emulator(function: Any) -> Any:
    for mark in ON_EC2:
        function = mark(function)
    return function


SERVER = "#cloud-config\nruncmd:\n - docker run --net=host -e A=b any python -m http.server 8000\n - shutdown -h now\n"


def start(cloud: Ec2Emulator, user_data: str = SERVER, **changes: Any) -> dict[str, Any]:
    place = cloud.place()
    answer = cloud.client().run_instances(
        ImageId=place.image, InstanceType="m5.large", MinCount=1, MaxCount=1, SubnetId=place.subnet,
        UserData=user_data, InstanceInitiatedShutdownBehavior="terminate", **changes,
    )  # fmt: skip
    return answer["Instances"][0]


def serves(address: str, port: int = 8000) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


UNMODIFIED = """
import sys
from dask_cloudprovider.aws import EC2Cluster
from distributed import Client
region, image, subnet, group = sys.argv[1:]
arguments = dict(region=region, ami=image, subnet_id=subnet, security_groups=[group], bootstrap=False, n_workers=2)
with EC2Cluster(**arguments, use_private_ip=True, docker_image="any") as cluster, Client(cluster, timeout=30) as client:
    client.wait_for_workers(2, timeout=30)
    hosts = {worker["host"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()}
    print("computed", client.submit(pow, 3, 4).result(), len(hosts))
"""


@on_emulator
def test_the_unmodified_cluster_class_runs_on_it(cloud: Ec2Emulator, tmp_path: Path) -> None:
    place = cloud.place()
    command = [sys.executable, "-c", UNMODIFIED, place.region, place.image, place.subnet, place.security_group]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **cloud.environment()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "computed 81 2" in done.stdout, done.stderr[-2000:]
    until(lambda: not cloud.control.machines() and not cloud.instances())


@on_emulator
def test_machines_boot_serve_are_cut_off_and_end(cloud: Ec2Emulator) -> None:
    cloud.faults.boot_s = 6.0
    machine = start(cloud)
    address, identity = machine["PrivateIpAddress"], machine["InstanceId"]
    assert not serves(address), "it boots for six seconds, and a connection is tried for one"
    until(lambda: serves(address))
    cloud.control.cut(identity)
    assert not serves(address)
    cloud.control.mend(identity)
    until(lambda: serves(address))
    cloud.control.limit(identity, 1.0)
    cloud.control.limit(identity, None)
    cloud.client().terminate_instances(InstanceIds=[identity])
    until(lambda: not serves(address) and not namespaces(cloud.slot))
    cloud.client().terminate_instances(InstanceIds=[identity])
    cloud.faults.boot_s = 0.0


@on_emulator
def test_a_thin_wire_is_thin(cloud: Ec2Emulator, tmp_path: Path) -> None:
    import urllib.request

    machine = start(cloud)
    url = f"http://{machine['PrivateIpAddress']}:8000/console.log"
    until(lambda: serves(machine["PrivateIpAddress"]))
    (cloud.directory / machine["InstanceId"] / "root" / "console.log").write_bytes(bytes(400_000))

    def fetch_s(mbps: float | None) -> float:
        cloud.control.limit(machine["InstanceId"], mbps)
        begun = time.monotonic()
        assert len(urllib.request.urlopen(url, timeout=30).read()) == 400_000
        return time.monotonic() - begun

    assert fetch_s(2.0) > 1.0, "3.2 Mbit at 2 Mbit/s, less what a burst holds"
    # A computer that does other things makes a wide wire thin for a moment, and not each time.
    assert min(fetch_s(None) for _ in range(3)) < 1.0
    cloud.client().terminate_instances(InstanceIds=[machine["InstanceId"]])
    until(lambda: not cloud.control.machines())


@on_emulator
def test_a_machine_goes_off_by_itself_in_the_two_ways_that_user_data_can_ask_for(cloud: Ec2Emulator) -> None:
    ends = start(cloud, "#cloud-config\nruncmd:\n - docker run any python -c 1\n - shutdown -h now\n")
    timer = start(cloud, SERVER.replace(" - docker", " - systemd-run --on-active=1s /sbin/shutdown -h now\n - docker"))
    ids = {ends["InstanceId"], timer["InstanceId"]}
    until(lambda: not ids & {found["InstanceId"] for found in cloud.instances()})
    reasons = {found["InstanceId"]: found["StateReason"]["Code"] for found in cloud.instances(ended=True)}
    assert {reasons[identity] for identity in ids} == {"Client.InstanceInitiatedShutdown"}
    until(lambda: not cloud.control.machines())


@on_emulator
def test_faults_look_as_at_aws(cloud: Ec2Emulator) -> None:
    def error(**changes: Any) -> str:
        cloud.control.faults(**changes)
        once = boto3.session.Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=30)
        values = cloud.environment()
        ec2 = boto3.client("ec2", region_name="eu-central-1", endpoint_url=cloud.url, config=once,
            aws_access_key_id=values["AWS_ACCESS_KEY_ID"], aws_secret_access_key="any")  # fmt: skip
        try:
            ec2.run_instances(ImageId=place.image, InstanceType="p4d.24xlarge", MinCount=1, MaxCount=1)
        except botocore.exceptions.ClientError as problem:
            return problem.response["Error"]["Code"]
        except botocore.exceptions.BotoCoreError as problem:
            return type(problem).__name__
        return ""

    place = cloud.place()
    assert error(no_capacity=[["p4d.24xlarge", "on-demand"]]) == "InsufficientInstanceCapacity"
    assert error(no_capacity=[], throttle_calls=1) == "RequestLimitExceeded"
    assert error(error="InternalError") == "InternalError"
    assert error(error="", unreachable=True) in ("ConnectionClosedError", "EndpointConnectionError")
    cloud.control.faults(unreachable=False)
    assert cloud.instances() == []


@on_emulator
def test_a_killed_emulator_s_machines_die_and_the_next_one_cleans_up(cloud: Ec2Emulator) -> None:
    command = [sys.executable, "-m", "tests.clouds.ec2", "--boot-s", "0"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(8)]
    said = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines if line.startswith("export "))
    ec2 = boto3.client("ec2", region_name=said["AWS_DEFAULT_REGION"], endpoint_url=said["AWS_ENDPOINT_URL"],
        aws_access_key_id=said["AWS_ACCESS_KEY_ID"], aws_secret_access_key=said["AWS_SECRET_ACCESS_KEY"])  # fmt: skip
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    ec2.run_instances(ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1, SubnetId=subnet, UserData=SERVER)
    control = Control(said["AWS_ENDPOINT_URL"])
    until(control.machines)
    [row] = control.machines()
    until(lambda: serves(row["address"]))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until(lambda: not serves(row["address"]))
    # Other emulators of this computer go on meanwhile.
    [left] = [name for name in namespaces() if row["id"] in name]
    again = subprocess.run([sys.executable, "-c", "from tests.clouds.network import Network; Network().close()"],
        env=environment, capture_output=True, text=True, check=True)  # fmt: skip
    assert again.stderr == ""
    until(lambda: left not in namespaces())  # another emulator that starts now may be at it


def test_user_data_is_taken_apart_without_a_shell() -> None:
    import base64

    text = """#cloud-config
runcmd:
  - systemd-run --on-calendar="2026-11-24 17:30:05 UTC" --on-active=90s --timer-property=AccuracySec=1s /sbin/shutdown -h now
  - curl -fsSL https://example.org | apt-key add -
  - 'docker run --net=host --gpus=all -e NAME="a b" --shm-size 1g image env X="y" python --spec ''{"cls": "W"}'''
  - shutdown -h +2
  - [systemctl, poweroff]
"""
    timer, curl, container, later, off = steps(base64.b64encode(text.encode()))
    assert timer == PowerOff(after_s=90.0, at=1_795_541_405.0)
    assert isinstance(curl, Ignored)
    assert container == Container("image", ["env", "X=y", "python", "--spec", '{"cls": "W"}'], {"NAME": "a b"}, True)
    assert (later, off) == (PowerOff(after_s=120.0), PowerOff(after_s=0.0))
    with pytest.raises(ValueError, match="no #cloud-config"):
        steps(base64.b64encode(b"#!/bin/sh"))

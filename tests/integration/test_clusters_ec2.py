"""Leases on the emulated EC2 under attack: secrets, strangers, kills, no capacity, reclaims, and that nothing is left."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.adapters.cloud.reclaim_notice import announced_end
from infra.adapters.clusters_ec2 import Ec2Cloud
from infra.adapters.local_cloud.environment import machine_environment
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.adapters.objects import MemoryStore
from infra.core.errors import UnavailableError
from infra.core.workload import WorkKind
from infra.ports import ClusterAddress, ReapReason
from infra.worker.reaper import SiteReaper
from tasks.departures import announced_in
from tests.clouds.ec2 import Ec2Emulator
from tests.integration.clusters_support import client, kill_keeper, lease, open_short, reaches, security, until
from tests.integration.ec2_support import (
    ON_EC2,
    SCHEDULER_TYPE,
    WORKER_TYPE,
    ec2_offer,
    ec2_provider,
    ec2_site,
    told_configuration,
    user_data,
)
from tests.work_support import digits, do, put_version

pytestmark = list(ON_EC2)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ec2Emulator]:
    with Ec2Emulator() as running:
        yield running


@pytest.fixture
def provider(cloud: Ec2Emulator, tmp_path: Path) -> Iterator[Ec2Cloud]:
    with ec2_provider(cloud, tmp_path) as made:
        yield made


def of_lease(cloud: Ec2Emulator, lease_id: str, ended: bool = False) -> list[dict[str, Any]]:
    tagged = {"Key": "headrace:lease", "Value": lease_id}
    return [instance for instance in cloud.instances(ended=ended) if tagged in instance.get("Tags", ())]


def dask_security(configuration: dict[str, Any], role: str) -> Any:
    from distributed.security import Security

    tls = configuration["distributed"]["comm"]["tls"]
    own = {f"tls_{role}_cert": tls[role]["cert"], f"tls_{role}_key": tls[role]["key"]}
    return Security(tls_ca_file=tls["ca-file"], require_encryption=True, **own)


def test_machines_hold_their_own_secrets_only_and_clusters_keep_strangers_out(
    cloud: Ec2Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "prefect-secret")
    monkeypatch.setenv("DASK_CLOUDPROVIDER__EC2__KEY_NAME", "somebodys-key")
    with ec2_provider(cloud, tmp_path) as provider:
        site = ec2_site(cloud)
        with ThreadPoolExecutor() as pool:
            opened = pool.map(lambda args: provider.open(*args, site), [
                (lease("a", 2), ec2_offer(spot=True)), (lease("b"), ec2_offer()),
            ])  # fmt: skip
            mine, other = opened
        told = {name: check_machines(cloud, tmp_path, name) for name in ("a", "b")}
        own_keys = [key for machines in told.values() for key in machines]
        assert len(own_keys) == len(set(own_keys)) == 5, "each machine has a key of its own"

        assert reaches(mine.scheduler, security(mine), "client")
        assert not reaches(mine.scheduler, security(other), "client")
        [worker] = [found for found in told["a"].values() if "worker" in found["distributed"]["comm"]["tls"]][:1]
        assert reaches(mine.scheduler, dask_security(worker, "worker"), "worker")
        assert not reaches(other.scheduler, dask_security(worker, "worker"), "worker")
        # The site has given the machines their keys away; of its own it keeps the client's.
        tls = LeaseDirectory.of(tmp_path, "a").tls
        assert [path.name for path in tls.glob("*.key")] == ["client.key"]


def check_machines(cloud: Ec2Emulator, state_dir: Path, lease_id: str) -> dict[str, dict[str, Any]]:
    """Look at all machines of a lease; the configuration of each by its key."""
    client_key = (LeaseDirectory.of(state_dir, lease_id).tls / "client.key").read_text().splitlines()[1]
    told: dict[str, dict[str, Any]] = {}
    for instance in of_lease(cloud, lease_id):
        text = user_data(cloud, instance["InstanceId"])
        configuration = told_configuration(text)
        tls = configuration["distributed"]["comm"]["tls"]
        role = "scheduler" if instance["InstanceType"] == SCHEDULER_TYPE else "worker"
        assert len(text.encode()) < 16_384 / 2
        assert set(tls) == {"ca-file", "min-version", role}
        no_pages = {"http": {"routes": []}}
        spot = (
            {"preload": ["infra.adapters.cloud.reclaim_notice"]} if instance.get("InstanceLifecycle") == "spot" else {}
        )
        assert configuration == {"distributed": {"comm": {"default-scheme": "tls", "require-encryption": True, "tls": tls},
            "scheduler": no_pages, "worker": no_pages | spot}}  # fmt: skip
        assert bool(spot) == (role == "worker" and lease_id == "a")
        everything = text + str(configuration)
        for secret in (client_key, "prefect-secret", "emulated-secret", "somebodys-key", "PREFECT", "AWS_"):
            assert secret not in everything
        assert everything.count("PRIVATE KEY") == 2, "one key: its beginning and its end"
        assert yaml.safe_load(text)["runcmd"][0].startswith("systemd-run --on-calendar=")
        assert ("--gpus=all" in text) == (role == "worker")
        assert (instance.get("InstanceLifecycle") == "spot") == (role == "worker" and lease_id == "a")
        assert instance["InstanceType"] == (WORKER_TYPE if role == "worker" else SCHEDULER_TYPE)
        assert "PublicIpAddress" not in instance
        assert "KeyName" not in instance
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
        wanted = {
            "headrace:lease": lease_id,
            "headrace:run": "run-1",
            "headrace:attempt": "1",
            "headrace:site": "site-a",
        }
        assert wanted.items() <= tags.items()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", tags["headrace:expires-at"])
        [disk] = [mapping["Ebs"]["VolumeId"] for mapping in instance["BlockDeviceMappings"]]
        [volume] = cloud.client().describe_volumes(VolumeIds=[disk])["Volumes"]
        assert volume["Encrypted"]
        assert {"Key": "headrace:lease", "Value": lease_id} in volume["Tags"]
        told[tls[role]["key"]] = configuration
    asked = [call.form for call in cloud.calls if call.action == "RunInstances"]
    kinds = {form[f"TagSpecification.{number}.ResourceType"] for form in asked for number in (1, 2, 3)}
    assert kinds == {"instance", "volume", "network-interface"}
    return told


OPENER = """
import sys, time
from pathlib import Path
from infra.adapters.clusters_ec2 import Ec2Cloud
from infra.core.inventory import *
from tests.integration.clusters_support import SITE, lease
from tests.integration.ec2_support import ec2_offer
settings = Ec2Settings(sys.argv[2], sys.argv[3], (sys.argv[4],), (sys.argv[5],), "any")
site = Site(SITE, "DE", TrustZone.PRIVATE, (Pool(SITE, Cluster.EC2, (ec2_offer(),), settings),))
Ec2Cloud(Path(sys.argv[1])).open(lease("orphan"), ec2_offer(), site)
print("open", flush=True)
time.sleep(600)
"""


def opener(cloud: Ec2Emulator, state_dir: Path) -> subprocess.Popen:
    place = cloud.place()
    command = [sys.executable, "-c", OPENER, str(state_dir), place.region, place.image, place.subnet]
    environment = machine_environment(state_dir, cloud.environment())
    process = subprocess.Popen([*command, place.security_group], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    return process


@pytest.mark.parametrize("with_keeper", [False, True], ids=["opener", "opener and keeper"])
def test_a_killed_opener_leaves_nothing(
    cloud: Ec2Emulator, provider: Ec2Cloud, tmp_path: Path, with_keeper: bool
) -> None:
    process = opener(cloud, tmp_path)
    assert len(of_lease(cloud, "orphan")) == 2
    reaper = SiteReaper(tmp_path, environ={**os.environ, **cloud.environment()})
    assert reaper.reap(time.time()) == []
    if with_keeper:
        kill_keeper(tmp_path, "orphan")
    process.kill()
    process.communicate()
    if not with_keeper:
        # The keeper sees it, and ends the machines before anybody else looks.
        until(lambda: not of_lease(cloud, "orphan"), 25)
    else:
        [would] = reaper.reap(time.time(), dry_run=True)
        assert (would.reason, len(would.machines)) == (ReapReason.ORPHANED, 2)
        assert len(of_lease(cloud, "orphan")) == 2
    [did] = reaper.reap(time.time())
    assert (did.lease_id, did.reason, len(did.machines)) == ("orphan", ReapReason.ORPHANED, 2 if with_keeper else 0)
    assert of_lease(cloud, "orphan") == []
    assert reaper.reap(time.time()) == []
    assert reaper.problems == []


def test_machines_end_by_themselves_with_nobody_alive(
    cloud: Ec2Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ec2Cloud, "hard_end_margin_s", 1.0)
    hard_dir, idle_dir = tmp_path / "hard", tmp_path / "idle"
    with ec2_provider(cloud, hard_dir) as provider, ec2_provider(cloud, idle_dir, idle_timeout_s=12.0) as idle:
        hard, _ = open_short(provider, "hard", 16.0, ec2_offer(), ec2_site(cloud), needs_s=4.0)
        kill_keeper(hard_dir, hard.id)
        idle.open(lease("idle"), ec2_offer(), ec2_site(cloud))
        kill_keeper(idle_dir, "idle")
        calls = len(cloud.calls)
        until(lambda: not cloud.control.machines(), max(0.0, hard.ends_at - time.time()) + 40.0)
        asked = {call.action for call in cloud.calls[calls:]}
        assert "TerminateInstances" not in asked
        ends = [
            found["StateReason"]["Code"] for name in (hard.id, "idle") for found in of_lease(cloud, name, ended=True)
        ]
        assert ends == ["Client.InstanceInitiatedShutdown"] * 4
        assert provider.leases() == ()


def test_the_documented_rights_are_those_that_are_used(cloud: Ec2Emulator, provider: Ec2Cloud) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "clouds.md").read_text()
    [policy] = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    allowed = {
        action.removeprefix("ec2:")
        for statement in policy["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    site = ec2_site(cloud)
    before = len(cloud.calls)
    provider.open(lease("rights"), ec2_offer(), site)
    provider.close("rights")
    provider.reap(time.time(), 10.0, dry_run=False)
    assert {call.action for call in cloud.calls[before:]} == allowed


def test_no_capacity_is_told_at_once_and_leaves_nothing(cloud: Ec2Emulator, provider: Ec2Cloud) -> None:
    cloud.faults.no_capacity = [[WORKER_TYPE, "spot"]]
    with pytest.raises(UnavailableError, match=r"NO_CAPACITY.*InsufficientInstanceCapacity") as caught:
        provider.open(lease("drought", 2), ec2_offer(spot=True), ec2_site(cloud))
    assert caught.value.code == "CLUSTER_START_FAILED"
    assert caught.value.retryable
    assert provider.leases() == ()
    assert of_lease(cloud, "drought") == []
    assert len(of_lease(cloud, "drought", ended=True)) == 1, "the scheduler's machine had been there"
    assert not provider.had_machines("drought"), "none with a device"
    cloud.faults.no_capacity = [["*", "*"]]
    with pytest.raises(UnavailableError, match="NO_CAPACITY"):
        provider.open(lease("desert"), ec2_offer(), ec2_site(cloud))
    assert not provider.had_machines("desert")


def test_another_zone_is_tried_when_one_has_no_capacity_and_throttling_is_waited_out(
    cloud: Ec2Emulator, provider: Ec2Cloud
) -> None:
    subnets = tuple(found["SubnetId"] for found in cloud.client().describe_subnets()["Subnets"][:2])
    cloud.control.faults(no_capacity=[["*", "*", subnets[0]]], throttle_calls=2)
    provider.open(lease("zones"), ec2_offer(), ec2_site(cloud, subnets))
    assert {found["SubnetId"] for found in of_lease(cloud, "zones")} == {subnets[1]}


def test_closing_a_lease_on_its_way_up_ends_the_start(cloud: Ec2Emulator, provider: Ec2Cloud, tmp_path: Path) -> None:
    cloud.faults.boot_s = 60.0
    caught: list[UnavailableError] = []

    def open_it() -> None:
        try:
            provider.open(lease("unwanted"), ec2_offer(boot_s=60.0), ec2_site(cloud))
        except UnavailableError as error:
            caught.append(error)

    opening = threading.Thread(target=open_it)
    opening.start()
    until(lambda: of_lease(cloud, "unwanted"))
    elsewhere = Ec2Cloud(tmp_path, environ={**os.environ, **cloud.environment()})
    assert elsewhere.leases() == ("unwanted",)
    elsewhere.close("unwanted")
    opening.join(60)
    assert [error.code for error in caught] == ["CLUSTER_START_FAILED"]
    assert elsewhere.leases() == provider.leases() == ()
    assert of_lease(cloud, "unwanted") == []


def test_a_start_that_takes_too_long_says_at_which_step(cloud: Ec2Emulator, provider: Ec2Cloud) -> None:
    cloud.faults.boot_s = 60.0
    provider._start_timeout_s = 16.0  # half of it for the scheduler, so that creating its machine may take a while
    with pytest.raises(UnavailableError, match="waiting for the scheduler to answer"):
        provider.open(lease("slow"), ec2_offer(), ec2_site(cloud))
    assert of_lease(cloud, "slow") == []


def test_machines_of_a_closed_lease_are_found_when_the_cloud_answers_again(
    cloud: Ec2Emulator, provider: Ec2Cloud, tmp_path: Path
) -> None:
    site = ec2_site(cloud)
    provider.open(lease("outage"), ec2_offer(), site)
    provider.close_patience_s = 1.0
    cloud.faults.unreachable = True
    provider.close("outage")
    assert provider.had_machines("outage")
    with pytest.raises(UnavailableError):
        provider.open(lease("unsure"), ec2_offer(), site)
    assert provider.had_machines("unsure"), "nobody could ask whether it had"
    reaper = SiteReaper(tmp_path, environ={**os.environ, **cloud.environment()})
    assert reaper.reap(time.time()) == []
    assert [problem.code for problem in reaper.problems] == ["CLOUD_UNREACHABLE"]
    cloud.faults.unreachable = False
    assert len(of_lease(cloud, "outage")) == 2
    assert provider.leases() == ("outage",)
    [reaped] = reaper.reap(time.time())
    assert (reaped.lease_id, reaped.reason, len(reaped.machines)) == ("outage", ReapReason.NO_LEASE, 2)
    assert of_lease(cloud, "outage") == []


def test_the_reaper_ends_machines_of_no_lease_and_lets_other_people_s_be(
    cloud: Ec2Emulator, provider: Ec2Cloud, tmp_path: Path
) -> None:
    provider.open(lease("ours"), ec2_offer(), ec2_site(cloud))
    [owner] = {
        tag["Value"] for found in of_lease(cloud, "ours") for tag in found["Tags"] if tag["Key"] == "headrace:owner"
    }
    place, made = cloud.place(), {}
    for name in (owner, "somebody-else"):
        tags = [{"Key": "headrace:owner", "Value": name}, {"Key": "headrace:lease", "Value": "never-heard-of"}]
        answer = cloud.client().run_instances(
            ImageId=place.image, InstanceType="t3.small", MinCount=1, MaxCount=1, SubnetId=place.subnet,
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )  # fmt: skip
        made[name] = answer["Instances"][0]["InstanceId"]
    assert provider.reap(time.time(), 10.0, dry_run=False) == [], "it is too young to be judged"
    [reaped] = provider.reap(time.time() + 100, 1000.0, dry_run=False)
    assert (reaped.lease_id, reaped.reason, reaped.machines) == (
        "never-heard-of", ReapReason.NO_LEASE, (made[owner],),
    )  # fmt: skip
    left = {found["InstanceId"] for found in cloud.instances()}
    assert made["somebody-else"] in left
    assert len(left) == 3
    cloud.client().terminate_instances(InstanceIds=[made["somebody-else"]])


def test_a_reclaimed_machine_gets_its_notice_and_is_metered(cloud: Ec2Emulator, provider: Ec2Cloud) -> None:
    address: ClusterAddress = provider.open(lease("spot", 2), ec2_offer(spot=True), ec2_site(cloud))
    [victim, _] = [found for found in of_lease(cloud, "spot") if found["InstanceType"] == WORKER_TYPE]
    name = {tag["Key"]: tag["Value"] for tag in victim["Tags"]}["Name"]
    with client(address) as connected:
        departures = announced_in(connected)
        assert connected.submit(announced_end, workers=[name], pure=False).result() is None
        held = connected.submit(os.getpid, workers=[name], allow_other_workers=True, pure=False)
        pid = held.result()
        cloud.control.reclaim(victim["InstanceId"], notice_s=20.0)
        until(departures)
        until(lambda: len(connected.scheduler_info(n_workers=-1)["workers"]) == 1)
        assert held.result() == pid, "moved to the machine that is left, and not computed again"
    [departure] = departures().values()
    assert 0.0 < departure.ends_at - departure.told_at <= 20.0
    provider.close("spot")
    usage = provider.usage("spot")
    assert usage["reclaimed"] == 1
    assert usage["machine_s"] > 4.0


def test_training_goes_on_with_the_machines_that_are_left(cloud: Ec2Emulator, provider: Ec2Cloud) -> None:
    from distributed import Client

    store = MemoryStore()
    data = put_version(store, "digits", "v1", {"part-00000.parquet": digits(400)})
    parameters = {"epochs": 3, "batch_size": 32, "hidden": 16, "learning_rate": 0.01}
    address = provider.open(lease("train", 2, life_s=240.0), ec2_offer(spot=True), ec2_site(cloud))
    taken: list[str] = []

    def take_one(done: float, total: float, message: str) -> None:
        if not taken and done >= total / 3:
            workers = [found for found in of_lease(cloud, "train") if found["InstanceType"] == WORKER_TYPE]
            taken.append(workers[0]["InstanceId"])
            cloud.control.reclaim(taken[0], notice_s=0.0)

    # As the site's flow has it: actors look for the default client.
    with Client(address.scheduler, security=security(address), timeout=60) as connected:
        result, _ = do(store, connected, WorkKind.TRAINING, (data,), parameters, "wounded", progress=take_one)
    assert taken
    assert (result.detail["workers_lost"], result.detail["workers"]) == (1, 1)
    assert result.metrics["holdout_accuracy"] > 0.5

"""EC2 pools without a cloud: site files, what a machine is told, where credentials come from, what tags say."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.adapters.certificates import forget_machine_keys, issue_identity
from infra.adapters.cloud.accounts import account_environment
from infra.adapters.cloud.ec2_fleet import described_machine
from infra.adapters.cloud.tags import owner_of
from infra.adapters.cloud.user_data import hard_end_command, has_nvidia_gpu, machine_configuration
from infra.core.errors import InputError
from infra.core.inventory import Cluster, Ec2Settings
from infra.documents import load_site
from infra.documents.regions import AWS_COUNTRIES

ROOT = Path(__file__).resolve().parents[2]
SITE_YAML, *_ = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "clouds.md").read_text(), re.DOTALL)
EC2, OFFER = "pools[0].ec2", "pools[0].offers[0]"


def test_the_guide_s_site_file_is_one(tmp_path: Path) -> None:
    path = tmp_path / "aws-fra.yaml"
    path.write_text(SITE_YAML)
    [pool] = load_site(path).pools
    assert pool.cluster is Cluster.EC2
    assert pool.ec2 == Ec2Settings(
        region="eu-central-1",
        image="ami-0123456789abcdef0",
        subnets=("subnet-0123456789abcdef0",),
        security_groups=("sg-0123456789abcdef0",),
        docker_image="registry.example/headrace:1.4",
    )
    assert pool.offers[0].instance_type == "g5.xlarge"


@pytest.mark.parametrize(
    ("old", "new", "code", "path"),
    [
        ("      security_groups: [sg-0123456789abcdef0]\n", "", "NO_SECURITY_GROUP", EC2),
        ("[sg-0123456789abcdef0]", "[]", "NO_SECURITY_GROUP", EC2),
        ("[sg-0123456789abcdef0]", "[default]", "BAD_VALUE", f"{EC2}.security_groups[0]"),
        ("[subnet-0123456789abcdef0]", "[]", "BAD_TYPE", f"{EC2}.subnets"),
        ("image: ami-0123456789abcdef0", "image: ubuntu", "BAD_VALUE", f"{EC2}.image"),
        ("region: eu-central-1", "region: us-east-1", "CONTRADICTORY_SITE", f"{EC2}.region"),
        ("      docker_image: registry.example/headrace:1.4\n", "", "MISSING_KEY", f"{EC2}.docker_image"),
        ("region: eu-central-1", "access_key: AKIA", "UNKNOWN_KEY", f"{EC2}.access_key"),
        ("cluster: ec2", "cluster: attached", "CONTRADICTORY_OFFER", f"{OFFER}.purchase"),
        ("        instance_type: g5.xlarge\n", "", "CONTRADICTORY_POOL", f"{OFFER}.instance_type"),
        ("purchase: spot", "purchase: owned", "CONTRADICTORY_OFFER", OFFER),
    ],
)
def test_bad_ec2_pools(old: str, new: str, code: str, path: str, tmp_path: Path) -> None:
    assert old in SITE_YAML
    file = tmp_path / "aws-fra.yaml"
    file.write_text(SITE_YAML.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_site(file)
    assert caught.value.code == code
    assert caught.value.where.startswith(f"{file}: {path}")
    assert caught.value.remedy
    if code == "NO_SECURITY_GROUP":
        assert "internet" in caught.value.problem


def test_every_region_is_in_a_country() -> None:
    assert all(re.fullmatch(r"[A-Z]{2}", country) for country in AWS_COUNTRIES.values())
    assert AWS_COUNTRIES["eu-central-1"] == "DE"


@pytest.mark.parametrize(
    ("instance_type", "gpu"),
    [
        *[(name, True) for name in ("p3.2xlarge", "p4d.24xlarge", "g4dn.xlarge", "g5.xlarge", "g6e.4xlarge", "gr6.4xlarge")],
        *[(name, False) for name in ("m5.large", "t3.small", "g4ad.xlarge", "inf2.xlarge", "trn1.2xlarge", "r6gd.large")],
    ],
)  # fmt: skip
def test_gpus_are_told_by_the_type(instance_type: str, gpu: bool) -> None:
    assert has_nvidia_gpu(Cluster.EC2, instance_type) is gpu


def test_a_machine_s_end_is_an_instant_and_a_time_from_boot() -> None:
    at = datetime(2026, 11, 24, 18, 0, 0, 200_000, UTC).timestamp()
    command = hard_end_command(at, at - 90.5)
    assert command == (
        'systemd-run --on-calendar="2026-11-24 18:00:01 UTC" --on-active=91s --timer-property=AccuracySec=1s'
        " /sbin/shutdown -h now"
    )
    assert "--on-active=1s" in hard_end_command(at, at + 5), "what is over ends at once and not never"


def test_each_machine_is_told_its_own_certificate(tmp_path: Path) -> None:
    workers = ("worker-0", "worker-1")
    identity = issue_identity(tmp_path, "lease", 1_800_000_000.0, 1_800_000_600.0, workers)
    told = [machine_configuration(identity, "worker", name) for name in workers]
    owns = [one["distributed"]["comm"]["tls"]["worker"] for one in told]
    assert owns[0]["key"] != owns[1]["key"]
    assert owns[0]["cert"] != owns[1]["cert"]
    client_key = (tmp_path / "client.key").read_text()
    assert client_key not in str(told)
    forget_machine_keys(tmp_path)
    assert [path.name for path in tmp_path.glob("*.key")] == ["client.key"]


def test_the_cloud_s_account_may_be_another_than_the_store_s() -> None:
    store = {"AWS_ACCESS_KEY_ID": "store", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t", "AWS_REGION": "x"}
    assert account_environment(Cluster.EC2, {**store, "PREFECT_API_KEY": "no"}) == store
    own = {"HEADRACE_CLOUD_AWS_ACCESS_KEY_ID": "cloud", "HEADRACE_CLOUD_AWS_SECRET_ACCESS_KEY": "c"}
    assert account_environment(Cluster.EC2, {**store, **own}) == {
        "AWS_ACCESS_KEY_ID": "cloud",
        "AWS_SECRET_ACCESS_KEY": "c",
        "AWS_REGION": "x",
    }


def test_a_site_s_owner_name_is_made_once(tmp_path: Path) -> None:
    assert owner_of(tmp_path) == owner_of(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    assert owner_of(other) != owner_of(tmp_path)


LAUNCHED = datetime(2026, 11, 24, 17, 0, 0, tzinfo=UTC)


def described(state: str, code: str = "", transition: str = "") -> dict[str, Any]:
    return {
        "InstanceId": "i-1",
        "State": {"Name": state},
        "LaunchTime": LAUNCHED,
        "StateReason": {"Code": code},
        "StateTransitionReason": transition,
        "Tags": [{"Key": "headrace:lease", "Value": "lease-1"}, {"Key": "Name", "Value": "w"}],
    }


@pytest.mark.parametrize(
    ("state", "code", "transition", "alive", "why", "lived_s"),
    [
        ("pending", "", "", True, "", None),
        ("stopped", "Client.UserInitiatedShutdown", "", True, "", None),
        ("terminated", "Client.UserInitiatedShutdown", "User initiated (2026-11-24 17:01:00 GMT)", False, "closed", 60),
        (
            "terminated",
            "Server.SpotInstanceTermination",
            "Server.Spot (2026-11-24 17:00:05 GMT)",
            False,
            "reclaimed",
            5,
        ),
        ("shutting-down", "Client.InstanceInitiatedShutdown", "x (2026-11-24 17:00:09 UTC)", False, "shut_down", 9),
        ("terminated", "Server.InternalError", "x (2026-11-24 16:00:00 GMT)", False, "failed", 0),
    ],
)
def test_what_the_cloud_says_of_a_machine(
    state: str, code: str, transition: str, alive: bool, why: str, lived_s: float | None
) -> None:
    machine = described_machine("eu-central-1", described(state, code, transition))
    assert (machine.alive, machine.why, machine.lease_id, machine.name) == (alive, why, "lease-1", "w")
    lived = machine.ended_at - machine.launched_at if machine.ended_at else None
    assert lived == lived_s

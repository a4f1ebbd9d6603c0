"""Leases on stand-ins for GCP, Azure and OpenStack: the library's own classes start them, and nothing is left."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.adapters.cloud.rendering import gcp_labels
from infra.adapters.cloud.tags import owner_of
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.errors import InputError, UnavailableError
from infra.ports import ReapReason
from infra.worker.reaper import SiteReaper
from tests.clouds.stand_in import StandIn
from tests.integration.clusters_support import client, kill_keeper, lease, until
from tests.integration.ec2_support import told_configuration
from tests.integration.stand_in_support import KINDS, SECRETS, machine_offer, machine_provider, machine_site, stand_in

pytestmark = pytest.mark.slow
CALL = {"gcp": "insert", "azure": "machine", "openstack": "server"}
REFUSALS = {
    "gcp": "ZONE_RESOURCE_POOL_EXHAUSTED: the zone does not have enough resources",
    "azure": "(SkuNotAvailable) the requested size is not available in this location",
    "openstack": "No valid host was found. There are not enough hosts available.",
}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[StandIn]:
    with stand_in(tmp_path / "cloud") as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_machines_are_told_little_and_are_found_when_nobody_is_left(kind: str, cloud: StandIn, tmp_path: Path) -> None:
    state, site = tmp_path / "state", machine_site(kind)
    spot = kind != "openstack"
    with machine_provider(kind, cloud, state) as provider:
        address = provider.open(lease("run:1", life_s=600.0), machine_offer(kind, spot), site)
        with client(address) as connected:
            assert connected.submit(pow, 3, 4, workers=list(address.workers)).result() == 81
        assert len(cloud.machines()) == 2
        check_what_was_told(cloud, state)
        assert provider.leases() == ("run:1",)
        assert provider.usage("run:1")["machine_s"] > 0

        kill_keeper(state, "run:1")
        assert len(cloud.machines()) == 2, "machines live on without their keeper"
        reaper = SiteReaper(state, site, environ=SECRETS)
        assert reaper.reap(time.time()) == []
        [would] = reaper.reap(time.time() + 700.0, dry_run=True)
        assert (would.reason, len(would.machines)) == (ReapReason.LEASE_ENDED, 2)
        [did] = reaper.reap(time.time() + 700.0)
        assert (did.lease_id, did.machines) == ("run:1", would.machines)
        assert (cloud.machines(), reaper.problems, provider.leases()) == ([], [], ())
        until(lambda: reaper.reap(time.time() + 700.0) == [])
        requests = cloud.calls(CALL[kind])
        assert [is_spot(kind, told) for told in requests] == [False, spot], "the scheduler's is never spot"


def is_spot(kind: str, told: dict[str, Any]) -> bool:
    if kind == "gcp":
        return told["scheduling"]["provisioningModel"] == "SPOT"
    return told.get("properties", {}).get("priority") == "Spot"


def check_what_was_told(cloud: StandIn, state: Path) -> None:
    tls = LeaseDirectory.of(state, "run:1").tls
    client_key = (tls / "client.key").read_text().splitlines()[1]
    assert [path.name for path in tls.glob("*.key")] == ["client.key"], "machines' keys are with the machines only"
    keys = set()
    for machine in cloud.machines():
        text = machine["user_data"]
        configuration = told_configuration(text)
        role = machine["name"].split("-")[2]
        tls_told = configuration["distributed"]["comm"]["tls"]
        assert set(tls_told) == {"ca-file", "min-version", role}
        assert set(configuration) == {"distributed"}
        keys.add(tls_told[role]["key"])
        everything = text + str(configuration)
        for secret in (client_key, "stand-in-secret", "HEADRACE_CLOUD", "OS_", "AZURE_", "GOOGLE_", "cloudprovider"):
            assert secret not in everything
        assert everything.count("PRIVATE KEY") == 2, "one key: its beginning and its end"
        commands = yaml.safe_load(text)["runcmd"]
        assert commands[0].startswith("systemd-run --on-calendar=")
        assert "apt-get" not in text, "nothing is installed at boot"
        assert ("--gpus=all" in text) == (role == "worker")
        assert len(text.encode()) < 16_384 / 2
    assert len(keys) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_no_capacity_is_told_and_leaves_nothing(kind: str, cloud: StandIn, tmp_path: Path) -> None:
    cloud.faults(refuse=REFUSALS[kind])
    with machine_provider(kind, cloud, tmp_path / "state") as provider:
        with pytest.raises(UnavailableError, match="NO_CAPACITY") as caught:
            provider.open(lease("drought"), machine_offer(kind), machine_site(kind))
        assert (caught.value.code, caught.value.retryable) == ("CLUSTER_START_FAILED", True)
        assert REFUSALS[kind][:20] in str(caught.value)
        assert provider.leases() == ()
        assert list(cloud.folder.glob("*.interface")) == [], "Azure's interface is made before the machine"
        cloud.faults(refuse=REFUSALS[kind], after=1)
        with pytest.raises(UnavailableError, match="NO_CAPACITY"):
            provider.open(lease("half"), machine_offer(kind), machine_site(kind))
        assert not provider.had_machines("half"), "its scheduler came up, and no machine with a device"
        assert provider.usage("half")["machine_s"] == 0.0
        assert cloud.machines() == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_reaper_ends_what_no_lease_justifies_and_lets_others_be(kind: str, cloud: StandIn, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    mine = {"headrace:lease": "lost", "headrace:owner": owner_of(state)}
    other = mine | {"headrace:owner": "somebody"}
    for name, tags in (("mine", mine), ("other", other)):
        body = {
            "name": name,
            "labels": gcp_labels(tags),
            "metadata": {"items": [{"key": "headrace-tags", "value": json.dumps(tags)}]},
        }
        told = {"body": body, "tags": tags, "meta": tags, "interface": {"networkInterfaces": []}}
        cloud.create(name, "#cloud-config\n{}", **told)
    until(lambda: [machine["state"] for machine in cloud.machines()] == ["off", "off"])
    reaper = SiteReaper(state, machine_site(kind), environ=SECRETS)
    [did] = reaper.reap(time.time() + 200.0)
    assert (did.lease_id, did.reason, did.machines) == ("lost", ReapReason.NO_LEASE, ("mine",)), "off is not gone"
    assert [machine["name"] for machine in cloud.machines()] == ["other"]
    cloud.faults(unreachable=True)
    assert reaper.reap(time.time() + 200.0) == []
    assert [problem.code for problem in reaper.problems] == ["CLOUD_UNREACHABLE"]
    cloud.delete("other")


def test_openstack_s_credential_is_missed_before_anything_is_made(cloud: StandIn, tmp_path: Path) -> None:
    with machine_provider("openstack", cloud, tmp_path / "state", environ={}) as provider:
        with pytest.raises(InputError) as caught:
            provider.open(lease("poor"), machine_offer("openstack"), machine_site("openstack"))
        assert (caught.value.code, caught.value.where) == ("SETTING_MISSING", "OS_APPLICATION_CREDENTIAL_ID")
        assert provider.leases() == ()
    assert cloud.calls("connect") == []


def test_openstack_s_connection_is_our_own(cloud: StandIn, tmp_path: Path) -> None:
    cloud.faults(refuse="no")
    with (
        machine_provider("openstack", cloud, tmp_path / "state") as provider,
        pytest.raises(UnavailableError, match="no"),
    ):
        provider.open(lease("c"), machine_offer("openstack"), machine_site("openstack"))
    told = cloud.calls("connect")[0]
    assert told["auth"]["application_credential_secret"] == "stand-in-secret"
    assert (told["auth_type"], told["load_envvars"]) == ("v3applicationcredential", False)

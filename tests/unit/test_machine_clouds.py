"""Pools of GCP, Azure and OpenStack without a cloud: site files, and what the library's classes are told."""

from __future__ import annotations

import inspect
import json
import re
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.config
import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from infra.adapters.certificates import issue_identity
from infra.adapters.cloud.accounts import account_environment
from infra.adapters.cloud.machine_fleets import fleet_of, openstack_connection
from infra.adapters.cloud.order import MachineOrder, settings_from
from infra.adapters.cloud.preview import preview
from infra.adapters.cloud.rendering import (
    attached,
    azure_interface,
    azure_machine,
    gcp_body,
    gcp_labels,
    openstack_server,
    render,
)
from infra.adapters.cloud.user_data import has_nvidia_gpu
from infra.adapters.clusters_machines import MachineClouds
from infra.cli import build
from infra.core.canonical import plain
from infra.core.errors import InputError, UnavailableError
from infra.core.inventory import Cluster, Pool, Site
from infra.documents import load_site
from infra.documents.files import parse_yaml
from infra.documents.regions import AZURE_COUNTRIES, GCP_COUNTRIES
from infra.documents.schemas import schema
from tests.integration.clusters_support import lease

ROOT = Path(__file__).resolve().parents[2]
POOLS = {
    name: text
    for name in ("gcp", "azure", "openstack")
    for text in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "clouds.md").read_text(), re.DOTALL)
    if f"    cluster: {name}\n" in text
}
KINDS = tuple(POOLS)
AT = 1_800_000_000.0


def site_yaml(kind: str) -> str:
    head = f"name: {kind}-fra\njurisdiction: DE\ntrust_zone: partner\npools:\n  - name: {kind}-fra\n"
    return head + POOLS[kind].split("\n", 1)[1]


def site_of(kind: str, folder: Path) -> Site:
    path = folder / f"{kind}-fra.yaml"
    path.write_text(site_yaml(kind))
    return load_site(path)


def order(kind: str, folder: Path, devices: int = 2, **changes: Any) -> MachineOrder:
    [pool] = site_of(kind, folder).pools
    [offer] = pool.offers
    held = lease("run:1", devices, life_s=90.0, at=AT)
    names = tuple(f"worker-{index}" for index in range(devices))
    identity = issue_identity(folder / "tls", "run:1", AT, AT + 600.0, names)
    values = {"spot": offer.purchase == "spot", "instance_type": offer.instance_type or "", **changes}
    return MachineOrder(
        lease=held,
        settings=getattr(pool, kind),
        owner="0a1b",
        device=offer.device,
        idle_timeout_s=300.0,
        machine_ends_at=held.ends_at + 30.0,
        serve_timeout_s=60.0,
        identity=identity,
        **values,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_guide_s_pools_are_read(kind: str, tmp_path: Path) -> None:
    site = site_of(kind, tmp_path)
    [pool] = site.pools
    assert pool.cluster is Cluster(kind)
    settings = getattr(pool, kind)
    assert settings_from(pool.cluster, json.loads(json.dumps(plain(settings)))) == settings, "as a keeper is told it"
    assert Draft202012Validator(schema("site")).is_valid(parse_yaml(site_yaml(kind), "x"))
    others = [name for name in ("ec2", "slurm", *KINDS) if name != kind]
    assert [getattr(pool, name) for name in others] == [None] * 4


GCP, AZURE, STACK, OFFER = "pools[0].gcp", "pools[0].azure", "pools[0].openstack", "pools[0].offers[0]"


@pytest.mark.parametrize(
    ("kind", "old", "new", "code", "path"),
    [
        ("gcp", "      network_tags: [headrace]\n", "", "NO_SECURITY_GROUP", GCP),
        ("gcp", "[headrace]", "[]", "NO_SECURITY_GROUP", GCP),
        ("gcp", "[headrace]", "[Http Server]", "BAD_VALUE", f"{GCP}.network_tags[0]"),
        ("gcp", "zone: europe-west3-b", "zone: us-east1-c", "CONTRADICTORY_SITE", f"{GCP}.zone"),
        ("gcp", "zone: europe-west3-b", "zone: europe-west3", "BAD_VALUE", f"{GCP}.zone"),
        ("gcp", "image: projects/vision-prod/global/images/headrace-gpu", "image: ubuntu", "BAD_VALUE", f"{GCP}.image"),
        ("gcp", "project: vision-prod", "project: V", "BAD_VALUE", f"{GCP}.project"),
        ("gcp", "service_account: null", "service_account: default", "BAD_VALUE", f"{GCP}.service_account"),
        ("gcp", "disk_kms_key: null", "disk_kms_key: mine", "BAD_VALUE", f"{GCP}.disk_kms_key"),
        ("gcp", "disk_kms_key: null", "disk_gb: 0", "BAD_NUMBER", f"{GCP}.disk_gb"),
        ("gcp", "      subnetwork: workers\n", "", "MISSING_KEY", f"{GCP}.subnetwork"),
        ("gcp", "disk_kms_key: null", "public_ingress: true", "UNKNOWN_KEY", f"{GCP}.public_ingress"),
        ("gcp", "purchase: spot", "purchase: owned", "CONTRADICTORY_OFFER", f"{OFFER}.purchase"),
        ("gcp", "instance_type: g2-standard-4 ", "instance_type: g5.xlarge ", "BAD_VALUE", f"{OFFER}.instance_type"),
        ("gcp", "        instance_type: g2-standard-4 ", "        #", "CONTRADICTORY_POOL", f"{OFFER}.instance_type"),
        ("gcp", "cluster: gcp", "cluster: azure", "CONTRADICTORY_POOL", "pools[0]"),
        ("azure", "      security_group: headrace\n", "", "MISSING_KEY", f"{AZURE}.security_group"),
        ("azure", "location: germanywestcentral", "location: eastus", "CONTRADICTORY_SITE", f"{AZURE}.location"),
        ("azure", "subscription: 1111", "subscription: x1", "BAD_VALUE", f"{AZURE}.subscription"),
        ("azure", "/subnets/default", "", "BAD_VALUE", f"{AZURE}.subnet"),
        ("azure", "Microsoft.Compute/galleries", "Microsoft.Compute/disks", "BAD_VALUE", f"{AZURE}.image"),
        ("azure", "encryption_at_host: true", "disk_gb: 2048", "BAD_NUMBER", f"{AZURE}.disk_gb"),
        ("azure", "encryption_at_host: true", "encryption_at_host: maybe", "BAD_TYPE", f"{AZURE}.encryption_at_host"),
        ("azure", "encryption_at_host: true", "password: x", "UNKNOWN_KEY", f"{AZURE}.password"),
        ("azure", "Standard_NC4as_T4_v3", "NC4", "BAD_VALUE", f"{OFFER}.instance_type"),
        ("openstack", "https://identity", "http://identity", "BAD_VALUE", f"{STACK}.auth_url"),
        ("openstack", "network: 1111", "network: net", "BAD_VALUE", f"{STACK}.network"),
        ("openstack", "      image: 9999", "      image: ubuntu-", "BAD_VALUE", f"{STACK}.image"),
        ("openstack", "      scheduler_flavor: m1.small\n", "", "MISSING_KEY", f"{STACK}.scheduler_flavor"),
        ("openstack", "security_group: headrace", 'security_group: ""', "BAD_TYPE", f"{STACK}.security_group"),
        ("openstack", "region: RegionOne", "application_credential_secret: x", "UNKNOWN_KEY", STACK),
        ("openstack", "purchase: owned", "purchase: spot", "CONTRADICTORY_OFFER", f"{OFFER}.purchase"),
    ],
)
def test_bad_pools(kind: str, old: str, new: str, code: str, path: str, tmp_path: Path) -> None:
    assert old in site_yaml(kind)
    file = tmp_path / f"{kind}-fra.yaml"
    file.write_text(site_yaml(kind).replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        load_site(file)
    assert caught.value.code == code, caught.value
    assert caught.value.where.startswith(f"{file}: {path}"), caught.value
    assert caught.value.remedy


@pytest.mark.parametrize("kind", KINDS)
def test_settings_without_a_firewall_are_refused_in_core_too(kind: str, tmp_path: Path) -> None:
    [pool] = site_of(kind, tmp_path).pools
    field = {"gcp": "network_tags"}.get(kind, "security_group")
    with pytest.raises(InputError) as caught:
        replace(getattr(pool, kind), **{field: () if kind == "gcp" else ""})
    assert caught.value.code == "NO_SECURITY_GROUP"
    with pytest.raises(InputError):
        Pool(pool.name, Cluster.LOCAL, (), **{kind: getattr(pool, kind)})


def test_every_region_is_in_a_country() -> None:
    for countries in (GCP_COUNTRIES, AZURE_COUNTRIES):
        assert all(re.fullmatch(r"[A-Z]{2}", country) for country in countries.values())
    assert (GCP_COUNTRIES["europe-west3"], AZURE_COUNTRIES["germanywestcentral"]) == ("DE", "DE")


@pytest.mark.parametrize(
    ("kind", "instance_type", "gpu"),
    [
        *[(Cluster.GCP, name, True) for name in ("g2-standard-4", "a2-highgpu-1g", "a3-highgpu-1g", "n1-standard-4+nvidia-tesla-t4")],
        *[(Cluster.GCP, name, False) for name in ("n1-standard-4", "e2-medium", "c3-standard-4", "t2a-standard-1", "n1-standard-4+ct5l")],
        *[(Cluster.AZURE, name, True) for name in ("Standard_NC4as_T4_v3", "Standard_NV6ads_A10_v5", "Standard_ND96asr_v4")],
        *[(Cluster.AZURE, name, False) for name in ("Standard_D2s_v5", "Standard_B2s", "Standard_NV4as_v4", "Standard_ND96isr_MI300X_v5")],
        (Cluster.OPENSTACK, "gpu.l4", False),
    ],
)  # fmt: skip
def test_gpus_are_told_by_the_type(kind: Cluster, instance_type: str, gpu: bool) -> None:
    assert has_nvidia_gpu(kind, instance_type) is gpu


def test_openstack_is_told_its_devices(tmp_path: Path) -> None:
    told = order("openstack", tmp_path)
    assert told.gpu
    assert not replace(told, device="cpu").gpu


@pytest.mark.parametrize("kind", KINDS)
def test_rendering_imports_no_cloud_and_says_everything(kind: str, tmp_path: Path) -> None:
    rendered = render(order(kind, tmp_path), AT)
    wanted = {"bootstrap": False, "n_workers": 2, "docker_image": "registry.example/headrace:1.4"}
    wanted |= {"worker_class": "distributed.Worker", "asynchronous": True, "shutdown_on_close": False}
    wanted |= {"scheduler_options": {"idle_timeout": "300s"}, "name": "headrace-run:1"}
    assert wanted.items() <= rendered.arguments.items()
    [timer] = rendered.arguments["extra_bootstrap"]
    assert timer.startswith("systemd-run --on-calendar=")
    assert "--on-active=120s" in timer
    everything = json.dumps([rendered.config, rendered.arguments])
    assert "PRIVATE KEY" not in everything
    assert not {"googleapiclient", "azure.mgmt.compute", "openstack"} & set(sys.modules)


def test_the_arguments_are_the_library_s_own(tmp_path: Path) -> None:
    """Names that a class does not know go down to one that refuses them; here they are read without importing it."""
    import ast
    import importlib.util

    base = importlib.util.find_spec("dask_cloudprovider")
    assert base is not None
    assert base.submodule_search_locations
    folder = Path(base.submodule_search_locations[0])
    general = set(inspect.signature(_class(folder / "generic" / "vmcluster.py", "VMCluster", ast)).parameters)
    spec_cluster = {"name", "asynchronous", "shutdown_on_close", "security"}
    for kind, file in (
        ("gcp", "gcp/instances.py"),
        ("azure", "azure/azurevm.py"),
        ("openstack", "openstack/instances.py"),
    ):
        rendered = render(order(kind, tmp_path), AT)
        own = set(inspect.signature(_class(folder / file, rendered.cluster_class.rpartition(".")[2], ast)).parameters)
        assert set(rendered.arguments) <= own | general | spec_cluster, kind
        known = dask.config.collect([str(folder / "cloudprovider.yaml")], {})
        for key in rendered.config:
            path = key.split(".")
            assert _has(known, path[:-1]), key


def _has(tree: Any, path: list[str]) -> bool:
    for part in path:
        if part not in tree:
            return False
        tree = tree[part]
    return True


def _class(file: Path, name: str, ast: Any) -> Any:
    """A function with the parameters of a class's constructor, read from its source."""
    [node] = [
        found for found in ast.parse(file.read_text()).body if isinstance(found, ast.ClassDef) and found.name == name
    ]
    [init] = [found for found in node.body if isinstance(found, ast.FunctionDef) and found.name == "__init__"]
    names = [argument.arg for argument in (*init.args.args, *init.args.kwonlyargs) if argument.arg != "self"]
    return eval(f"lambda {', '.join(names)}: None")


def gcp_request() -> dict[str, Any]:
    """As the library makes it, with what must not be."""
    return {
        "name": "dask-1-worker-2",
        "machineType": "zones/europe-west3-b/machineTypes/g2-standard-4",
        "tags": {"items": ["http-server", "https-server"]},
        "disks": [{"autoDelete": "true", "initializeParams": {"sourceImage": "i"}, "diskEncryptionKey": {}}],
        "networkInterfaces": [{"subnetwork": "s", "accessConfigs": [{"type": "ONE_TO_ONE_NAT"}]}],
        "serviceAccounts": [{"email": "default", "scopes": ["all"]}],
        "metadata": {"items": [{"key": "google-logging-enabled", "value": "true"}, {"key": "user-data", "value": "U"}]},
        "labels": {"container_vm": "dask-cloudprovider"},
        "scheduling": {"preemptible": "true", "automaticRestart": "true"},
    }


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_gcp_s_request_is_private_tagged_and_ends(role: str, tmp_path: Path) -> None:
    told = order("gcp", tmp_path)
    body = gcp_body(gcp_request(), told, role, AT)
    assert body["networkInterfaces"] == [{"subnetwork": "s"}]
    assert body["tags"] == {"items": ["headrace"]}
    assert body["serviceAccounts"] == []
    assert body["labels"] == body["disks"][0]["initializeParams"]["labels"] == gcp_labels(told.tags)
    assert "diskEncryptionKey" not in body["disks"][0]
    assert body["scheduling"] == {
        "provisioningModel": "SPOT" if role == "worker" else "STANDARD",
        "onHostMaintenance": "TERMINATE",
        "automaticRestart": False,
        "maxRunDuration": {"seconds": 120},
        "instanceTerminationAction": "DELETE",
    }
    metadata = {item["key"]: item["value"] for item in body["metadata"]["items"]}
    assert json.loads(metadata.pop("headrace-tags")) == told.tags
    assert metadata == {"user-data": "U", "block-project-ssh-keys": "true"}
    keyed = replace(told.settings, disk_kms_key="projects/k", service_account="a@b.iam.gserviceaccount.com")
    body = gcp_body(gcp_request(), replace(told, settings=keyed), role, AT)
    assert body["disks"][0]["diskEncryptionKey"] == {"kmsKeyName": "projects/k"}
    assert [account["email"] for account in body["serviceAccounts"]] == ["a@b.iam.gserviceaccount.com"]


def test_gcp_s_attached_devices(tmp_path: Path) -> None:
    assert attached("n1-standard-4+nvidia-tesla-t4") == ("n1-standard-4", "nvidia-tesla-t4")
    told = render(order("gcp", tmp_path, instance_type="n1-standard-4+nvidia-tesla-t4"), AT)
    wanted = {"worker_machine_type": "n1-standard-4", "worker_ngpus": 1, "worker_gpu_type": "nvidia-tesla-t4"}
    assert wanted.items() <= told.arguments.items()
    built_in = render(order("gcp", tmp_path), AT)
    wanted = {"worker_machine_type": "g2-standard-4", "worker_ngpus": 0, "worker_gpu_type": None, "scheduler_ngpus": 0}
    assert wanted.items() <= built_in.arguments.items()
    assert (built_in.scheduler_options, built_in.worker_options) == ({"gpu_instance": False}, {"gpu_instance": True})
    assert built_in.config["cloudprovider.gcp.public_ingress"] is False


def test_labels_keep_different_tags_apart() -> None:
    labels = gcp_labels({"headrace:lease": "Run:1", "headrace:run": "run-1", "headrace:site": "x" * 80})
    assert labels["headrace-run"] == "run-1"
    assert labels["headrace-lease"] != gcp_labels({"headrace:lease": "run:1"})["headrace-lease"]
    for key, value in labels.items():
        assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key)
        assert re.fullmatch(r"[a-z0-9_-]{0,63}", value)


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_azure_s_requests_are_private_tagged_and_leave_nothing(role: str, tmp_path: Path) -> None:
    told = order("azure", tmp_path, spot=True)
    interface = azure_interface(told, "nsg-id")
    [address] = interface["properties"]["ipConfigurations"]
    assert "publicIPAddress" not in address["properties"]
    assert address["properties"]["subnet"]["id"].endswith("/subnets/default")
    assert interface["properties"]["networkSecurityGroup"] == {"id": "nsg-id"}
    assert interface["tags"] == told.tags
    machine = azure_machine(told, role, "vm", "VQ==", "nic-id", "ssh-rsa A")
    properties = machine["properties"]
    assert machine["tags"] == told.tags | {"headrace:role": role}
    assert properties["storageProfile"]["osDisk"]["deleteOption"] == "Delete"
    assert properties["storageProfile"]["imageReference"] == {"id": told.settings.image}
    [attached_interface] = properties["networkProfile"]["networkInterfaces"]
    assert attached_interface == {"id": "nic-id", "properties": {"primary": True, "deleteOption": "Delete"}}
    assert properties["osProfile"]["linuxConfiguration"]["disablePasswordAuthentication"]
    assert "adminPassword" not in properties["osProfile"]
    assert properties["securityProfile"] == {"encryptionAtHost": True}
    size = "Standard_NC4as_T4_v3" if role == "worker" else "Standard_B2s"
    assert properties["hardwareProfile"] == {"vmSize": size}
    assert (properties.get("priority"), properties.get("evictionPolicy")) == (
        ("Spot", "Delete") if role == "worker" else (None, None)
    )
    rendered = render(told, AT)
    assert rendered.arguments["public_ingress"] is False
    assert rendered.arguments["subscription_id"] == told.settings.subscription, "else the library asks a command line"
    assert rendered.config["cloudprovider.azure.azurevm.vm_image"] == {"id": told.settings.image}
    plain_host = replace(told, settings=replace(told.settings, encryption_at_host=False))
    assert "securityProfile" not in azure_machine(plain_host, role, "vm", "", "n", "k")["properties"]


def test_openstack_s_server_is_private_and_tagged_and_its_secret_goes_nowhere(tmp_path: Path) -> None:
    told = order("openstack", tmp_path)
    rendered = render(told, AT)
    assert rendered.config["cloudprovider.openstack.application_credential_secret"] is None
    assert rendered.config["cloudprovider.openstack.create_floating_ip"] is False
    assert rendered.scheduler_options == {"size": "m1.small"}
    for role, flavor in (("scheduler", "m1.small"), ("worker", "gpu.l4.small")):
        server = openstack_server(told, role, "vm", "U")
        wanted = {"flavor": flavor, "auto_ip": False, "wait": False, "security_groups": ["headrace"], "userdata": "U"}
        assert wanted.items() <= server.items()
        assert server["meta"] == told.tags | {"headrace:role": role}
        assert "key_name" not in server


def test_accounts_may_be_others_than_the_runs() -> None:
    given = {
        "OS_AUTH_URL": "a",
        "OS_APPLICATION_CREDENTIAL_SECRET": "store",
        "AWS_SECRET": "x",
        "PREFECT_API_KEY": "no",
    }
    own = {"HEADRACE_CLOUD_OS_APPLICATION_CREDENTIAL_SECRET": "cloud", "HEADRACE_CLOUD_AZURE_CLIENT_ID": "other"}
    assert account_environment(Cluster.OPENSTACK, given) == {
        "OS_AUTH_URL": "a",
        "OS_APPLICATION_CREDENTIAL_SECRET": "store",
    }
    assert account_environment(Cluster.OPENSTACK, {**given, **own})["OS_APPLICATION_CREDENTIAL_SECRET"] == "cloud"
    assert account_environment(Cluster.AZURE, {**given, **own}) == {"AZURE_CLIENT_ID": "other"}


def test_openstack_without_credentials_is_told(tmp_path: Path) -> None:
    told = order("openstack", tmp_path)
    with pytest.raises(InputError) as caught:
        openstack_connection(told.settings, {"OS_APPLICATION_CREDENTIAL_ID": "i"})
    assert (caught.value.code, caught.value.where) == ("SETTING_MISSING", "OS_APPLICATION_CREDENTIAL_SECRET")


@pytest.mark.parametrize("kind", KINDS)
def test_without_its_library_a_provider_refuses_before_anything_is_written(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.adapters.cloud.extras.find_spec", lambda name: None)
    site = site_of(kind, tmp_path)
    provider = MachineClouds(Cluster(kind), tmp_path / "state", environ={})
    with pytest.raises(UnavailableError) as caught:
        provider.open(lease("l"), site.pools[0].offers[0], site)
    assert caught.value.code == "EXTRA_MISSING"
    assert f"headrace[{kind}]" in caught.value.remedy
    assert provider.leases() == ()
    provider.add_place(getattr(site.pools[0], kind))
    with pytest.raises(UnavailableError) as caught:
        provider.reap(AT, 10.0, dry_run=True)
    assert caught.value.code == "EXTRA_MISSING"


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_shows_what_would_be_made(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sites").mkdir()
    site = site_of(kind, tmp_path / "sites")
    monkeypatch.setenv("HEADRACE_CONFIG", str(tmp_path))
    [pool] = site.pools
    [offer] = pool.offers
    done = CliRunner().invoke(
        build(), ["cluster", "render", site.name, pool.name, offer.name, "--devices", "3", "--json"]
    )
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert shown["arguments"]["n_workers"] == 3
    assert shown["class"].startswith(f"dask_cloudprovider.{kind}.")
    assert set(shown["requests"]) == {"scheduler", "worker"}
    done = CliRunner().invoke(build(), ["cluster", "render", site.name, pool.name, offer.name])
    assert "cluster: " + kind in done.stdout
    for wrong, code in ((("x", pool.name, offer.name), "UNKNOWN_SITE"), ((site.name, "x", "y"), "UNKNOWN_POOL"),
                        ((site.name, pool.name, "x"), "UNKNOWN_OFFER")):  # fmt: skip
        done = CliRunner().invoke(build(), ["cluster", "render", *wrong])
        assert done.exit_code == 2
        assert code in done.stderr


def test_ec2_and_slurm_are_shown_too(tmp_path: Path) -> None:
    from tests.unit.test_ec2_parts import SITE_YAML as EC2_YAML
    from tests.unit.test_slurm_parts import SITE_YAML as SLURM_YAML

    for name, text, argument in (("aws-fra", EC2_YAML, "spot"), ("hpc-fra", SLURM_YAML, "queue")):
        (tmp_path / f"{name}.yaml").write_text(text)
        site = load_site(tmp_path / f"{name}.yaml")
        shown = preview(site, site.pools[0], site.pools[0].offers[0], 1, AT)
        assert argument in shown["arguments"]
        assert shown["missing"] is None


GCP_ITEM = {
    "name": "vm",
    "status": "RUNNING",
    "creationTimestamp": "2026-11-24T09:00:00.000-08:00",
    "metadata": {"items": [{"key": "headrace-tags", "value": '{"headrace:lease": "a"}'}]},
}


@pytest.mark.parametrize(
    ("kind", "described", "alive"),
    [
        *[("gcp", {"status": state}, True) for state in ("PROVISIONING", "STAGING", "RUNNING", "TERMINATED", "SUSPENDED")],
        ("gcp", {"status": "STOPPING"}, False),
        *[("azure", {"provisioning_state": state}, True) for state in ("Creating", "Succeeded", "Failed", "Updating")],
        ("azure", {"provisioning_state": "Deleting"}, False),
        *[("openstack", {"status": state}, True) for state in ("BUILD", "ACTIVE", "SHUTOFF", "ERROR", "SHELVED")],
        ("openstack", {"status": "ACTIVE", "task_state": "deleting"}, False),
        ("openstack", {"status": "DELETED"}, False),
    ],
)  # fmt: skip
def test_what_is_off_is_not_gone(kind: str, described: dict[str, Any], alive: bool, tmp_path: Path) -> None:
    [pool] = site_of(kind, tmp_path).pools
    fleet = fleet_of(getattr(pool, kind), {})
    before_at = time.time()
    if kind == "gcp":
        machine = fleet._machine({**GCP_ITEM, **described})
    else:
        created = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
        tags = {"headrace:lease": "a"}
        facts = {"name": "vm", "id": "vm", "tags": tags, "metadata": tags, "task_state": None, "time_created": created}
        facts |= {"created_at": "2026-11-24T17:00:00Z", **described}
        machine = fleet._machine(SimpleNamespace(**facts), *(["vm"] if kind == "azure" else []))
    assert (machine.alive, machine.lease_id, machine.id) == (alive, "a", "vm")
    assert machine.launched_at == datetime(2026, 11, 24, 17, 0, tzinfo=UTC).timestamp()
    assert machine.ended_at == 0.0 if alive else before_at <= machine.ended_at <= time.time()

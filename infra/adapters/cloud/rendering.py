"""What dask-cloudprovider's classes for GCP, Azure and OpenStack are told for a lease, and the requests that come of it.

Nothing here imports a cloud's library. The classes (read in 2025.9.0) have habits that are met here:

- GCP: a machine gets a public address unless Dask's *configuration* says no, whatever the arguments are; it gets the
  network tags of public web servers and the project's default service account; and one that powers itself off is kept,
  with its disk. A machine type that has its devices built in is not seen as one with devices.
- Azure: one's own image is merged with the default's publisher; the scheduler is told that it has the workers' devices;
  spot options would hold for it as well; a password can log in; disk and network interface outlive the machine. The
  bodies of requests are in a form that newer libraries do not translate any more.
- OpenStack: network, security group and credentials are read from Dask's configuration alone, which then is sent to
  every machine, secret included; Docker is installed at each boot; scheduler and workers have one flavor; devices are
  never asked for; and nothing is tagged.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.adapters.cloud.common_arguments import common_arguments
from infra.adapters.cloud.order import MachineOrder
from infra.core.cluster_settings import AzureSettings, GcpSettings, OpenStackSettings


@dataclass(frozen=True, slots=True)
class Rendered:
    """How the library's class is used.

    Attributes:
        cluster_class: Its dotted name.
        config: Dask configuration that it reads and takes no argument for; set before it is made, in its own process.
        arguments: All of its keyword arguments but for its security.
        scheduler_options, worker_options: Options of the machines that are set after it was made.
    """

    cluster_class: str
    config: dict[str, Any]
    arguments: dict[str, Any]
    scheduler_options: dict[str, Any]
    worker_options: dict[str, Any]


def render(order: MachineOrder, now_at: float) -> Rendered:
    """The class and all that it is told."""
    if isinstance(order.settings, GcpSettings):
        return _gcp(order, order.settings, now_at)
    if isinstance(order.settings, AzureSettings):
        return _azure(order, order.settings, now_at)
    return _openstack(order, order.settings, now_at)


def _common(order: MachineOrder, now_at: float) -> dict[str, Any]:
    return common_arguments(order, now_at) | {"docker_args": "", "env_vars": {}, "debug": False}


def attached(machine_type: str) -> tuple[str, str | None]:
    """GCP's machine type, and the accelerator that is attached to it: ``n1-standard-4+nvidia-tesla-t4`` has one."""
    kind, plus, accelerator = machine_type.partition("+")
    return kind, accelerator if plus else None


def _gcp(order: MachineOrder, settings: GcpSettings, now_at: float) -> Rendered:
    machine_type, accelerator = attached(order.instance_type)
    arguments = _common(order, now_at) | {
        "projectid": settings.project,
        "zone": settings.zone,
        "network": settings.subnetwork,  # the library makes a subnetwork's name of it
        "network_projectid": settings.network_project or settings.project,
        "scheduler_machine_type": settings.scheduler_machine_type,
        "worker_machine_type": machine_type,
        "source_image": settings.image,
        "on_host_maintenance": "TERMINATE",
        "scheduler_ngpus": 0,
        "worker_ngpus": 1 if accelerator else 0,
        "worker_gpu_type": accelerator,
        "filesystem_size": settings.disk_gb,
        "disk_type": settings.disk_type,
        "auto_shutdown": True,
        "preemptible": order.spot,
        "instance_labels": gcp_labels(order.tags),
        "service_account": settings.service_account or "none",
    }
    config = {"cloudprovider.gcp.public_ingress": False, "cloudprovider.gcp.instance_labels": {}}
    return Rendered(
        "dask_cloudprovider.gcp.GCPCluster", config, arguments, {"gpu_instance": False}, {"gpu_instance": order.gpu}
    )


def gcp_labels(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags in the letters that GCP's labels may have. Whole tags are in a machine's metadata."""
    return {key.replace(":", "-"): _label(value) for key, value in tags.items()}


def _label(value: str) -> str:
    if re.fullmatch(r"[a-z0-9_-]{0,63}", value):
        return value
    # Different values must not become one: what had to be changed is followed by a digest of what it was.
    shown = re.sub(r"[^a-z0-9_-]", "-", value.lower())[:46]
    return f"{shown}-{hashlib.sha256(value.encode()).hexdigest()[:16]}"


def gcp_body(body: Mapping[str, Any], order: MachineOrder, role: str, now_at: float) -> dict[str, Any]:
    """The library's request for a machine with what it does not say, and without what must not be.

    The machine is deleted by GCP itself at its hard end: one that only powers off is kept, and its disk costs.
    """
    settings = order.settings
    if not isinstance(settings, GcpSettings):
        raise TypeError("not GCP's settings")
    spot = order.spot and role == "worker"
    labels = gcp_labels(order.tags)
    interface = {key: value for key, value in body["networkInterfaces"][0].items() if key != "accessConfigs"}
    disk = {key: value for key, value in body["disks"][0].items() if key != "diskEncryptionKey"}
    disk["initializeParams"] = {**disk["initializeParams"], "labels": labels}
    if settings.disk_kms_key is not None:
        disk["diskEncryptionKey"] = {"kmsKeyName": settings.disk_kms_key}
    [user_data] = [item for item in body["metadata"]["items"] if item["key"] == "user-data"]
    account = {"email": settings.service_account, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
    return {
        **body,
        "tags": {"items": list(settings.network_tags)},
        "networkInterfaces": [interface],
        "disks": [disk],
        "labels": labels,
        "serviceAccounts": [] if settings.service_account is None else [account],
        "metadata": {
            "items": [
                user_data,
                {"key": "headrace-tags", "value": json.dumps(order.tags, sort_keys=True)},
                {"key": "block-project-ssh-keys", "value": "true"},
            ]
        },
        "scheduling": {
            "provisioningModel": "SPOT" if spot else "STANDARD",
            "onHostMaintenance": "TERMINATE",
            "automaticRestart": False,
            "maxRunDuration": {"seconds": max(30, math.ceil(order.machine_ends_at - now_at))},
            "instanceTerminationAction": "DELETE",
        },
    }


def _azure(order: MachineOrder, settings: AzureSettings, now_at: float) -> Rendered:
    arguments = _common(order, now_at) | {
        "subscription_id": settings.subscription,
        "location": settings.location,
        "resource_group": settings.resource_group,
        "vnet": settings.vnet,
        "subnet": settings.subnet,
        "security_group": settings.security_group,
        "public_ingress": False,
        "vm_size": order.instance_type,
        "scheduler_vm_size": settings.scheduler_vm_size,
        "disk_size": settings.disk_gb,
        "auto_shutdown": True,
    }
    config = {
        "cloudprovider.azure.azurevm.vm_image": {"id": settings.image},
        "cloudprovider.azure.azurevm.marketplace_plan": None,
    }
    return Rendered(
        "dask_cloudprovider.azure.AzureVMCluster",
        config,
        arguments,
        {"gpu_instance": False},
        {"gpu_instance": order.gpu},
    )


def azure_interface(order: MachineOrder, security_group_id: str) -> dict[str, Any]:
    """The request for a machine's network interface, as it goes over the wire: a private address."""
    settings = order.settings
    if not isinstance(settings, AzureSettings):
        raise TypeError("not Azure's settings")
    address = {"subnet": {"id": settings.subnet}, "privateIPAllocationMethod": "Dynamic"}
    return {
        "location": settings.location,
        "tags": order.tags,
        "properties": {
            "ipConfigurations": [{"name": "private", "properties": address}],
            "networkSecurityGroup": {"id": security_group_id},
        },
    }


def azure_machine(
    order: MachineOrder, role: str, name: str, custom_data: str, interface_id: str, public_key: str
) -> dict[str, Any]:
    """The request for a machine, as it goes over the wire. Disk and interface are deleted with it.

    Args:
        custom_data: User-data in base64.
        public_key: SSH key whose private part nobody has: without one, Azure wants a password.
    """
    settings = order.settings
    if not isinstance(settings, AzureSettings):
        raise TypeError("not Azure's settings")
    user = "headrace"
    keys = [{"path": f"/home/{user}/.ssh/authorized_keys", "keyData": public_key}]
    linux = {"disablePasswordAuthentication": True, "ssh": {"publicKeys": keys}}
    properties: dict[str, Any] = {
        "hardwareProfile": {"vmSize": order.instance_type if role == "worker" else settings.scheduler_vm_size},
        "osProfile": {
            "computerName": name,
            "adminUsername": user,
            "customData": custom_data,
            "linuxConfiguration": linux,
            "allowExtensionOperations": False,
        },
        "storageProfile": {
            "imageReference": {"id": settings.image},
            "osDisk": {"createOption": "FromImage", "diskSizeGB": settings.disk_gb, "deleteOption": "Delete"},
        },
        "networkProfile": {
            "networkInterfaces": [{"id": interface_id, "properties": {"primary": True, "deleteOption": "Delete"}}]
        },
    }
    if settings.encryption_at_host:
        properties["securityProfile"] = {"encryptionAtHost": True}
    if order.spot and role == "worker":
        properties |= {"priority": "Spot", "evictionPolicy": "Delete", "billingProfile": {"maxPrice": -1}}
    return {"location": settings.location, "tags": order.tags | {"headrace:role": role}, "properties": properties}


def _openstack(order: MachineOrder, settings: OpenStackSettings, now_at: float) -> Rendered:
    arguments = _common(order, now_at) | {
        "region": settings.region,
        "size": order.instance_type,
        "image": settings.image,
        "worker_threads": 1,
    }
    # Credentials are not among these: machines are made by a connection that the library's configuration knows nothing of.
    config = {
        f"cloudprovider.openstack.{key}": value
        for key, value in {
            "auth_url": settings.auth_url,
            "application_credential_id": None,
            "application_credential_secret": None,
            "network_id": settings.network,
            "security_group": settings.security_group,
            "keypair_name": None,
            "create_floating_ip": False,
            "external_network_id": None,
        }.items()
    }
    return Rendered(
        "dask_cloudprovider.openstack.OpenStackCluster",
        config,
        arguments,
        {"size": settings.scheduler_flavor},
        {},
    )


def openstack_server(order: MachineOrder, role: str, name: str, user_data: str) -> dict[str, Any]:
    """Keyword arguments of ``Connection.create_server``: no floating address, no key pair, tagged."""
    settings = order.settings
    if not isinstance(settings, OpenStackSettings):
        raise TypeError("not OpenStack's settings")
    return {
        "name": name,
        "image": settings.image,
        "flavor": order.instance_type if role == "worker" else settings.scheduler_flavor,
        "network": settings.network,
        "security_groups": [settings.security_group],
        "userdata": user_data,
        "meta": order.tags | {"headrace:role": role},
        "auto_ip": False,
        "wait": False,
    }

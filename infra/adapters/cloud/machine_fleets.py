"""Finds and ends machines on GCP, Azure and OpenStack by their tags, whoever started them. Calls block for seconds at most."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from infra.adapters.cloud.accounts import VARIABLES
from infra.adapters.cloud.extras import require_extra
from infra.adapters.cloud.rendering import gcp_labels
from infra.adapters.cloud.tags import OWNER, CloudMachine
from infra.core.cluster_settings import AzureSettings, GcpSettings, OpenStackSettings
from infra.core.errors import InputError, UnavailableError
from infra.core.inventory import Cluster
from infra.settings import CLOUD_PREFIX

MODULES = {
    Cluster.GCP: "googleapiclient.discovery",
    Cluster.AZURE: "azure.mgmt.compute",
    Cluster.OPENSTACK: "openstack",
}
"""The library that each provider needs, in the extra of its name."""

RUNS, OVER = "running", "terminated"
Answer = TypeVar("Answer")


_OPENSTACK = ("OS_APPLICATION_CREDENTIAL_ID", "OS_APPLICATION_CREDENTIAL_SECRET")


def require_account(kind: Cluster, variables: Mapping[str, str]) -> None:
    """Refuse a provider without its credentials, where these are in variables and nowhere else.

    Raises:
        InputError: ``SETTING_MISSING``.
    """
    for name in _OPENSTACK if kind is Cluster.OPENSTACK else ():
        if not variables.get(name):
            remedy = f"set {name} or {CLOUD_PREFIX}{name} for the site's worker"
            raise InputError("SETTING_MISSING", "not set", name, remedy)


def openstack_connection(settings: OpenStackSettings, variables: Mapping[str, str]) -> Any:
    """A connection with the application credential of these variables.

    Raises:
        InputError: ``SETTING_MISSING``.
    """
    require_account(Cluster.OPENSTACK, variables)
    import openstack

    return openstack.connect(
        auth_type="v3applicationcredential",
        auth={
            "auth_url": settings.auth_url,
            "application_credential_id": variables[_OPENSTACK[0]],
            "application_credential_secret": variables[_OPENSTACK[1]],
        },
        region_name=settings.region,
        load_envvars=False,
        load_yaml_config=False,
    )


class GcpFleet:
    """The machines of one project and zone."""

    def __init__(self, settings: GcpSettings, variables: Mapping[str, str]) -> None:
        self._settings, self._variables = settings, dict(variables)
        self._service: Any = None

    def find(self, tags: Mapping[str, str]) -> list[CloudMachine]:
        """Machines with all of these tags; GCP forgets ended ones at once."""
        place = {"project": self._settings.project, "zone": self._settings.zone}
        wanted = " AND ".join(f"labels.{key}={value}" for key, value in gcp_labels(tags).items())

        def listed() -> list[dict[str, Any]]:
            instances = self._connected().instances()
            request, found = instances.list(**place, filter=wanted), []
            while request is not None:
                answer = request.execute()
                found += answer.get("items", ())
                request = instances.list_next(request, answer)
            return found

        machines = [self._machine(item) for item in _told("GCP", self._settings.zone, listed)]
        return [machine for machine in machines if tags.items() <= machine.tags.items()]

    def end(self, machines: Iterable[CloudMachine]) -> None:
        """Delete those that exist."""
        place = {"project": self._settings.project, "zone": self._settings.zone}
        for machine in machines:
            if machine.alive:
                delete = lambda name=machine.id: self._connected().instances().delete(**place, instance=name).execute()  # noqa: E731
                _told("GCP", self._settings.zone, delete)

    def _machine(self, item: Mapping[str, Any]) -> CloudMachine:
        metadata = {entry["key"]: entry["value"] for entry in item.get("metadata", {}).get("items", ())}
        # One that is off is kept, and its disk costs.
        over = item["status"] == "STOPPING"
        tags = json.loads(metadata.get("headrace-tags", "{}"))
        launched_at = _instant(item.get("creationTimestamp"))
        return _machine(item["name"], self._settings.region, over, launched_at, item["name"], tags)

    def _connected(self) -> Any:
        if self._service is None:
            import google.auth
            import googleapiclient.discovery

            scopes = ["https://www.googleapis.com/auth/cloud-platform"]
            file = self._variables.get("GOOGLE_APPLICATION_CREDENTIALS")
            if file:
                credentials, _ = google.auth.load_credentials_from_file(file, scopes)
            else:
                credentials, _ = google.auth.default(scopes)
            self._service = googleapiclient.discovery.build("compute", "v1", credentials=credentials)
        return self._service


class AzureFleet:
    """The machines of one resource group, and interfaces that are left of some."""

    def __init__(self, settings: AzureSettings, variables: Mapping[str, str]) -> None:
        self._settings, self._variables = settings, dict(variables)
        self._clients: Any = None

    def find(self, tags: Mapping[str, str]) -> list[CloudMachine]:
        """Machines and unused interfaces with all of these tags; Azure forgets ended ones at once."""

        def listed() -> list[CloudMachine]:
            compute, network = self._connected()
            group = self._settings.resource_group
            found = [self._machine(machine, machine.name) for machine in compute.virtual_machines.list(group)]
            unused = (one for one in network.network_interfaces.list(group) if one.virtual_machine is None)
            return found + [self._machine(interface, f"interface/{interface.name}") for interface in unused]

        machines = _told("Azure", self._settings.location, listed)
        return [machine for machine in machines if tags.items() <= machine.tags.items()]

    def end(self, machines: Iterable[CloudMachine]) -> None:
        """Delete those that exist; a machine's disk and interface go with it."""

        def deleted(name: str) -> None:
            compute, network = self._connected()
            kind, slash, interface = name.partition("/")
            if slash:
                network.network_interfaces.begin_delete(self._settings.resource_group, interface)
            else:
                compute.virtual_machines.begin_delete(self._settings.resource_group, kind)

        for machine in machines:
            if machine.alive:
                _told("Azure", self._settings.location, lambda name=machine.id: deleted(name))

    def _machine(self, described: Any, name: str) -> CloudMachine:
        over = described.provisioning_state == "Deleting"
        created = getattr(described, "time_created", None)
        launched_at = created.timestamp() if created is not None else 0.0
        tags = dict(described.tags or {})
        return _machine(name, self._settings.location, over, launched_at, described.name, tags)

    def _connected(self) -> Any:
        if self._clients is None:
            from azure.identity import ClientSecretCredential, DefaultAzureCredential
            from azure.mgmt.compute import ComputeManagementClient
            from azure.mgmt.network import NetworkManagementClient

            names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
            given = [self._variables[name] for name in names if self._variables.get(name)]
            credential = ClientSecretCredential(*given) if len(given) == len(names) else DefaultAzureCredential()
            subscription = self._settings.subscription
            self._clients = (
                ComputeManagementClient(credential, subscription),
                NetworkManagementClient(credential, subscription),
            )
        return self._clients


class OpenStackFleet:
    """The servers of one project and region."""

    def __init__(self, settings: OpenStackSettings, variables: Mapping[str, str]) -> None:
        self._settings, self._variables = settings, dict(variables)
        self._connection: Any = None

    def find(self, tags: Mapping[str, str]) -> list[CloudMachine]:
        """Servers with all of these tags; OpenStack forgets ended ones at once."""

        def listed() -> list[CloudMachine]:
            servers = self._connected().compute.servers(details=True)
            return [self._machine(server) for server in servers if OWNER in (server.metadata or {})]

        machines = _told("OpenStack", self._settings.region, listed)
        return [machine for machine in machines if tags.items() <= machine.tags.items()]

    def end(self, machines: Iterable[CloudMachine]) -> None:
        """Delete those that exist."""
        for machine in machines:
            if machine.alive:
                delete = lambda name=machine.id: self._connected().compute.delete_server(name, ignore_missing=True)  # noqa: E731
                _told("OpenStack", self._settings.region, delete)

    def _machine(self, server: Any) -> CloudMachine:
        over = server.status.upper() in ("DELETED", "SOFT_DELETED") or getattr(server, "task_state", "") == "deleting"
        tags = dict(server.metadata or {})
        return _machine(server.id, self._settings.region, over, _instant(server.created_at), server.name, tags)

    def _connected(self) -> Any:
        if self._connection is None:
            self._connection = openstack_connection(self._settings, self._variables)
        return self._connection


Fleet = GcpFleet | AzureFleet | OpenStackFleet


def fleet_of(settings: GcpSettings | AzureSettings | OpenStackSettings, variables: Mapping[str, str]) -> Fleet:
    """The machines of the place that a pool's settings name."""
    if isinstance(settings, GcpSettings):
        return GcpFleet(settings, variables)
    return (
        AzureFleet(settings, variables) if isinstance(settings, AzureSettings) else OpenStackFleet(settings, variables)
    )


def _told(provider: str, place: str, call: Callable[[], Answer]) -> Answer:
    kind = Cluster(provider.lower())
    require_extra(MODULES[kind], kind.value, f"{provider} in {place}")
    try:
        return call()
    except Exception as problem:  # each library has errors of its own
        prefix = VARIABLES[kind][0]
        remedy = f"credentials come from {prefix}* or {CLOUD_PREFIX}{prefix}* of the site's worker"
        raise UnavailableError("CLOUD_UNREACHABLE", str(problem), f"{provider} in {place}", remedy) from problem


def _machine(
    machine_id: str, region: str, over: bool, launched_at: float, name: str, tags: dict[str, str]
) -> CloudMachine:
    """These clouds do not tell when a machine that is being deleted ended: it was not before now."""
    ended_at, why = (time.time(), "closed") if over else (0.0, "")
    return CloudMachine(machine_id, region, OVER if over else RUNS, launched_at, ended_at, why, name, tags)


def _instant(text: str | None) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0

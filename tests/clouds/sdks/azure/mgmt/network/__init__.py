"""As much of it as is called."""

import json
from types import SimpleNamespace

from azure.mgmt.compute import _Done
from tests.clouds.stand_in import StandIn


def _path(name):
    return StandIn().folder / f"{name}.interface"


def drop(name):
    _path(name).unlink(missing_ok=True)


def _machine_of(name):
    for machine in StandIn().machines():
        if name in [interface["id"] for interface in machine["interface"]["networkInterfaces"]]:
            return machine
    return None


class _Interfaces:
    def begin_create_or_update(self, group, name, body):
        told = json.loads(body)
        StandIn().asked("interface", told)
        _path(name).write_text(json.dumps(told))
        return _Done(self.get(group, name))

    def get(self, group, name):
        machine = _machine_of(name)
        address = SimpleNamespace(private_ip_address=machine["address"] if machine else None)
        told = json.loads(_path(name).read_text())
        return SimpleNamespace(
            id=name,
            name=name,
            tags=told["tags"],
            ip_configurations=[address],
            virtual_machine=machine,
            provisioning_state="Succeeded",
        )

    def list(self, group):
        return [self.get(group, path.stem) for path in sorted(StandIn().folder.glob("*.interface"))]

    def begin_delete(self, group, name):
        drop(name)


class _Groups:
    def get(self, group, name):
        return SimpleNamespace(id=f"id-of-{name}")


class NetworkManagementClient:
    """Interfaces and security groups."""

    def __init__(self, credential, subscription):
        self.network_interfaces, self.network_security_groups = _Interfaces(), _Groups()

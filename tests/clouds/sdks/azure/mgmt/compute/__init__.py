"""As much of it as is called."""

import base64
import json
from types import SimpleNamespace

from tests.clouds.stand_in import StandIn


class _Done:
    def __init__(self, value):
        self.result = lambda: value


class _Machines:
    def begin_create_or_update(self, group, name, body):
        told = json.loads(body)
        StandIn().asked("machine", told)
        user_data = base64.b64decode(told["properties"]["osProfile"]["customData"]).decode()
        StandIn().create(name, user_data, tags=told["tags"], interface=told["properties"]["networkProfile"])
        return _Done(self.get(group, name))

    def get(self, group, name):
        return SimpleNamespace(name=name)

    def list(self, group):
        StandIn().asked("machines", group)
        return [
            SimpleNamespace(
                name=machine["name"], tags=machine["tags"], provisioning_state="Succeeded", time_created=None
            )
            for machine in StandIn().machines()
        ]

    def begin_delete(self, group, name):
        StandIn().asked("delete", name)
        from azure.mgmt.network import drop

        for machine in StandIn().machines():
            if machine["name"] == name:
                for interface in machine["interface"]["networkInterfaces"]:
                    if interface["properties"]["deleteOption"] == "Delete":
                        drop(interface["id"])
        StandIn().delete(name)


class ComputeManagementClient:
    """Virtual machines."""

    def __init__(self, credential, subscription):
        self.virtual_machines = _Machines()

"""As much of it as is called."""

from datetime import UTC, datetime
from types import SimpleNamespace

from tests.clouds.stand_in import StandIn


def _server(machine):
    off = machine["state"] != "running"
    created = datetime.fromtimestamp(machine["created_at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return SimpleNamespace(
        id=machine["name"],
        name=machine["name"],
        status="SHUTOFF" if off else "ACTIVE",
        fault=None,
        task_state=None,
        metadata=machine["meta"],
        created_at=created,
        addresses={"net": [{"addr": machine["address"], "OS-EXT-IPS:type": "fixed"}]},
    )


class _Compute:
    def get_server(self, name):
        return _server(StandIn().get(name))

    def servers(self, details):
        StandIn().asked("servers")
        return [_server(machine) for machine in StandIn().machines()]

    def delete_server(self, name, ignore_missing=False):
        StandIn().asked("delete", name)
        StandIn().delete(name)


class _Connection:
    def __init__(self):
        self.compute = _Compute()

    def create_server(self, name, userdata, meta, **told):
        StandIn().asked("server", {"name": name, "userdata": userdata, "meta": meta, **told})
        return _server(StandIn().create(name, userdata, meta=meta))


def connect(auth, **told):
    StandIn().asked("connect", {"auth": auth, **told})
    return _Connection()

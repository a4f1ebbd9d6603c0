"""As much of Google's client as is called."""

import re
from datetime import UTC, datetime

from googleapiclient.errors import HttpError
from tests.clouds.stand_in import Refused, StandIn


class _Request:
    def __init__(self, call):
        self.execute = call


class _Instances:
    def list(self, project, zone, filter):
        return _Request(lambda: self._list(project, zone, filter))

    def list_next(self, request, answer):
        return None

    def insert(self, project, zone, body):
        return _Request(lambda: self._insert(body))

    def delete(self, project, zone, instance):
        def call():
            StandIn().asked("delete", instance)
            StandIn().delete(instance)

        return _Request(call)

    def _insert(self, body):
        StandIn().asked("insert", body)
        [user_data] = [item["value"] for item in body["metadata"]["items"] if item["key"] == "user-data"]
        try:
            StandIn().create(body["name"], user_data, body=body)
        except Refused as problem:
            raise HttpError(str(problem)) from problem
        return {"id": "1"}

    def _list(self, project, zone, filter):
        StandIn().asked("list", filter)
        wanted = dict(part.split("=", 1) for part in filter.split(" AND "))
        found = []
        for machine in StandIn().machines():
            body = machine["body"]
            seen = {"name": body["name"], **{f"labels.{key}": value for key, value in body["labels"].items()}}
            if all(seen.get(key) == value for key, value in wanted.items()):
                created = datetime.fromtimestamp(machine["created_at"], UTC).isoformat()
                found.append(
                    {
                        "name": body["name"],
                        "status": "RUNNING" if machine["state"] == "running" else "TERMINATED",
                        "networkInterfaces": [{"networkIP": machine["address"]}],
                        "metadata": body["metadata"],
                        "creationTimestamp": created,
                    }
                )
        return {"items": found} if found else {}


class _Compute:
    def instances(self):
        return _Instances()


def build(service, version, credentials=None, requestBuilder=None):
    assert re.fullmatch("compute", service)
    return _Compute()

"""Finds and ends EC2 machines by their tags, whoever started them, and reads what the cloud says of their ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from infra.adapters.cloud.tags import CloudMachine
from infra.core.errors import UnavailableError

_INSTANT = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")
_TAKEN_BACK = ("Server.SpotInstanceTermination", "Server.SpotInstanceShutdown", "Server.InsufficientInstanceCapacity")


def described_machine(region: str, described: Mapping[str, Any]) -> CloudMachine:
    """The machine of one instance in EC2's words."""
    tags = {tag["Key"]: tag["Value"] for tag in described.get("Tags", ())}
    state = described["State"]["Name"]
    over = state in ("shutting-down", "terminated")
    launched_at = described["LaunchTime"].timestamp()
    return CloudMachine(
        id=described["InstanceId"],
        region=region,
        state=state,
        launched_at=launched_at,
        ended_at=max(launched_at, _ended_at(described)) if over else 0.0,
        why=_why(described.get("StateReason", {}).get("Code", "")) if over else "",
        name=tags.get("Name", ""),
        tags=tags,
    )


def tag_filters(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Filters for ``describe_instances``."""
    return [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]


def machines_of(region: str, response: Mapping[str, Any]) -> list[CloudMachine]:
    """The machines of one answer of ``describe_instances``."""
    reservations = response.get("Reservations", ())
    return [described_machine(region, found) for reservation in reservations for found in reservation["Instances"]]


class Ec2Fleet:
    """The machines of one region, from any process. Calls block for seconds at most.

    Args:
        variables: Those that open the account, see :func:`infra.adapters.cloud.accounts.account_environment`.
    """

    def __init__(self, region: str, variables: Mapping[str, str]) -> None:
        self.region = region
        self._variables = dict(variables)
        self._client: Any = None

    def find(self, tags: Mapping[str, str]) -> list[CloudMachine]:
        """Machines with all of these tags, ended ones too for as long as the cloud remembers them.

        Raises:
            UnavailableError: ``CLOUD_UNREACHABLE``.
        """
        found: list[CloudMachine] = []
        arguments: dict[str, Any] = {"Filters": tag_filters(tags)}
        while True:
            response = self._call("describe_instances", **arguments)
            found += machines_of(self.region, response)
            if not response.get("NextToken"):
                return found
            arguments["NextToken"] = response["NextToken"]

    def end(self, machines: Iterable[CloudMachine]) -> None:
        """Terminate those that are alive.

        Raises:
            UnavailableError: ``CLOUD_UNREACHABLE``.
        """
        ids = [machine.id for machine in machines if machine.alive]
        if ids:
            self._call("terminate_instances", InstanceIds=ids)

    def _call(self, name: str, **arguments: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._connected(), name)(**arguments)
        except (BotoCoreError, ClientError) as problem:
            remedy = "its machines end by themselves; credentials come from AWS_* or HEADRACE_CLOUD_AWS_* of the worker"
            raise UnavailableError("CLOUD_UNREACHABLE", str(problem), f"EC2 in {self.region}", remedy) from problem

    def _connected(self) -> Any:
        if self._client is None:
            import botocore.config
            import botocore.session

            variables = self._variables
            self._client = botocore.session.get_session().create_client(
                "ec2",
                region_name=self.region,
                endpoint_url=variables.get("AWS_ENDPOINT_URL_EC2") or variables.get("AWS_ENDPOINT_URL"),
                aws_access_key_id=variables.get("AWS_ACCESS_KEY_ID"),
                aws_secret_access_key=variables.get("AWS_SECRET_ACCESS_KEY"),
                aws_session_token=variables.get("AWS_SESSION_TOKEN"),
                config=botocore.config.Config(
                    connect_timeout=3, read_timeout=10, retries={"mode": "standard", "max_attempts": 4}
                ),
            )
        return self._client


def _ended_at(described: Mapping[str, Any]) -> float:
    match = _INSTANT.search(described.get("StateTransitionReason", ""))
    if match is None:
        return datetime.now(UTC).timestamp()
    return datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()


def _why(code: str) -> str:
    if code in _TAKEN_BACK:
        return "reclaimed"
    return {"Client.UserInitiatedShutdown": "closed", "Client.InstanceInitiatedShutdown": "shut_down"}.get(
        code, "failed"
    )

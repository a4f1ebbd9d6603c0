"""Records of a lease's machines in a cloud, in the form of all machines' records (see ``local_cloud.records``).

Clouds tell of starts and ends in whole seconds. Where this computer knows better, its clock counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from infra.adapters.cloud.tags import ROLE, CloudMachine
from infra.adapters.local_cloud.records import LeaseDirectory, read_json, write_json


def write_machine(directory: LeaseDirectory, machine: CloudMachine, role: str) -> None:
    """Write down that it exists."""
    record = {
        "name": machine.id,
        "role": role,
        "region": machine.region,
        "tags": machine.tags,
        "started_at": max(machine.launched_at, directory.document().get("requested_at", 0.0)),
        "ended_at": None,
        "why": None,
    }
    write_json(directory.path / f"vm-{machine.id}.json", record)


def forget_machine(directory: LeaseDirectory, machine_id: str) -> None:
    """Strike a machine that was written down before it was asked for, and refused; no error when it was not."""
    (directory.path / f"vm-{machine_id}.json").unlink(missing_ok=True)


def note_ends(directory: LeaseDirectory, machines: Iterable[CloudMachine]) -> None:
    """Write down the ends that the cloud tells of, and machines that nobody wrote down."""
    for machine in machines:
        path = directory.path / f"vm-{machine.id}.json"
        if read_json(path) is None:
            write_machine(directory, machine, machine.tags.get(ROLE, "worker"))
        record = read_json(path) or {}
        if not machine.alive and record.get("ended_at") is None:
            ended_at = min(time.time(), machine.ended_at + 1.0)
            write_json(path, record | {"ended_at": max(record["started_at"], ended_at), "why": machine.why})


def note_missing(directory: LeaseDirectory, machines: Iterable[CloudMachine], why: str) -> None:
    """Write down the ends of machines that a cloud, which forgets them at once, does not tell of any more."""
    told = {machine.id for machine in machines}
    for path, record in directory.machines().items():
        if record["name"] not in told and record["ended_at"] is None:
            write_json(path, record | {"ended_at": max(record["started_at"], time.time()), "why": why})

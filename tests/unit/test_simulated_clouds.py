"""What drills do to simulated clouds: the machines of one lease die, and those of others go on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.adapters.local_cloud.faults import CloudFaults
from infra.adapters.local_cloud.records import LeaseDirectory, ProcessIdentity
from infra.drills.clouds import SimulatedClouds
from tests.integration.clusters_support import lease, site


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[dict[str, subprocess.Popen]]:
    """One machine of each of three leases, the last of which is another provider's."""
    found = {}
    for name, provider in (("hurt", "local"), ("spared", "local"), ("rented", "ec2")):
        directory = LeaseDirectory.of(tmp_path, name)
        directory.begin(lease(name), 1000.0, {"provider": provider})
        machine = found[name] = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        record = {"name": "vm", "role": "worker", "started_at": 1000.0, "ended_at": None, "why": None}
        record |= ProcessIdentity.of(machine.pid).as_dict()
        (directory.path / "vm-0.json").write_text(json.dumps(record))
    yield found
    for machine in found.values():
        machine.communicate(b"\n")


def clouds(home: Path) -> SimulatedClouds:
    box: Any = SimpleNamespace(
        settings=SimpleNamespace(site_dir=lambda _name: home), control=SimpleNamespace(sites=(site(),))
    )
    return SimulatedClouds(box)


def test_the_machines_of_one_lease_die_and_no_others(machines: dict[str, subprocess.Popen], tmp_path: Path) -> None:
    for name in ("hurt", "rented"):
        clouds(tmp_path).kill_machines(lease(name))
    assert machines["hurt"].wait(30) == -9
    clouds(tmp_path).kill_machines(lease("hurt"))
    assert [machines[name].poll() for name in ("spared", "rented")] == [None, None]


def test_troubles_hold_until_they_are_healed(tmp_path: Path) -> None:
    hurting = clouds(tmp_path)
    offers = {offer.name for pool in site().pools for offer in pool.offers}
    hurting.go_away()
    assert CloudFaults.of(tmp_path).away
    hurting.sell_out()
    assert set(CloudFaults.of(tmp_path).refuse) == offers
    hurting.heal()
    assert CloudFaults.of(tmp_path) == CloudFaults()

"""A few points of the kill matrix, and the clouds' own troubles, with machines in the emulated EC2."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from infra.drills.kill_matrix import kill_matrix
from infra.drills.play import play
from infra.drills.sandbox import Sandbox
from infra.faults import Point
from tests.clouds.drill import cloud_variables, ec2_configuration, left_in
from tests.clouds.ec2 import Ec2Emulator
from tests.clouds.weather import EmulatedEc2
from tests.integration.clusters_support import until
from tests.integration.ec2_support import ON_EC2

pytestmark = [*ON_EC2, pytest.mark.timeout(500, func_only=True)]

POINTS = (Point.CLUSTER_ASKED, Point.MACHINES_ASKED, Point.CONNECTED)
TROUBLES = ("spot-storm", "cloud-outage")


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ec2Emulator]:
    with Ec2Emulator(boot_s=1.0) as running:
        yield running


@pytest.fixture(scope="module")
def box(cloud: Ec2Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A platform whose both clouds are the emulated EC2."""
    scratch = tmp_path_factory.mktemp("ec2")
    config = scratch / "config"
    config.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud_variables(cloud).items():
            patch.setitem(os.environ, name, value)
        with Sandbox(scratch / "home", print, ec2_configuration(cloud, config)) as up:
            yield up


@pytest.mark.parametrize("point", POINTS)
def test_no_machine_survives_a_kill(cloud: Ec2Emulator, box: Sandbox, point: Point) -> None:
    [row] = kill_matrix(box, [point], seed=2)
    assert row.passed, (row.problem, row.findings)
    assert all("cloud-eu-central" in attempt for attempt in row.run.attempts)
    until(lambda: not left_in(cloud))


@pytest.mark.parametrize("name", TROUBLES)
def test_a_cloud_in_trouble_costs_no_run(cloud: Ec2Emulator, box: Sandbox, name: str) -> None:
    report = play(name, box, [EmulatedEc2(cloud.control, box)])
    assert report.problem == ""
    assert [finding for finding in report.findings if not finding.held] == []
    assert any("cloud-" in attempt for run in report.runs for attempt in run.attempts)
    until(lambda: not left_in(cloud))

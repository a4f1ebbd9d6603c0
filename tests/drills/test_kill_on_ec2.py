"""A few points of the kill matrix with machines in the emulated EC2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.drills.kill_matrix import kill_matrix
from infra.drills.sandbox import Sandbox
from infra.faults import Point
from tests.clouds.drill import cloud_variables, ec2_configuration, left_in
from tests.clouds.ec2 import Ec2Emulator
from tests.integration.clusters_support import until
from tests.integration.ec2_support import ON_EC2

pytestmark = [*ON_EC2, pytest.mark.timeout(500)]

POINTS = (Point.CLUSTER_ASKED, Point.MACHINES_ASKED, Point.CONNECTED)


def test_no_machine_survives_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ec2Emulator(boot_s=1.0) as cloud:
        for name, value in cloud_variables(cloud).items():
            monkeypatch.setitem(os.environ, name, value)
        config = tmp_path / "config"
        config.mkdir()
        with Sandbox(tmp_path / "home", print, ec2_configuration(cloud, config)) as box:
            for row in kill_matrix(box, POINTS, seed=2):
                assert row.passed, (row.point, row.problem, row.findings)
                assert all("cloud-eu-central" in attempt for attempt in row.run.attempts)
        until(lambda: not left_in(cloud))

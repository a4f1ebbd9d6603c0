"""Drills in their short form: on the platform that the scenarios share, each judged like any other."""

from __future__ import annotations

import pytest

from infra.drills.kill_matrix import kill_matrix
from infra.drills.play import play
from infra.faults import Point
from tests.scenarios.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400, func_only=True)]

DRILLS = ("forged-permit", "credential-leak", "control-plane-restart")
POINTS = (Point.LEASE_WRITTEN, Point.RESULT_WRITTEN, Point.FENCED)


@pytest.mark.parametrize("name", DRILLS)
def test_a_drill_is_passed(world: World, name: str) -> None:
    report = play(name, world)
    assert report.problem == ""
    assert [finding for finding in report.findings if not finding.held] == []
    assert report.passed
    assert report.recover_s is not None


def test_a_run_that_is_killed_on_its_way_publishes_once(world: World) -> None:
    for row in kill_matrix(world, POINTS, seed=1):
        assert row.passed, (row.point, row.problem, row.findings)

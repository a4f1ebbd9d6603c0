"""What a site says about the end of an attempt, from what the process left and how it ended."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from infra.core.metering import ReportOutcome
from infra.worker.context import SiteOutcome
from infra.worker.running import Running, StopReason
from infra.worker.site_run import ProcessEnd, SiteRun

WHOLE = SiteOutcome(result_manifest_sha256="a" * 64)
NOTHING = SiteOutcome()
LOST = SiteOutcome(message="CLUSTER_UNREACHABLE", lost=True)
BROKEN = SiteOutcome(message="WORK_FAILED")


@pytest.mark.parametrize(
    ("left", "end", "reason", "expected"),
    [
        pytest.param(WHOLE, ProcessEnd(0, True, True), None, ReportOutcome.FINISHED, id="the engine said so"),
        pytest.param(WHOLE, ProcessEnd(1, None, False), None, ReportOutcome.FINISHED, id="the server was away"),
        pytest.param(WHOLE, ProcessEnd(0, True, True), StopReason.CANCELLED, ReportOutcome.FINISHED, id="before stop"),
        pytest.param(NOTHING, ProcessEnd(-9, None, False), StopReason.CANCELLED, ReportOutcome.CANCELLED, id="stopped"),
        pytest.param(NOTHING, ProcessEnd(-9, None, False), StopReason.CAPPED, ReportOutcome.CAPPED, id="capped"),
        pytest.param(NOTHING, ProcessEnd(-9, None, False), None, ReportOutcome.LOST, id="died"),
        pytest.param(LOST, ProcessEnd(0, False, True), None, ReportOutcome.LOST, id="lost its cluster"),
        pytest.param(BROKEN, ProcessEnd(0, False, True), None, ReportOutcome.FAILED, id="would fail again"),
        pytest.param(NOTHING, None, None, ReportOutcome.LOST, id="never started"),
    ],
)
def test_the_outcome_follows_from_what_was_left(left, end, reason, expected):
    run = SiteRun(SimpleNamespace(left_by=lambda _attempt: left), SimpleNamespace(), SimpleNamespace())
    running = Running("flow-run")
    if reason is not None:
        running.stop(reason)
    assert run._outcome(SimpleNamespace(), running, end) is expected

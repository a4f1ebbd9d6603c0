"""What is decided around a run's end: whether its worker is gone, and which site keeps its result."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.schemas.objects import StateType

from infra.adapters.prefect_runs import FlowRunStatus
from infra.core.errors import RefusedError
from infra.core.inventory import TrustZone
from infra.documents import load_sites
from infra.settings import PACKAGE_DIR
from tasks.publication import keeping_site

HOST = socket.gethostname()
NO_PID = 2**22 + 1
"""Above what Linux gives to any process."""


def _status(process: str) -> FlowRunStatus:
    return FlowRunStatus("an-id", StateType.RUNNING, "Running", 0.0, 1, process)


@pytest.mark.parametrize(
    ("process", "gone"),
    [
        (f"{HOST}:{NO_PID}:lease", True),
        (f"{HOST}:OWN:lease", False),
        (f"another-{HOST}:{NO_PID}:lease", False),
        ("", False),
        (f"{HOST}:not-a-pid:lease", False),
    ],
)
def test_a_worker_is_gone_only_when_it_ran_here_and_has_ended(process: str, gone: bool) -> None:
    process = process.replace("OWN", str(os.getpid()))
    assert _status(process).worker_gone is gone


def _control(control_site: str) -> Any:
    sites = {site.name: site for site in load_sites(PACKAGE_DIR / "sites")}
    return SimpleNamespace(settings=SimpleNamespace(control_site=control_site), site=sites.__getitem__)


def test_a_result_is_kept_where_it_may_lie() -> None:
    assert keeping_site(_control("onprem-fra"), "cloud-us-east", ("PUBLIC",), TrustZone.PUBLIC) == "onprem-fra"
    assert keeping_site(_control("cloud-us-east"), "onprem-fra", ("EU",), TrustZone.PUBLIC) == "onprem-fra"
    assert keeping_site(_control("cloud-eu-central"), "onprem-fra", ("EU",), TrustZone.PRIVATE) == "onprem-fra"
    with pytest.raises(RefusedError, match="RESIDENCY_EXCLUDED"):
        keeping_site(_control("onprem-fra"), "cloud-us-east", ("CH",), TrustZone.PUBLIC)

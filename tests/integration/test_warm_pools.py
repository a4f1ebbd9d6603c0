"""Warm runs as Prefect sees them: started once for each key, found again by their tag."""

from __future__ import annotations

from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Failed
from prefect.testing.utilities import prefect_test_harness

from infra.adapters import prefect_runs
from infra.controller.warm import DEPLOYMENT
from infra.platform.deployments import deployment_names
from tasks.warming import WarmOptions

pytestmark = pytest.mark.slow

TAG = "warm:cloud-eu/od/1"
OPTIONS = {"options": WarmOptions(site="cloud-eu", offer="od", tenant="vision").model_dump()}


@pytest.fixture(scope="module", autouse=True)
def server():
    with prefect_test_harness(server_startup_timeout=120):
        yield


def test_the_deployment_is_one_that_is_made() -> None:
    assert DEPLOYMENT in deployment_names()


def test_a_flow_run_is_started_once_for_each_key_and_found_by_its_tag() -> None:
    with pytest.raises(ObjectNotFound):
        prefect_runs.start(DEPLOYMENT, OPTIONS, "key", [TAG])

    @flow(name="warm-pool")
    def warm_pool(options: WarmOptions) -> None: ...

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(warm_pool)
        client.create_deployment(flow_id, "keep", tags=["headrace"])
    assert prefect_runs.tagged(TAG, 200) == []
    first = prefect_runs.start(DEPLOYMENT, OPTIONS, "key", [TAG])
    assert prefect_runs.start(DEPLOYMENT, OPTIONS, "key", [TAG]) == first
    second = prefect_runs.start(DEPLOYMENT, OPTIONS, "another", [TAG])
    prefect_runs.start(DEPLOYMENT, OPTIONS, "elsewhere", ["warm:cloud-us/od/1"])
    assert [run.id for run in prefect_runs.tagged(TAG, 200)] == [second, first]
    with get_client(sync_client=True) as client:
        started = client.read_flow_run(UUID(first))
        assert started.parameters == OPTIONS
        assert set(started.tags) == {"headrace", TAG}
        client.set_flow_run_state(UUID(first), Completed(), force=True)
        client.set_flow_run_state(UUID(second), Failed(), force=True)
    assert [(run.final, run.completed) for run in prefect_runs.tagged(TAG, 200)] == [(True, False), (True, True)]
    assert [run.id for run in prefect_runs.tagged(TAG, 1)] == [second]

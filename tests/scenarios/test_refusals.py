"""What must not start, does not: other flows in a site's pool, and requests that make no sense. Permits: the drill forged-permit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.exceptions import PrefectHTTPStatusError

from infra.core.canonical import plain
from tests.scenarios.world import SITES, World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300, func_only=True)]


def _quiet(world: World) -> tuple[Any, ...]:
    """The traces of all that was, once what other tests have started is over to its last payment."""
    world.until(lambda: not any(world.notes(site) for site in SITES), "the sites to be idle")
    world.until(lambda: not world.runs.open_attempts(), "all attempts to be settled")
    return _traces(world)


def _traces(world: World) -> tuple[Any, ...]:
    """Everything that a started run would leave: leases, attempts, lines of the ledger, clusters."""
    notes = [note.permit_id for site in SITES for note in world.notes(site)]
    clusters = sorted(path.name for site in SITES for path in world.settings.site_dir(site).glob("leases/*"))
    return notes, clusters, len(world.ledger.entries()), world.runs.open_attempts()


def test_a_site_runs_no_other_flow_than_its_own(world: World) -> None:
    before = _quiet(world)
    flow_id = world.client.create_flow_from_name("anything")
    deployment = world.client.create_deployment(
        flow_id=flow_id, name="mine", work_pool_name="cloud-us-east", entrypoint="flows.probe.probe", parameters={}
    )
    run = world.client.create_flow_run_from_deployment(deployment, parameters={"options": {"tenant": "vision"}})
    assert "FLOW_NOT_ALLOWED" in world.ended(str(run.id), "Refused")
    assert _traces(world) == before


def test_requests_that_make_no_sense_are_refused_and_cost_nothing(world: World) -> None:
    before = _quiet(world)
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    options = {
        "UNKNOWN_TENANT": {"tenant": "nobody"},
        "DEADLINE_PAST": {"deadline": past},
        "CONTRADICTORY_DEADLINE": {"deadline": past, "deadline_minutes": 5},
        "BAD_TIME": {"deadline": "2030-01-01T00:00:00"},
        "UNKNOWN_RESIDENCY": {"residency": ["ATLANTIS"]},
        "UNKNOWN_DEVICE": {"device_kinds": ["abacus"]},
        "BAD_PARAMETERS": {"budget_usd": "NaN"},
    }
    started = {}
    for code, each in options.items():
        started[code] = _start_unchecked(world, {"options": {"tenant": "vision", **each}})
    for code, run in started.items():
        assert code in world.ended(run, "Refused"), code
        assert not world.runs.attempts(run)
    assert _traces(world) == before


def test_an_unknown_dataset_or_model_is_refused(world: World) -> None:
    options = {"tenant": "vision"}
    data = world.start("training/digits", dataset={"name": "nothing", "version": "v1"}, options=options)
    version = world.start("training/digits", dataset={"name": "mnist5k", "version": "v99"}, options=options)
    model = world.start(
        "evaluation/digits", dataset={"name": "mnist5k", "version": "v1"}, model={"name": "no-model"}, options=options
    )
    assert "UNKNOWN_DATASET" in world.ended(data, "Refused")
    assert "NOT_LANDED" in world.ended(version, "Refused")
    assert "UNKNOWN_MODEL" in world.ended(model, "Refused")


def test_the_form_refuses_what_its_schema_excludes(world: World) -> None:
    with pytest.raises(PrefectHTTPStatusError, match=r"409|422"):
        world.probe(budget_usd=-1)
    with pytest.raises(PrefectHTTPStatusError, match=r"409|422"):
        world.probe(colour="blue")


def _start_unchecked(world: World, parameters: dict[str, Any]) -> str:
    """Create a run as a client does that does not care for the form."""
    found = world.client.read_deployment_by_name("probe/empty")
    body = {"parameters": plain(parameters), "enforce_parameter_schema": False, "state": {"type": "SCHEDULED"}}
    answer = world.client.request("POST", "/deployments/{id}/create_flow_run", path_params={"id": found.id}, json=body)
    return str(answer.json()["id"])

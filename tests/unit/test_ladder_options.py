"""Ladders as a flow's form takes them: lighter work is told in the work's own choices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError

from flows.training import training
from infra.core.errors import InputError
from infra.core.rung import Rung
from infra.core.workload import WorkKind, WorkloadRequest
from tasks.options import EvaluationChoices, InferenceChoices, PlacementOptions, ProbeChoices, TrainingChoices
from tasks.rungs import Choices
from tests.unit.placement_world import NOW_AT


def requested(
    *ladder: dict[str, Any], choices: Choices | None = TrainingChoices(epochs=8), rows: float = 100
) -> WorkloadRequest:
    options = PlacementOptions(tenant="vision", devices=2, memory_gb=8, ladder=list(ladder))
    units = choices.units(rows) if choices is not None else rows
    return options.request(WorkKind.TRAINING, (), units, NOW_AT, choices, rows)


def test_the_form_s_ladder_becomes_the_request_s() -> None:
    found = requested(
        {"name": "small", "devices": 1, "memory_gb": 4, "device_kinds": []},
        {"name": "light", "parameters": {"epochs": 2, "hidden": 32}},
        {"name": "narrow", "parameters": {"hidden": 32}, "wait": False},
        {"name": "late", "deadline": "none", "wait": True},
    )
    assert found.ladder == (
        Rung("small", devices=1, memory_gb=4.0, device_kinds=()),
        Rung("light", units=200.0, parameters=(("epochs", 2), ("hidden", 32))),
        Rung("narrow", parameters=(("hidden", 32),), wait=False),
        Rung("late", no_deadline=True, wait=True),
    )
    assert [each.units for each in found.rungs()] == [800, 800, 200, 800, 800]
    assert requested() == replace(found, ladder=())


@pytest.mark.parametrize(
    ("choices", "parameters", "units"),
    [
        (ProbeChoices(sleep_s=5), {"sleep_s": 1}, 1.0),
        (InferenceChoices(), {"partition_rows": 10}, None),
        (EvaluationChoices(), {"champion_tolerance": 0.5}, None),
    ],
)
def test_the_units_are_those_of_the_lighter_work(choices: Choices, parameters: Any, units: float | None) -> None:
    (rung,) = requested({"name": "light", "parameters": parameters}, choices=choices).ladder
    assert (rung.units, dict(rung.parameters)) == (units, parameters)


@pytest.mark.parametrize(
    ("rung", "code", "where"),
    [
        ({"parameters": {"epohcs": 2}}, "UNKNOWN_PARAMETER", "options: ladder[0].parameters"),
        ({"parameters": {"model": "other"}}, "UNKNOWN_PARAMETER", "options: ladder[0].parameters"),
        ({"parameters": {"epochs": 0}}, "BAD_PARAMETER", "options: ladder[0].parameters.epochs"),
        ({"parameters": {"epochs": "few"}}, "BAD_PARAMETER", "options: ladder[0].parameters.epochs"),
        ({"parameters": {"epochs": 9}}, "RUNG_ASKS_MORE", "request: ladder[0].units"),
        ({"devices": 3}, "RUNG_ASKS_MORE", "request: ladder[0].devices"),
        ({}, "EMPTY_RUNG", "rung: name"),
    ],
)
def test_what_the_form_may_not_say(rung: dict[str, Any], code: str, where: str) -> None:
    with pytest.raises(InputError) as caught:
        requested({"name": "r", **rung})
    assert (caught.value.code, caught.value.where) == (code, where)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "rung", [{"devices": 0}, {"deadline": "5m"}, {"unit": 3}, {"parameters": {"sizes": [1]}}, {"name": "a b"}]
)
def test_what_the_form_itself_refuses(rung: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PlacementOptions(tenant="vision", ladder=[{"name": "r", **rung}])


def test_the_stages_of_a_chain_share_no_parameters() -> None:
    with pytest.raises(InputError, match="several kinds of work"):
        requested({"name": "light", "parameters": {"epochs": 2}}, choices=None)
    assert requested({"name": "small", "devices": 1}, choices=None).ladder == (Rung("small", devices=1),)


def test_the_deployment_s_form_shows_it() -> None:
    shown = parameter_schema(training).definitions
    assert shown["PlacementOptions"]["properties"]["ladder"]["items"] == {"$ref": "#/definitions/RungOptions"}
    assert shown["RungOptions"]["properties"]["parameters"]["description"].startswith("Lighter work")

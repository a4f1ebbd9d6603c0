"""The checked-in JSON schemas are those of the code, describe every field and accept what the loaders accept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from infra.core.canonical import plain
from infra.core.errors import InputError
from infra.core.placement.decide import decide
from infra.documents.files import PACKAGED_CONFIG, read_tree
from infra.documents.schemas import SCHEMA_DIRECTORY, SCHEMA_NAMES, schema, schema_text
from tests.unit.document_samples import EXAMPLES, request, snapshot


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_files_are_in_step(name: str) -> None:
    text = (SCHEMA_DIRECTORY / f"{name}.schema.json").read_text(encoding="utf-8")
    assert text == schema_text(name), "run: python -m infra.documents.schemas"
    Draft202012Validator.check_schema(schema(name))


def test_no_other_files() -> None:
    assert {path.name for path in SCHEMA_DIRECTORY.iterdir()} == {f"{name}.schema.json" for name in SCHEMA_NAMES}


@pytest.mark.parametrize("name", [name for name in SCHEMA_NAMES if not name.endswith("record") and name != "snapshot"])
def test_every_field_that_people_read_is_described(name: str) -> None:
    body = schema(name)
    for owner in [body, *body.get("$defs", {}).values()]:
        for key, field in owner.get("properties", {}).items():
            assert field.get("description") or "$ref" in field, f"{name}: {owner.get('title')}.{key}"


def test_units_are_told_in_records() -> None:
    definitions = schema("snapshot")["$defs"]
    assert definitions["Price"]["properties"]["micro_per_hour"]["description"].endswith("(1 USD = 1,000,000).")
    assert "Seconds since the Unix epoch" in definitions["Release"]["properties"]["at"]["description"]
    assert definitions["Site"]["properties"]["bandwidth_mbps"]["description"].startswith("Megabits per second")


def _accepts(name: str, tree: Any) -> bool:
    return Draft202012Validator(schema(name)).is_valid(tree)


def test_schemas_accept_what_is_shipped() -> None:
    for path in sorted((PACKAGED_CONFIG / "sites").glob("*.yaml")):
        assert _accepts("site", read_tree(path))
    for path in sorted((EXAMPLES / "requests").glob("*.yaml")):
        assert _accepts("request", read_tree(path))
    assert _accepts("policy-settings", read_tree(PACKAGED_CONFIG / "policies" / "default.settings.yaml"))
    assert _accepts("policy-cases", read_tree(PACKAGED_CONFIG / "policies" / "default.cases.yaml"))
    assert _accepts("tenants", read_tree(PACKAGED_CONFIG / "tenants.yaml"))
    assert _accepts("rates", read_tree(PACKAGED_CONFIG / "rates.yaml"))
    assert _accepts("snapshot", read_tree(EXAMPLES / "snapshots" / "onprem-busy.json"))


def test_schemas_accept_records_and_refuse_what_is_wrong() -> None:
    world, wanted = snapshot(), request()
    assert _accepts("snapshot", plain(world))
    assert _accepts("request-record", plain(wanted))
    assert _accepts("decision-record", plain(decide(wanted, world)))
    assert not _accepts("snapshot", {**plain(world), "now_at": -1})
    assert not _accepts("snapshot", {**plain(world), "extra": 1})
    base = {"kind": "training", "tenant": "a", "work": {"units": 1}}
    assert _accepts("request", {**base, "datasets": ["a@v1", {"name": "b"}]})
    assert not _accepts("request", {**base, "budget_usd": -1})
    assert not _accepts("request", {**base, "deadline": "2027-01-01T00:00:00Z", "deadline_in": "1m"})


def test_unknown_schema_lists_the_known() -> None:
    with pytest.raises(InputError) as caught:
        schema("sites")
    assert caught.value.code == "UNKNOWN_SCHEMA"
    assert "did you mean 'site'?" in caught.value.remedy


def test_schemas_are_plain_json() -> None:
    for name in SCHEMA_NAMES:
        assert json.loads(schema_text(name)) == schema(name)

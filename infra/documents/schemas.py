"""JSON schemas of all formats. The files in ``infra/schemas`` are written from here: ``python -m infra.documents.schemas``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from infra.core.placement.decision import Decision
from infra.core.placement.snapshot import Snapshot
from infra.core.workload import WorkloadRequest
from infra.documents.answer import DecisionAnswer
from infra.documents.catalogue import CatalogueDocument
from infra.documents.fields import NAME_PATTERN
from infra.documents.pipeline import PipelineDocument
from infra.documents.pipeline_answer import PipelineAnswer
from infra.documents.policy import PolicySettingsDocument
from infra.documents.policy_cases import CasesDocument
from infra.documents.policy_rules import RuleDocument
from infra.documents.problems import unknown
from infra.documents.rates import RatesDocument
from infra.documents.record_schema import record_schema
from infra.documents.request import VERSION_PATTERN, RequestDocument
from infra.documents.sites import SiteDocument
from infra.documents.tenants import TenantsDocument

SCHEMA_DIRECTORY = Path(__file__).resolve().parent.parent / "schemas"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _model(model: type[BaseModel]) -> Callable[[], dict[str, Any]]:
    return lambda: model.model_json_schema(by_alias=True)


def _as_people_write(body: dict[str, Any]) -> None:
    # The model sees datasets only after texts were split; people may write either form.
    body["properties"]["datasets"]["items"] = {
        "anyOf": [
            {"$ref": "#/$defs/DatasetRefDocument"},
            {"type": "string", "pattern": f"{NAME_PATTERN[:-1]}(@{VERSION_PATTERN[1:-1]})?$"},
        ]
    }
    _one_deadline(body)


def _one_deadline(body: dict[str, Any]) -> None:
    body["not"] = {
        "required": ["deadline", "deadline_in"],
        "properties": {"deadline": {"type": "string"}, "deadline_in": {"type": "string"}},
    }


def _request() -> dict[str, Any]:
    schema = RequestDocument.model_json_schema(by_alias=True)
    _as_people_write(schema)
    return schema


def _pipeline() -> dict[str, Any]:
    schema = PipelineDocument.model_json_schema(by_alias=True)
    _one_deadline(schema)
    stage = schema["$defs"]["StageDocument"]
    _as_people_write(stage)
    stage["properties"]["inputs"]["items"] = {
        "anyOf": [{"$ref": "#/$defs/StageInputDocument"}, {"type": "string", "pattern": NAME_PATTERN}]
    }
    return schema


def _snapshot() -> dict[str, Any]:
    """The record's schema, and what people may write instead: no policy, or one as a list of rules."""
    schema = record_schema(Snapshot)
    schema["required"].remove("policy")
    rule = RuleDocument.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
    schema["$defs"] |= {**rule.pop("$defs"), "Rule": rule}
    policy = schema["$defs"]["Policy"]
    policy["properties"]["rules"] = {
        "type": "array",
        "items": {"$ref": "#/$defs/Rule"},
        "description": "Instead of text: what matches all keys of one of these rules is forbidden, all else allowed.",
    }
    policy["not"] = {"required": ["text", "rules"]}
    return schema


_SCHEMAS: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "site": ("A site file", _model(SiteDocument)),
    "request": ("A workload request", _request),
    "pipeline": ("A pipeline of several stages", _pipeline),
    "snapshot": ("A snapshot of the world", _snapshot),
    "policy-settings": ("The settings beside a policy", _model(PolicySettingsDocument)),
    "policy-cases": ("The cases beside a policy", _model(CasesDocument)),
    "tenants": ("The tenants file", _model(TenantsDocument)),
    "rates": ("The rates file", _model(RatesDocument)),
    "catalogue": ("The catalogue of machine types", _model(CatalogueDocument)),
    "decision": ("The answer of headrace place --json", _model(DecisionAnswer)),
    "pipeline-decision": ("The answer of headrace place --json for a pipeline", _model(PipelineAnswer)),
    "request-record": ("The request as it is recorded", lambda: record_schema(WorkloadRequest)),
    "decision-record": ("The decision as it is recorded", lambda: record_schema(Decision, signed=True)),
}
SCHEMA_NAMES = tuple(_SCHEMAS)


def schema(name: str) -> dict[str, Any]:
    """The JSON schema (2020-12) of a format.

    Raises:
        InputError: ``UNKNOWN_SCHEMA``, with the names.
    """
    if name not in _SCHEMAS:
        raise unknown("UNKNOWN_SCHEMA", "schema", name, SCHEMA_NAMES, "schema")
    title, build = _SCHEMAS[name]
    body = build()
    body.pop("title", None)
    return {"$schema": _DIALECT, "$id": f"urn:headrace:schema:{name}", "title": title, **body}


def schema_text(name: str) -> str:
    """The schema as its file holds it."""
    return json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"


def write_schemas(directory: Path = SCHEMA_DIRECTORY) -> None:
    """Write all schema files."""
    for name in SCHEMA_NAMES:
        (directory / f"{name}.schema.json").write_text(schema_text(name), encoding="utf-8")


if __name__ == "__main__":
    write_schemas()

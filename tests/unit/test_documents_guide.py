"""The examples of docs/formats.md are read by the loaders that they describe, and its lists are complete."""

from __future__ import annotations

import re
from pathlib import Path

from infra.core.placement.decision import ChangeKind, ReasonCode
from infra.core.units import instant
from infra.documents import load_policy, load_rates, load_request, load_site, load_snapshot, load_tenants
from infra.documents.files import PACKAGED_CONFIG
from infra.documents.policy_cases import run_cases
from infra.documents.schemas import SCHEMA_NAMES
from tests.unit.document_samples import NOW_AT, REPOSITORY

GUIDE = (REPOSITORY / "docs" / "formats.md").read_text(encoding="utf-8")


def _example(heading: str, language: str = "yaml") -> str:
    section = re.split(r"^#{2,3} ", GUIDE.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    return section.split(f"```{language}\n", 1)[1].split("```", 1)[0]


def _file(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_examples_are_read(tmp_path) -> None:
    site = load_site(_file(tmp_path, "edge-osl.yaml", _example("Sites")))
    assert site.pools[0].offers[0].price is not None
    policy = _file(tmp_path, "p.cedar", (PACKAGED_CONFIG / "policies" / "default.cedar").read_text(encoding="utf-8"))
    _file(tmp_path, "p.settings.yaml", _example("Policies"))
    (result,) = run_cases(load_policy(policy), _file(tmp_path, "p.cases.yaml", _example("Policy cases")))
    assert result.passed
    assert load_tenants(_file(tmp_path, "tenants.yaml", _example("Tenants")))
    assert load_rates(_file(tmp_path, "rates.yaml", _example("Rates")))
    request = load_request(_example("Requests"), NOW_AT)
    assert request.deadline_at == instant("2026-11-24T14:20:00Z")
    snapshot = load_snapshot(_file(tmp_path, "s.json", _example("Snapshots", "json")))
    assert snapshot.now_at == NOW_AT


def test_lists_are_complete() -> None:
    for name in (*SCHEMA_NAMES, *ReasonCode, *ChangeKind):
        assert f"`{name}`" in GUIDE

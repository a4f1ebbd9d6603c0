"""The documentation is held against what is there: error codes both ways, links, commands' names, pictures."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("infra", "tasks", "data_contracts", "blocks")
CODE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
RAISERS = re.compile(r"\w*Error|refuse|unknown|Finding")
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def _sources() -> Iterator[str]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield path.read_text(encoding="utf-8")


def _code_position(call: ast.Call) -> Iterator[ast.expr]:
    """Where a call that makes an error says its code: the first argument, the second of an ended run's, or ``code``."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if RAISERS.fullmatch(name):
        yield from call.args[1:2] if name == "EndedError" else call.args[:1]
        yield from (keyword.value for keyword in call.keywords if keyword.arg == "code")


def _raised() -> set[str]:
    codes = set()
    for source in _sources():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call):
                for value in _code_position(node):
                    for part in ast.walk(value):
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            codes |= {part.value} if CODE.fullmatch(part.value) else set()
    return codes


def test_every_error_code_is_documented_and_every_documented_one_exists() -> None:
    rows = [
        line for line in (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").splitlines() if line[:3] == "| `"
    ]
    listed = {code for row in rows for code in re.findall(r"`([A-Z0-9_]+)`", row.split(" | ")[0])}
    raised = _raised()
    assert len(raised) > 150
    assert raised - listed == set()
    written = {code for source in _sources() for code in CODE.findall(source)}
    assert listed - written == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name} links to {target}"

"""Reading YAML and JSON without surprises.

YAML is read with the scalars of YAML 1.2: ``NO`` is Norway and not false, ``22:00`` is text and not 1320, dates stay
text. Keys that stand twice, aliases, several documents, NaN in JSON and files above 16 MB are refused.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from infra.core.errors import InputError

MAX_BYTES = 16_000_000
PACKAGED_CONFIG = Path(__file__).resolve().parent.parent


def config_path(*parts: str) -> Path:
    """A file or directory of the configuration: under ``$HEADRACE_CONFIG`` when it is set, else the packaged one.

    Raises:
        InputError: ``CONFIG_MISSING`` when ``$HEADRACE_CONFIG`` is no directory.
    """
    named = os.environ.get("HEADRACE_CONFIG")
    root = Path(named) if named else PACKAGED_CONFIG
    if not root.is_dir():
        raise InputError(
            "CONFIG_MISSING",
            f"{named!r} is no directory",
            "HEADRACE_CONFIG",
            "name a directory with sites/, policies/, tenants.yaml and rates.yaml, or unset it",
        )
    return root.joinpath(*parts)


def display(path: Path) -> str:
    """The path as it is told to people: relative to the working directory when it lies inside it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8.

    Raises:
        InputError: ``FILE_MISSING``, ``FILE_UNREADABLE`` or ``FILE_TOO_LARGE``.
    """
    where = display(path)
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise InputError("FILE_TOO_LARGE", f"more than {MAX_BYTES} bytes", where, "is this the right file?")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError("FILE_MISSING", "there is no such file", where, "check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("FILE_UNREADABLE", str(error), where, "give a readable text file in UTF-8") from error


def read_tree(path: Path) -> Any:
    """Plain values of a YAML or JSON file, by its suffix (``.json`` is JSON, everything else YAML)."""
    text = read_text(path)
    return parse_json(text, display(path)) if path.suffix == ".json" else parse_yaml(text, display(path))


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 scalars that refuses aliases and keys that stand twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not allowed: write the value out", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(problem=f"key {key!r} is not text", problem_mark=key_node.start_mark)
            if key in seen:
                raise _DuplicateKey(problem=f"key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


class _DuplicateKey(yaml.MarkedYAMLError):
    pass


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def _decimal_int(loader: _Loader, node: Any) -> int:
    return int(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _decimal_int)


def parse_yaml(text: str, where: str) -> Any:
    """Plain values of one YAML document.

    Raises:
        InputError: ``BAD_YAML`` or ``DUPLICATE_KEY``, with line and column.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}: line {mark.line + 1}, column {mark.column + 1}" if mark else where
        code = "DUPLICATE_KEY" if isinstance(error, _DuplicateKey) else "BAD_YAML"
        raise InputError(code, error.problem or str(error.context), place, "correct the YAML") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError("BAD_YAML", " ".join(str(error).split()), where, "correct the YAML") from error
    except RecursionError:
        raise InputError("BAD_YAML", "nested too deeply", where, "flatten it") from None


class _JsonProblem(ValueError):
    def __init__(self, code: str, problem: str) -> None:
        super().__init__(problem)
        self.code = code


def parse_json(text: str | bytes, where: str) -> Any:
    """Plain values of one JSON document.

    Raises:
        InputError: ``BAD_JSON`` (also for NaN and infinities) or ``DUPLICATE_KEY``.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in items:
            if key in found:
                raise _JsonProblem("DUPLICATE_KEY", f"key {key!r} stands twice")
            found[key] = value
        return found

    def constant(name: str) -> float:
        raise _JsonProblem("BAD_JSON", f"{name} is not JSON")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except _JsonProblem as error:
        raise InputError(error.code, str(error), where, "correct the JSON") from error
    except json.JSONDecodeError as error:
        place = f"{where}: line {error.lineno}, column {error.colno}"
        raise InputError("BAD_JSON", error.msg, place, "correct the JSON") from error
    except (ValueError, RecursionError) as error:
        raise InputError("BAD_JSON", str(error) or "nested too deeply", where, "correct the JSON") from error

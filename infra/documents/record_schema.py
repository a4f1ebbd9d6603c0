"""JSON schemas of records, made from the core dataclasses, their docstrings and the units in their names."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Sequence
from enum import Enum
from typing import Any, get_args, get_origin

from infra.documents.codec import hints, members, required

_SCALARS: dict[Any, dict[str, Any]] = {
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
}
_ENTRY = re.compile(r"^    (?P<names>[a-z][a-z0-9_, ]*): (?P<text>.*)$")
_UNITS = (
    (re.compile(r"(^|_)micro(_|$)"), "Micro-dollars (1 USD = 1,000,000)."),
    (re.compile(r"(^|_)at$"), "Seconds since the Unix epoch, UTC."),
    (re.compile(r"_s$"), "Seconds."),
    (re.compile(r"_minute$"), "Minutes."),
    (re.compile(r"_gb$"), "Gigabytes (10^9 bytes)."),
    (re.compile(r"_mbps$"), "Megabits per second."),
    (re.compile(r"^bytes$"), "Bytes."),
)


def record_schema(kind: type[Any], *, signed: bool = False) -> dict[str, Any]:
    """The JSON schema (2020-12) of a record.

    Args:
        signed: As for :func:`infra.documents.codec.read_record`.
    """
    definitions: dict[str, Any] = {}
    _define(kind, definitions, signed)
    root = definitions.pop(kind.__name__)
    return {**root, "$defs": {name: definitions[name] for name in sorted(definitions)}}


def _define(kind: type[Any], definitions: dict[str, Any], signed: bool) -> None:
    if kind.__name__ in definitions:
        return
    definitions[kind.__name__] = {}
    summary, described = _docstring(kind)
    properties: dict[str, Any] = {}
    if issubclass(kind, Enum):
        definitions[kind.__name__] = {
            "type": "string",
            "enum": [member.value for member in kind],
            "description": summary,
        }
        return
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    for name, hint in hints(kind).items():
        schema = _schema(hint, definitions, signed)
        text = " ".join(part for part in (described.get(name, ""), _unit(name)) if part)
        if text:
            schema = {**schema, "description": text}
        default = defaults[name]
        if default is None or isinstance(default, bool | int | float | str):
            schema = {**schema, "default": default.value if isinstance(default, Enum) else default}
        properties[name] = schema
    definitions[kind.__name__] = {
        "type": "object",
        "description": summary,
        "properties": properties,
        "required": [name for name in properties if name in required(kind)],
        "additionalProperties": False,
    }


def _schema(hint: Any, definitions: dict[str, Any], signed: bool) -> dict[str, Any]:
    options = members(hint)
    if len(options) > 1:
        return {"anyOf": [_schema(option, definitions, signed) for option in options]}
    if get_origin(hint) in (tuple, Sequence):
        kinds = get_args(hint)
        if kinds[1:] in ((), (Ellipsis,)):
            return {"type": "array", "items": _schema(kinds[0], definitions, signed)}
        items = [_schema(kind, definitions, signed) for kind in kinds]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if isinstance(hint, type) and (dataclasses.is_dataclass(hint) or issubclass(hint, Enum)):
        _define(hint, definitions, signed)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    scalar = dict(_SCALARS[hint])
    if hint in (int, float) and not signed:
        scalar["minimum"] = 0
    return scalar


def _unit(name: str) -> str:
    return next((text for pattern, text in _UNITS if pattern.search(name)), "")


def _docstring(kind: type[Any]) -> tuple[str, dict[str, str]]:
    """Summary of a class's docstring and what its ``Attributes:`` section says of each field."""
    text = inspect.cleandoc(kind.__doc__ or "")
    if text.startswith(f"{kind.__name__}("):  # what dataclasses write when nobody did
        text = ""
    head, _, attributes = text.partition("Attributes:\n")
    described: dict[str, str] = {}
    names: list[str] = []
    for line in attributes.splitlines():
        entry = _ENTRY.match(line)
        if entry:
            names = [name.strip() for name in entry["names"].split(",")]
        for name in names:
            part = _plain(entry["text"] if entry else line)
            described[name] = f"{described.get(name, '')} {part}".strip()
    return _plain(head.strip().split("\n\n")[0]), described


def _plain(text: str) -> str:
    """Docstring mark-up taken off, on one line."""
    text = re.sub(r":[a-z]+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", text)
    return " ".join(text.replace("``", "").replace("*", "").split())

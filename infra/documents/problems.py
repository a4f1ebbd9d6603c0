"""From whatever a validator says to an :class:`InputError` that names the file, the field and the way out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from infra.core.errors import InputError

Model = TypeVar("Model", bound=BaseModel)
_FIELD = re.compile(r"^[a-z][a-z0-9_]*(?:\[\d+\]|\.[a-z][a-z0-9_]*)*$")


def dotted(location: Iterable[str | int]) -> str:
    """``pools[0].offers[1].price_usd_per_hour`` for ``("pools", 0, "offers", 1, "price_usd_per_hour")``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def short(value: Any) -> str:
    """The value as Python writes it, cut to a length that a line can bear."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def join(where: str, path: str) -> str:
    return f"{where}: {path}" if path else where


def unknown(code: str, what: str, value: Any, options: Iterable[str], where: str) -> InputError:
    """An error for a value that is none of the options; the remedy lists them and names the nearest."""
    known = list(options)
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    listed = f"one of: {', '.join(known)}" if known else "there is none"
    return InputError(code, f"{short(value)} is no {what}", where, f"{hint}{listed}")


@contextmanager
def located(where: str, path: str = "", renamed: dict[str, str] | None = None) -> Iterator[None]:
    """Put the file and the path in front of errors that core values raise about their own fields.

    Core says ``offer spot: boot_s``; here the field is appended to the path of the offer in the file. ``renamed`` maps
    core fields to the names that they have in the file.
    """
    try:
        yield
    except InputError as error:
        field = error.where.rsplit(": ", 1)[-1]
        field = (renamed or {}).get(field, field)
        full = f"{path}.{field}" if path and _FIELD.match(field) else field if _FIELD.match(field) else path
        raise InputError(error.code, error.problem, join(where, full), error.remedy) from error


def validated(model: type[Model], value: Any, where: str) -> Model:
    """The model of a parsed document.

    Raises:
        InputError: for the first thing that is wrong; the others are named in its problem.
    """
    if not isinstance(value, dict):
        raise InputError("BAD_TYPE", f"{_kind(value)} instead of a mapping", where, f"keys: {', '.join(_keys(model))}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        # A misspelt key is told before the key that is missing because of it.
        problems = sorted(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
        first = _input_error(model, problems[0], where)
        paths = [dotted(_names(item["loc"])) for item in problems]
        # A list with a bad item is also reported as too short: the item says it better.
        others = sorted(
            {path for path in paths[1:] if not any(other.startswith(path) for other in paths if other != path)}
        )
        others = [path for path in others if path != paths[0]]
        if others:
            first = InputError(
                first.code, f"{first.problem} (also wrong: {', '.join(others)})", first.where, first.remedy
            )
        raise first from error


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


def _names(location: tuple[int | str, ...]) -> list[int | str]:
    """The location without what pydantic adds for unions and functions."""
    return [part for part in location if isinstance(part, int) or _FIELD.match(part)]


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that the parent of a location belongs to."""
    current: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int) or current is None:
            continue
        by_key = {field.alias or name: field for name, field in current.model_fields.items()}
        if part in by_key:
            current = _inner_model(by_key[part].annotation)
    return current


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None


def _input_error(model: type[BaseModel], problem: Any, where: str) -> InputError:
    location = tuple(problem["loc"])
    place = join(where, dotted(_names(location)))
    value, kind, context = problem["input"], problem["type"], problem.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, InputError):
        tail = cause.where if _FIELD.match(cause.where) else ""
        if tail:
            place = join(where, dotted([*_names(location), tail]))
        return InputError(cause.code, cause.problem, place, cause.remedy)
    if kind == "extra_forbidden":
        owner = _model_at(model, location[:-1])
        return unknown("UNKNOWN_KEY", "key here", location[-1], _keys(owner) if owner else (), place)
    if kind == "missing":
        return InputError("MISSING_KEY", "the key is missing", place, f"add {location[-1]}")
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        owner = _model_at(model, location)
        keys = ", ".join(_keys(owner)) if owner else "see docs/formats.md"
        return InputError("BAD_TYPE", f"{_kind(value)} instead of a mapping", place, f"keys: {keys}")
    if kind == "enum":
        options = [option.strip("' ") for option in re.split(r",| or ", context["expected"])]
        return unknown("UNKNOWN_VALUE", "known value", value, options, place)
    if kind.startswith(("float", "int", "greater", "less", "finite")):
        return InputError("BAD_NUMBER", f"{short(value)}: {problem['msg']}", place, "give a finite number in its range")
    if kind == "string_pattern_mismatch" and not problem["ctx"]["pattern"].startswith("^[A-Za-z0-9]"):
        remedy = f"it must match {problem['ctx']['pattern']}"
        return InputError("BAD_VALUE", f"{short(value)} has another form", place, remedy)
    if kind == "string_pattern_mismatch":
        remedy = "use letters, digits, dot, hyphen and underscore, beginning with a letter or digit"
        return InputError("BAD_NAME", f"{short(value)} is not a name", place, remedy)
    return InputError("BAD_TYPE", f"{problem['msg']}, not {_kind(value)}", place, "see docs/formats.md")

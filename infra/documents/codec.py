"""Records: canonical JSON of core dataclasses, read back to equal values and equal bytes.

The dataclasses themselves are the format. Writing is :func:`infra.core.canonical.canonical`; reading follows the
fields' types and is strict: no unknown keys, no text for numbers, no fractions for whole numbers, nothing that is not
finite. A number keeps whether it was whole, so that writing it again gives the same bytes. Fields that have a default
in core may be left out, which lets people write snapshots by hand.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Sequence
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from infra.core.errors import InputError
from infra.core.units import MAX_INSTANT_AT, MAX_NUMBER
from infra.documents.problems import join, located, short, unknown

Value = TypeVar("Value")


@cache
def hints(kind: type) -> dict[str, Any]:
    """Resolved types of a dataclass's fields, in their order."""
    resolved = get_type_hints(kind)
    return {field.name: resolved[field.name] for field in dataclasses.fields(kind)}


@cache
def required(kind: type) -> frozenset[str]:
    """Fields of a dataclass that have no default."""
    missing = dataclasses.MISSING
    return frozenset(
        field.name
        for field in dataclasses.fields(kind)
        if field.default is missing and field.default_factory is missing
    )


def read_record(kind: type[Value], tree: Any, where: str, *, signed: bool = False) -> Value:
    """A core value of parsed JSON.

    Args:
        signed: Whether numbers below zero are allowed (reasons in decisions may carry a difference).

    Raises:
        InputError: with ``where`` and the dotted path of what is wrong.
    """
    value: Value = _Reader(where, signed).read(kind, tree, "")
    return value


def members(hint: Any) -> tuple[Any, ...]:
    """Alternatives of a type: those of a union, else the type alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


@dataclasses.dataclass(frozen=True, slots=True)
class _Reader:
    where: str
    signed: bool

    def read(self, hint: Any, value: Any, path: str) -> Any:
        options = members(hint)
        if len(options) > 1:
            hint = next((option for option in options if _fits(option, value)), None)
            if hint is None:
                raise self._type_error(value, " or ".join(_name(option) for option in options), path)
        if hint is type(None):
            return None
        if get_origin(hint) in (tuple, Sequence):
            return self._tuple(get_args(hint), value, path)
        if dataclasses.is_dataclass(hint):
            return self._dataclass(hint, value, path)
        if isinstance(hint, type) and issubclass(hint, Enum):
            try:
                return hint(value)
            except ValueError:
                choices = [str(member.value) for member in hint]
                raise unknown("UNKNOWN_VALUE", "known value", value, choices, join(self.where, path)) from None
        if not _fits(hint, value):
            raise self._type_error(value, _name(hint), path)
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._check_number(value, path)
        return value

    def _dataclass(self, kind: Any, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise self._type_error(value, f"an object with {', '.join(hints(kind))}", path)
        fields = hints(kind)
        for key in value:
            if key not in fields:
                raise unknown("UNKNOWN_KEY", "key here", key, fields, join(self.where, _under(path, key)))
        for key in fields:
            if key in required(kind) and key not in value:
                raise InputError("MISSING_KEY", "the key is missing", join(self.where, _under(path, key)), f"add {key}")
        read = {key: self.read(fields[key], item, _under(path, key)) for key, item in value.items()}
        with located(self.where, path):
            return kind(**read)

    def _tuple(self, kinds: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise self._type_error(value, "a list", path)
        if kinds[1:] in ((), (Ellipsis,)):  # a Sequence, or a tuple of any length
            kinds = (kinds[0],) * len(value)
        if len(kinds) != len(value):
            raise self._type_error(value, f"a list of {len(kinds)}", path)
        return tuple(
            self.read(kind, item, f"{path}[{index}]")
            for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
        )

    def _check_number(self, value: int | float, path: str) -> None:
        instant = path.endswith(("_at", ".at"))
        largest = MAX_INSTANT_AT if instant else MAX_NUMBER
        smallest = -largest if self.signed else 0
        # NaN compares false with everything, so it is refused here too.
        if not smallest <= value <= largest:
            raise InputError(
                "BAD_TIME" if instant else "BAD_NUMBER",
                f"{short(value)} is out of range",
                join(self.where, path),
                f"give a finite number from {smallest:g} to {largest:g}",
            )

    def _type_error(self, value: Any, wanted: str, path: str) -> InputError:
        code = "BAD_NUMBER" if wanted in ("a number", "a whole number") else "BAD_TYPE"
        return InputError(code, f"{short(value)} is not {wanted}", join(self.where, path), f"give {wanted}")


def _under(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _fits(hint: Any, value: Any) -> bool:
    """Whether a JSON value has the outer shape of a type."""
    if hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is str or (isinstance(hint, type) and issubclass(hint, Enum)):
        return isinstance(value, str)
    return isinstance(value, list) if get_origin(hint) is tuple else isinstance(value, dict)


def _name(hint: Any) -> str:
    names = {type(None): "null", bool: "true or false", float: "a number", int: "a whole number", str: "text"}
    return names.get(hint, "a list" if get_origin(hint) is tuple else "an object")

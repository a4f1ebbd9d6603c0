"""Availability traces of spot capacity: JSON with ``metadata.gap_seconds`` and ``data``, where 1 means obtainable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.core.errors import InputError
from infra.core.units import SECONDS_PER_HOUR, require_number
from infra.documents.files import display, parse_json, read_text


@dataclass(frozen=True, slots=True)
class SpotTrace:
    """A zone's recorded availability.

    Attributes:
        name: The file's name without its suffix.
        tick_h: Hours between two values.
        available: Whether capacity was obtainable, tick by tick.
    """

    name: str
    tick_h: float
    available: tuple[bool, ...]


def load_spot_trace(path: Path) -> SpotTrace:
    """Read and check a trace.

    Raises:
        InputError: ``FILE_MISSING``, ``FILE_UNREADABLE``, ``BAD_JSON``, ``BAD_TYPE``, ``MISSING_KEY``, ``BAD_VALUE``,
            ``BAD_NUMBER``; each names the file and the key.
    """
    where = display(path)
    tree = parse_json(read_text(path), where)
    gap_s = _member(_member(tree, "metadata", where), "gap_seconds", f"{where}: metadata")
    require_number(gap_s, f"{where}: metadata.gap_seconds", exclusive=True)
    data = _member(tree, "data", where)
    if not isinstance(data, list) or not data:
        raise InputError("BAD_TYPE", "data is no list of values", f"{where}: data", "list a 0 or 1 for each tick")
    wrong = next((index for index, value in enumerate(data) if not _is_flag(value)), None)
    if wrong is not None:
        raise InputError(
            "BAD_VALUE", f"{data[wrong]!r} is neither 0 nor 1", f"{where}: data[{wrong}]", "1 means obtainable, 0 not"
        )
    return SpotTrace(path.stem, gap_s / SECONDS_PER_HOUR, tuple(bool(value) for value in data))


def _is_flag(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value in (0, 1)


def _member(tree: Any, key: str, where: str) -> Any:
    if not isinstance(tree, dict):
        raise InputError("BAD_TYPE", "not an object", where, "see docs/simulate.md for the format of a trace")
    if key not in tree:
        raise InputError("MISSING_KEY", f"there is no {key!r}", where, "see docs/simulate.md for the format of a trace")
    return tree[key]

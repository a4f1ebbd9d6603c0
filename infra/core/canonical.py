"""Canonical JSON of core values: equal values give equal bytes, so records can be compared and digested."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

from infra.core.deferred import Deferred
from infra.core.errors import InputError

ADDED: Mapping[str, Any] = MappingProxyType({"added": True})
"""Metadata of a dataclass field that came after values were recorded without it: it has no place in the canonical form while
it holds its default, so that what was recorded before keeps its bytes and its digest."""


def plain(value: Any) -> Any:
    """Turn dataclasses, enums and tuples into what JSON knows. Dataclass fields keep their names.

    Raises:
        InputError: ``NOT_CANONICAL`` for NaN, infinities and types that have no canonical form.
    """
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if not (field.metadata and "added" in field.metadata and getattr(value, field.name) == field.default)
        }
    if isinstance(value, tuple | list | Deferred):
        return [plain(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(item) for key, item in value.items()}
    raise InputError("NOT_CANONICAL", f"{value!r} has no canonical form", type(value).__name__, "use plain values")


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8, shortest floats that read back the same."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def run_key(run_id: str) -> str:
    """A run id as one part of an object-store key: stages (``flow-run:stage``) are joined with ``--``."""
    return run_id.replace(":", "--")

"""Types of the fields that people write: strict, finite, never negative, with their unit in the schema."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from infra.core.errors import InputError
from infra.core.units import MAX_INSTANT_AT, instant, micro_from_usd
from infra.documents.problems import short

LONGEST_S = 100 * 366 * 86_400.0
LARGEST = 1e15


class Document(BaseModel):
    """Base of all file models: unknown keys are refused, values are not changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=False)


def _number(value: Any) -> Any:
    # Checked here and not by pydantic's strict mode alone, so that huge whole numbers never overflow a float.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError("BAD_NUMBER", f"{short(value)} is not a number", "", "give a finite number without quotes")
    if not 0 <= value <= LARGEST:
        raise InputError("BAD_NUMBER", f"{short(value)} is out of range", "", f"give a number from 0 to {LARGEST:g}")
    return value


def _money(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST / 1e6:
        raise InputError("BAD_MONEY", f"{short(value)} is not an amount", "", "give a finite amount in USD, 0 or more")
    micro_from_usd(value)
    return value


def _instant(value: Any) -> Any:
    at = instant(value, "")
    if not 0 <= at <= MAX_INSTANT_AT:
        raise InputError("BAD_TIME", f"{short(value)} is out of range", "", "give an instant from 1970 to 5138")
    return value


_DURATION = re.compile(
    r"^(?:P(?:(?P<D>\d+)D)?(?:T(?:(?P<H>\d+)H)?(?:(?P<M>\d+)M)?(?:(?P<S>\d+(?:\.\d+)?)S)?)?"
    r"|(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?)$"
)
_UNIT_S = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def duration_s(text: Any) -> float:
    """Seconds of a duration such as ``30m``, ``1h30m``, ``45s``, ``2d`` or ISO 8601 ``PT30M``.

    Raises:
        InputError: ``BAD_DURATION`` also when it is not above zero.
    """
    match = _DURATION.match(text) if isinstance(text, str) and len(text) <= 40 else None
    parts = {unit.lower(): value for unit, value in match.groupdict().items() if value} if match else {}
    seconds = sum(float(value) * _UNIT_S[unit] for unit, value in parts.items())
    if not 0 < seconds <= LONGEST_S:
        raise InputError(
            "BAD_DURATION",
            f"{short(text)} is not a duration above zero and below a century",
            "",
            "write 30m, 1h30m, 45s or PT30M",
        )
    return seconds


def _duration(value: Any) -> Any:
    duration_s(value)
    return value


_MINUTE = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)$")


def minute_of(text: Any) -> int:
    """Minute of the day of a text such as ``22:00``.

    Raises:
        InputError: ``BAD_TIME``.
    """
    match = _MINUTE.match(text) if isinstance(text, str) else None
    if match is None:
        raise InputError("BAD_TIME", f"{short(text)} is no time of day", "", "write 22:00 (UTC, 00:00 to 23:59)")
    return int(match[1]) * 60 + int(match[2])


def _minute(value: Any) -> Any:
    minute_of(value)
    return value


NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A name that can be part of a key, a pool and an address."""
Text = Annotated[str, Field(min_length=1, max_length=2000)]
# Constraints stand before the functions, so that they reach the JSON schema under its own keywords.
Number = Annotated[float, Field(ge=0), BeforeValidator(_number)]
Positive = Annotated[float, Field(gt=0), BeforeValidator(_number)]
Count = Annotated[int, Field(strict=True, ge=0, le=1_000_000), BeforeValidator(_number)]
Probability = Annotated[float, Field(gt=0.5, lt=1), BeforeValidator(_number)]
Usd = Annotated[float, Field(ge=0), BeforeValidator(_money)]
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"}), BeforeValidator(_instant)]
Duration = Annotated[str, Field(json_schema_extra={"examples": ["30m", "1h30m", "PT30M"]}), BeforeValidator(_duration)]
MinuteOfDay = Annotated[str, Field(json_schema_extra={"pattern": _MINUTE.pattern}), BeforeValidator(_minute)]

"""Reads a work's parameters: known names only, right types, sane ranges, one clear error for each fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.core.errors import InputError
from infra.core.units import require_number
from tasks.site_job import SiteWork


class Parameters:
    """The parameters of one work.

    Args:
        work: Whose parameters.
        known: Every name that this kind of work understands.

    Raises:
        InputError: ``UNKNOWN_PARAMETER`` when there is another name among them.
    """

    def __init__(self, work: SiteWork, known: tuple[str, ...]) -> None:
        self._values: Mapping[str, Any] = work.parameters
        self._where = f"{work.kind} parameters"
        for name in self._values:
            if name not in known:
                raise InputError(
                    "UNKNOWN_PARAMETER",
                    f"{name!r} is no parameter of {work.kind}",
                    self._where,
                    f"use only {', '.join(sorted(known)) or 'none'}",
                )

    def whole(self, name: str, default: int, minimum: int = 0, maximum: int = 1_000_000_000) -> int:
        """A whole number within the bounds, both included.

        Raises:
            InputError: ``BAD_NUMBER``.
        """
        value = self._values.get(name, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise InputError(
                "BAD_NUMBER", f"{value!r}", f"{self._where}: {name}", f"give a whole number from {minimum} to {maximum}"
            )
        return value

    def number(self, name: str, default: float, minimum: float = 0.0, *, exclusive: bool = False) -> float:
        """A finite number from ``minimum`` on.

        Raises:
            InputError: ``BAD_NUMBER``.
        """
        value = self._values.get(name, default)
        return float(require_number(value, f"{self._where}: {name}", minimum=minimum, exclusive=exclusive))

    def flag(self, name: str, default: bool) -> bool:
        """True or false.

        Raises:
            InputError: ``BAD_FLAG``.
        """
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            raise InputError("BAD_FLAG", f"{value!r}", f"{self._where}: {name}", "give true or false")
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        """A JSON object; empty when it is not given.

        Raises:
            InputError: ``BAD_MAPPING``.
        """
        value = self._values.get(name) or {}
        if not isinstance(value, dict):
            raise InputError("BAD_MAPPING", f"{value!r}", f"{self._where}: {name}", "give names with values")
        return value

"""What a check of a version found wrong, in a form that is kept as JSON and read by people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_ROWS = 20
"""How many failing rows a finding names; it counts them all. Values are never kept, only keys and positions."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise that the data breaks.

    Attributes:
        code: ``EXPECTATION_FAILED``, ``EXPECTATION_UNCHECKED``, ``SCHEMA_MISMATCH``, ``DATA_HASH_MISMATCH``, ``DATA_TRUNCATED``,
            ``DATA_UNREADABLE``, ``FILE_MISSING``, ``ROWS_MISMATCH``, ``MANIFEST_MALFORMED`` or ``HASH_OF_TEXT``.
        check: The expectation, or the file concerned.
        rows: The first failing rows: position in the data and primary key.
    """

    code: str
    check: str
    message: str
    column: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    failed_rows: int = 0
    total_rows: int = 0
    rows: tuple[dict[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "check": self.check,
            "column": self.column,
            "arguments": self.arguments,
            "message": self.message,
            "failed_rows": self.failed_rows,
            "total_rows": self.total_rows,
            "rows": list(self.rows),
        }

    def __str__(self) -> str:
        about = f" on {self.column}" if self.column else ""
        count = f": {self.failed_rows} of {self.total_rows} rows" if self.failed_rows else ""
        keys = [str(value) for row in self.rows for name, value in row.items() if name != "row"]
        named = f" ({', '.join(keys[:5])}{', …' if self.failed_rows > 5 else ''})" if keys else ""
        message = f": {self.message}" if self.message else ""
        return f"{self.code} {self.check}{about}{count}{named}{message}"


def failing_rows(positions: Sequence[int], ids: Sequence[Any], key: str) -> tuple[dict[str, Any], ...]:
    """The first failing rows, by position and primary key."""
    return tuple({"row": int(row), key: ids[row]} for row in positions[:MAX_ROWS])

"""What a data contract says, as values, and the expectations that follow from it.

A contract promises; its Great Expectations suite checks. :func:`expectations_of` turns every promise into the
expectation that checks it, so that the two files can be held in step without importing Great Expectations.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.core.canonical import canonical
from infra.core.inventory import TrustZone


@dataclass(frozen=True, slots=True)
class Expectation:
    """One check in the words of Great Expectations.

    Attributes:
        type: For example ``expect_column_values_to_not_be_null``.
        kwargs: Its arguments; the column among them unless it is about the whole table.
    """

    type: str
    kwargs: dict[str, Any]

    @property
    def key(self) -> bytes:
        """Equal for equal checks; ``784`` and ``784.0`` are one number."""
        return canonical([self.type, _whole_numbers(self.kwargs)])


@dataclass(frozen=True, slots=True)
class Column:
    """A column that the contract promises.

    Attributes:
        physical_type: The Arrow type, for example ``int64`` or ``binary``.
        expectations: What else must hold for its values (null and duplicates apart).
        sha256_of: Name of the column whose text this one is the SHA-256 of.
    """

    name: str
    physical_type: str
    required: bool = False
    unique: bool = False
    primary_key: bool = False
    expectations: tuple[Expectation, ...] = ()
    sha256_of: str | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """A dataset's contract.

    Attributes:
        version: Of the contract, not of the data.
        residency: Tags of the countries that may process it, see :mod:`infra.core.jurisdictions`.
        trust_zone: The least trusted zone that may read it.
        home_site: Site that accepted versions are kept at.
        table_expectations: What must hold for the table as a whole (its columns apart).
        suite: What is checked: the suite file's expectations.
        sla: Service levels as (property, value, unit), for people.
    """

    name: str
    version: str
    status: str
    owner: str
    purpose: str
    residency: tuple[str, ...]
    trust_zone: TrustZone
    home_site: str
    columns: tuple[Column, ...]
    table_expectations: tuple[Expectation, ...]
    sla: tuple[tuple[str, str, str], ...]
    folder: Path
    suite: tuple[Expectation, ...] = ()

    @property
    def primary_key(self) -> str:
        """Name of the column that names a row in reports."""
        return next(column.name for column in self.columns if column.primary_key)


def expectations_of(contract: Contract) -> tuple[Expectation, ...]:
    """Every promise of the contract as the expectation that checks it, in a stable order."""
    found = [
        Expectation(
            "expect_table_columns_to_match_set",
            {"column_set": [column.name for column in contract.columns], "exact_match": True},
        ),
        *contract.table_expectations,
    ]
    for column in contract.columns:
        about = {"column": column.name}
        if column.required or column.primary_key:
            found.append(Expectation("expect_column_values_to_not_be_null", about))
        if column.unique or column.primary_key:
            found.append(Expectation("expect_column_values_to_be_unique", about))
        found.extend(column.expectations)
    return tuple(found)


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return value

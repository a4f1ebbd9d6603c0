"""Checking the files of a version against its contract: hashes, Parquet, columns, then the suite.

Every fault of the data is a finding, never an exception: the caller decides what a breach means.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data_contracts.findings import Finding, failing_rows
from data_contracts.manifest import Manifest
from data_contracts.model import Contract
from data_contracts.suites import run_suite

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_ALIASES = {"large_string": "string", "string_view": "string", "large_binary": "binary", "double": "float64"}


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """What was found; the data is good when nothing was."""

    findings: tuple[Finding, ...]
    rows: int = 0


def check_parts(contract: Contract, manifest: Manifest, parts: Mapping[str, bytes]) -> CheckOutcome:
    """Check a version's files.

    Args:
        parts: Content by path; a path of the manifest that is not there is a finding.
    """
    findings = list(_file_findings(manifest, parts))
    if findings:
        return CheckOutcome(tuple(findings))
    tables, findings = _tables(manifest, parts)
    if findings:
        return CheckOutcome(tuple(findings))
    for path, table in tables.items():
        findings.extend(_schema_findings(contract, path, table))
    if findings:
        return CheckOutcome(tuple(findings))
    return check_tables(contract, list(tables.values()))


def check_tables(contract: Contract, tables: list[pa.Table]) -> CheckOutcome:
    """Check rows whose columns are already known to be the contract's."""
    import pyarrow as pa

    names = [column.name for column in contract.columns]
    table = pa.concat_tables([each.select(names) for each in tables], promote_options="permissive")
    key = contract.primary_key
    ids = table.column(key).to_pylist()
    frame = table.to_pandas()
    for column in contract.columns:
        if column.physical_type == "binary":
            # The suite's engine takes lengths of text and decodes bytes as UTF-8: give it one character a byte.
            frame[column.name] = frame[column.name].map(lambda data: data.decode("latin-1"), na_action="ignore")
    findings = run_suite(frame, contract.suite, ids, key)
    findings.extend(_text_hash_findings(contract, frame, ids))
    return CheckOutcome(tuple(findings), table.num_rows)


def _file_findings(manifest: Manifest, parts: Mapping[str, bytes]) -> list[Finding]:
    found = []
    for file in manifest.files:
        data = parts.get(file.path)
        if data is None:
            found.append(Finding("FILE_MISSING", file.path, "the manifest lists it, but it is not there"))
        elif len(data) != file.bytes:
            found.append(Finding("DATA_TRUNCATED", file.path, f"{len(data)} bytes instead of {file.bytes}"))
        elif hashlib.sha256(data).hexdigest() != file.sha256:
            found.append(Finding("DATA_HASH_MISMATCH", file.path, "its content is not what the manifest says"))
    return found


def _tables(manifest: Manifest, parts: Mapping[str, bytes]) -> tuple[dict[str, pa.Table], list[Finding]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables, found = {}, []
    for file in manifest.files:
        try:
            table = pq.ParquetFile(io.BytesIO(parts[file.path])).read()
        except (pa.ArrowException, OSError, ValueError) as error:
            found.append(Finding("DATA_UNREADABLE", file.path, f"no whole Parquet file: {str(error).splitlines()[0]}"))
            continue
        if table.num_rows != file.rows:
            found.append(Finding("ROWS_MISMATCH", file.path, f"{table.num_rows} rows instead of {file.rows}"))
        tables[file.path] = table
    return tables, found


def _schema_findings(contract: Contract, path: str, table: pa.Table) -> list[Finding]:
    promised = {column.name: column.physical_type for column in contract.columns}
    names = table.column_names
    found = []

    def add(column: str, message: str) -> None:
        found.append(Finding("SCHEMA_MISMATCH", path, message, column))

    for name in sorted({name for name in names if names.count(name) > 1}):
        add(name, "the column stands twice")
    for name in sorted(set(names) - set(promised)):
        add(name, "the contract has no such column")
    for name, wanted in promised.items():
        if name not in names:
            add(name, "the column is missing")
        elif names.count(name) == 1:
            actual = str(table.schema.field(name).type)
            # A part whose column is all null has no type of its own; the suite judges the nulls.
            if _ALIASES.get(actual, actual) not in (wanted, "null"):
                add(name, f"type {actual} instead of {wanted}")
    return found


def _text_hash_findings(contract: Contract, frame: pd.DataFrame, ids: list[Any]) -> list[Finding]:
    found = []
    for column in contract.columns:
        if column.sha256_of is None:
            continue
        pairs = zip(frame[column.name], frame[column.sha256_of], strict=True)
        wrong = [row for row, (value, text) in enumerate(pairs) if not _is_hash_of(value, text)]
        if wrong:
            found.append(
                Finding(
                    "HASH_OF_TEXT",
                    f"sha256 of {column.sha256_of}",
                    "the hash is not the text's",
                    column.name,
                    failed_rows=len(wrong),
                    total_rows=len(frame),
                    rows=failing_rows(wrong, ids, contract.primary_key),
                )
            )
    return found


def _is_hash_of(value: object, text: object) -> bool:
    """Nulls pass here: they are the suite's to judge."""
    if not isinstance(value, str) or not isinstance(text, str):
        return True
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() == value

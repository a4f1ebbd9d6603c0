"""Parquet to and from bytes. Equal columns give equal bytes, so that content hashes can be compared."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.core.errors import InputError


def to_parquet(table: pa.Table) -> bytes:
    """One Parquet file, without anything that depends on when or where it was written."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def from_columns(columns: dict[str, Any]) -> bytes:
    """One Parquet file of these columns."""
    return to_parquet(pa.table(columns))


def read_table(data: bytes, where: str = "Parquet") -> pa.Table:
    """The table in one Parquet file.

    Raises:
        InputError: ``DATA_UNREADABLE`` when it is truncated or no Parquet.
    """
    try:
        return pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise InputError("DATA_UNREADABLE", "not a whole Parquet file", where, "deliver the file again") from error

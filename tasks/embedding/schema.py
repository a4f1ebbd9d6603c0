"""What a refresh hands over: the columns of vectors, and the names of its files."""

from __future__ import annotations

import pyarrow as pa

DIMENSIONS = 384
COLUMNS = ("doc_id", "package", "text", "sha256")
VECTOR_SCHEMA = pa.schema([*((name, pa.string()) for name in COLUMNS), ("vector", pa.list_(pa.float32(), DIMENSIONS))])
VECTORS_PREFIX = "vectors-"
DOCUMENTS_PREFIX = "documents-"
"""Hashes of all documents of the data version: columns ``doc_id`` and ``sha256``, by ``doc_id``."""

"""Tables of document vectors: LanceDB, one version for each published refresh.

A refresh hands over the vectors of what changed and the hashes of *all* documents. Applying it makes the table equal to
that list, in one commit: rows whose hash differs are replaced, rows that are not on the list go. When a row on the list
is neither among the new vectors nor already in the table with the same hash, the refresh was made against another
state and is refused. So applying twice, or again after a crash, changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pyarrow as pa

from infra.core.errors import ConflictError, InputError
from infra.ports import ObjectStore

TABLES = "artefacts/tables"


@dataclass(frozen=True, slots=True)
class Tables:
    """Where tables lie.

    Attributes:
        uri: A local directory or ``s3://bucket/prefix``.
        options: LanceDB's own storage options (endpoint, credentials); it does not use s3fs.
    """

    uri: str
    options: Mapping[str, str] | None = None

    def connect(self) -> Any:
        """A LanceDB connection."""
        import lancedb

        return lancedb.connect(self.uri, storage_options=dict(self.options) if self.options else None)

    def open(self, name: str) -> Any | None:
        """The table's newest version, or ``None`` when there is no such table."""
        connection = self.connect()
        return connection.open_table(name) if name in _names(connection) else None


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a refresh did. ``version`` is LanceDB's number of the table's version."""

    version: int
    rows: int
    upserted: int
    deleted: int


def tables_of(store: ObjectStore, environ: Mapping[str, str] = os.environ) -> Tables:
    """The tables that belong to an object store: below ``artefacts/tables`` of the same root.

    Raises:
        InputError: ``BAD_STORE_URL`` when vectors cannot be kept in such a store.
    """
    parts = urlsplit(store.uri)
    if parts.scheme == "file":
        return Tables(f"{url2pathname(parts.path).rstrip('/')}/{TABLES}")
    if parts.scheme == "s3":
        endpoint = getattr(store, "endpoint", None) or environ.get("AWS_ENDPOINT_URL", "")
        given = {
            "aws_endpoint": endpoint,
            "allow_http": "true" if endpoint.startswith("http://") else "",
            "aws_access_key_id": getattr(store, "key", None),
            "aws_secret_access_key": getattr(store, "secret", None),
            "aws_session_token": getattr(store, "token", None),
            "aws_region": getattr(store, "region", None),
        }
        return Tables(f"{store.uri.rstrip('/')}/{TABLES}", {name: value for name, value in given.items() if value})
    raise InputError("BAD_STORE_URL", f"no tables in a {parts.scheme} store", store.uri, "use file:// or s3://")


def check_refresh(tables: Tables, name: str, vectors: pa.Table, wanted: Mapping[str, str], tag: str) -> None:
    """Refuse a refresh that cannot make the table equal to ``wanted`` (hash by document id). Changes nothing.

    One that is tagged has been applied already and is not refused, whatever came after it.

    Raises:
        ConflictError: ``TABLE_MOVED`` when the refresh was made against another state of the table.
        InputError: ``RESULT_MALFORMED`` when a vector is not of a wanted document.
    """
    table = tables.open(name)
    if table is None or tag not in table.tags.list():
        _plan(name, {} if table is None else _hashes(table), vectors, wanted)


def apply_refresh(tables: Tables, name: str, vectors: pa.Table, wanted: Mapping[str, str], tag: str) -> Applied:
    """Make the table equal to ``wanted`` in one commit and tag that version; a tag that exists ends the call at once.

    Args:
        vectors: Columns of :data:`tasks.embedding.schema.VECTOR_SCHEMA`, the new and changed documents.
        wanted: Hash by document id, all documents.
        tag: Name of the version: data version and run.

    Raises:
        ConflictError: ``TABLE_MOVED``.
        InputError: ``RESULT_MALFORMED``.
    """
    table = tables.open(name)
    if table is None:
        connection = tables.connect()
        _plan(name, {}, vectors, wanted)
        table = connection.create_table(name, schema=vectors.schema, exist_ok=True)
    tagged = table.tags.list().get(tag)
    if tagged is not None:
        return Applied(int(tagged["version"]), len(wanted), 0, 0)
    upserts, removed = _plan(name, _hashes(table), vectors, wanted)
    if upserts.num_rows or removed:
        change = table.merge_insert("doc_id").when_matched_update_all().when_not_matched_insert_all()
        if removed:
            quoted = ", ".join("'" + doc_id.replace("'", "''") + "'" for doc_id in removed)
            change = change.when_not_matched_by_source_delete(f"doc_id IN ({quoted})")
        change.execute(upserts)
    table.checkout_latest()
    table.tags.create(tag, table.version)
    return Applied(table.version, table.count_rows(), upserts.num_rows, len(removed))


def search(tables: Tables, name: str, text: str, k: int = 5) -> list[dict[str, Any]]:
    """The ``k`` documents nearest to a text, best first: ``doc_id``, ``package``, ``text``, ``similarity`` (cosine).

    Raises:
        InputError: ``UNKNOWN_TABLE``.
    """
    from tasks.embedding.minilm import encode

    table = tables.open(name)
    if table is None:
        known = ", ".join(_names(tables.connect())) or "none yet"
        raise InputError("UNKNOWN_TABLE", f"no table {name!r}", tables.uri, f"there is: {known}")
    found = table.search(encode([text])[0]).distance_type("cosine").limit(k).to_list()
    return [
        {
            "doc_id": row["doc_id"],
            "package": row["package"],
            "text": row["text"],
            "similarity": 1.0 - float(row["_distance"]),
        }
        for row in found
    ]


def _plan(
    name: str, current: Mapping[str, str], vectors: pa.Table, wanted: Mapping[str, str]
) -> tuple[pa.Table, list[str]]:
    """Rows to write and ids to remove, so that ``current`` becomes ``wanted``."""
    new = dict(zip(vectors["doc_id"].to_pylist(), vectors["sha256"].to_pylist(), strict=True))
    if len(new) != vectors.num_rows or any(wanted.get(doc_id) != sha256 for doc_id, sha256 in new.items()):
        raise InputError("RESULT_MALFORMED", "a vector is of no listed document", f"table {name}", "run it again")
    uncovered = [
        doc_id for doc_id, sha256 in wanted.items() if current.get(doc_id) != sha256 and new.get(doc_id) != sha256
    ]
    if uncovered:
        raise ConflictError(
            "TABLE_MOVED",
            f"{len(uncovered)} documents, {uncovered[0]!r} among them, have no vector in the table or the result",
            f"table {name}",
            "run the refresh again: it then compares with the table as it is now",
        )
    stale = pa.array([current.get(doc_id) != sha256 for doc_id, sha256 in new.items()], pa.bool_())
    return vectors.filter(stale), sorted(set(current) - set(wanted))


def _hashes(table: Any) -> dict[str, str]:
    count = table.count_rows()
    if count == 0:
        return {}
    rows = table.search().select(["doc_id", "sha256"]).limit(count).to_arrow()
    return dict(zip(rows["doc_id"].to_pylist(), rows["sha256"].to_pylist(), strict=True))


def _names(connection: Any) -> list[str]:
    names: list[str] = []
    token = None
    while True:
        page = connection.list_tables(page_token=token)
        names += page.tables
        token = page.page_token
        if not token:
            return sorted(names)

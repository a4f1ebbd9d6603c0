"""Embedding refresh: vectors for new and changed documents only, in batches over the lease's Dask workers.

What has changed is told by comparing the documents' hashes with those of the table's last version (the input
``vectors``; without it every document is new). A finished batch is kept at once under a name that is bound to its
documents and to the model, so that a later attempt takes it over. The result carries the hashes of all documents too:
publishing makes the table equal to exactly that list. A unit of work is one document to embed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from infra.core.canonical import canonical, digest
from infra.core.errors import InputError
from tasks.embedding.minilm import MAX_TOKENS, MODEL_NAME, encode, weights_sha256
from tasks.embedding.schema import COLUMNS, DIMENSIONS, DOCUMENTS_PREFIX, VECTOR_SCHEMA, VECTORS_PREFIX
from tasks.fanout import spread
from tasks.parameters import Parameters
from tasks.parquet import from_columns, read_table, to_parquet
from tasks.site_job import SiteJob, SiteResult

_ROWS_PER_FILE = 4096


@dataclass(frozen=True, slots=True)
class Changes:
    """What a refresh has to do.

    Attributes:
        documents: All documents of the data version, by ``doc_id``.
        to_embed: Those that are new or changed.
        removed: Ids that the table has and the data version has not.
        unchanged: How many keep their vector.
    """

    documents: pa.Table
    to_embed: pa.Table
    removed: tuple[str, ...]
    unchanged: int


def compare(documents: pa.Table, known: dict[str, str]) -> Changes:
    """Compare documents with the hashes (by id) that the table has."""
    ids, hashes = documents["doc_id"].to_pylist(), documents["sha256"].to_pylist()
    changed = [known.get(doc_id) != sha256 for doc_id, sha256 in zip(ids, hashes, strict=True)]
    return Changes(
        documents=documents,
        to_embed=documents.filter(pa.array(changed, pa.bool_())),
        removed=tuple(sorted(set(known) - set(ids))),
        unchanged=len(ids) - sum(changed),
    )


def run(job: SiteJob) -> SiteResult:
    """Embed what changed; write ``vectors-*.parquet``, ``removed.json`` and the hashes of all documents.

    Raises:
        InputError: For parameters or data that cannot be used.
        UnavailableError: ``WORKERS_LOST``; finished batches are kept.
    """
    parameters = Parameters(job.work, ("batch_rows", "max_tokens"))
    batch_rows = parameters.whole("batch_rows", 64, 1, 10_000)
    max_tokens = parameters.whole("max_tokens", MAX_TOKENS, 8, 512)
    changes = compare(_documents(job), _known(job))
    weights = weights_sha256()
    batches = {
        digest([weights, max_tokens, batch["doc_id"].to_pylist(), batch["sha256"].to_pylist()])[:32]: batch
        for batch in _batches(changes.to_embed, batch_rows)
    }
    finished = {name: part for name, part in job.checkpoints.parts() if name in batches}
    total = changes.to_embed.num_rows
    done = resumed = sum(batches[name].num_rows for name in finished)
    job.progress(done, total, f"{changes.unchanged} unchanged, {len(changes.removed)} removed, {total} to embed")
    began = time.monotonic()
    missing = (
        (name, (batch["text"].to_pylist(), max_tokens)) for name, batch in batches.items() if name not in finished
    )
    for name, vectors in spread(job, encode, missing):
        finished[name] = to_parquet(_with_vectors(batches[name], vectors))
        job.checkpoints.save_part(name, finished[name])
        done += batches[name].num_rows
        job.progress(done, total, f"{done} of {total} documents embedded")
    took_s = time.monotonic() - began
    tables = [read_table(finished[name]).cast(VECTOR_SCHEMA) for name in batches]
    merged = pa.concat_tables([VECTOR_SCHEMA.empty_table(), *tables]).sort_by("doc_id")
    outputs = [
        job.outputs.write(f"{VECTORS_PREFIX}{index:05d}.parquet", to_parquet(merged.slice(start, _ROWS_PER_FILE)))
        for index, start in enumerate(range(0, merged.num_rows, _ROWS_PER_FILE))
    ]
    hashes = {name: changes.documents[name] for name in ("doc_id", "sha256")}
    outputs.append(job.outputs.write(f"{DOCUMENTS_PREFIX}00000.parquet", from_columns(hashes)))
    outputs.append(job.outputs.write("removed.json", canonical(list(changes.removed))))
    return SiteResult(
        units_done=float(total - resumed),
        metrics={
            "embedded": float(total),
            "unchanged": float(changes.unchanged),
            "removed": float(len(changes.removed)),
            "docs_per_s": (total - resumed) / took_s if total > resumed else 0.0,
        },
        outputs=tuple(outputs),
        detail={
            "model": MODEL_NAME,
            "weights_sha256": weights,
            "max_tokens": max_tokens,
            "batches": len(batches),
            "documents_resumed": resumed,
            "first_changed": merged["doc_id"].slice(0, 20).to_pylist(),
            "first_removed": list(changes.removed[:20]),
        },
    )


def _documents(job: SiteJob) -> pa.Table:
    ref = next(ref for ref in job.work.inputs if ref.role == "data")
    frame = job.inputs.frame("data")
    where = f"{ref.name}@{ref.version}"
    missing = set(COLUMNS) - set(frame.columns)
    if missing:
        raise InputError(
            "DATA_MALFORMED", f"no column {', '.join(sorted(missing))}", where, "check the data against its contract"
        )
    if frame[list(COLUMNS)].isna().to_numpy().any() or frame["doc_id"].duplicated().any():
        raise InputError("DATA_MALFORMED", "a value is missing or a doc_id stands twice", where, "check the data")
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    return pa.Table.from_pandas(frame[list(COLUMNS)], schema=schema, preserve_index=False).sort_by("doc_id")


def _known(job: SiteJob) -> dict[str, str]:
    if not job.inputs.has("vectors"):
        return {}
    frame = job.inputs.frame("vectors")
    return dict(zip(frame["doc_id"], frame["sha256"], strict=True))


def _batches(table: pa.Table, rows: int) -> list[pa.Table]:
    # By length, so that each batch holds texts of like length and pads little; the long ones first, so that the last
    # batches to finish are short ones.
    lengths = np.array([len(text) for text in table["text"].to_pylist()], dtype=np.int64)
    ordered = table.take(pa.array(np.argsort(-lengths, kind="stable")))
    return [ordered.slice(start, rows) for start in range(0, ordered.num_rows, rows)]


def _with_vectors(batch: pa.Table, vectors: np.ndarray) -> pa.Table:
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).reshape(-1)), DIMENSIONS)
    return batch.append_column(pa.field("vector", VECTOR_SCHEMA.field("vector").type), column)

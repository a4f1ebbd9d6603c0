"""A refresh of a table of vectors, placed again from the table's present state when another refresh was faster."""

from __future__ import annotations

from infra.core.placement.pipelines.share import Share
from infra.core.workload import WorkKind
from tasks.documents import changed_documents
from tasks.options import EmbeddingChoices, PlacementOptions
from tasks.running import CheckedData, RunResult, TableMovedError, run_placed


def refresh_table(
    data: CheckedData,
    options: PlacementOptions,
    embedding: EmbeddingChoices,
    begun_at: float,
    stage: str = "",
    share: Share | None = None,
) -> RunResult:
    """Embed what is new to the table and publish its next version.

    Another refresh may publish between the comparison with the table and this one's end. What was computed then fits
    a table that is no more: it is paid, and the next attempt starts from what the other one made. The number of
    attempts is bounded by those of the run.
    """
    while True:
        changes = changed_documents(data.ref, embedding.table)
        refs = tuple(ref for _, ref in changes.roles)
        request = options.request(WorkKind.EMBEDDING_REFRESH, refs, changes.count, begun_at, embedding, changes.count)
        try:
            return run_placed(request, changes.roles, embedding.parameters(), embedding.table, stage, share)
        except TableMovedError:
            continue

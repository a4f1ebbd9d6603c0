"""Bring a table of vectors up to date with a new version of its documents."""

from __future__ import annotations

from typing import Any

from infra.core.workload import WorkKind
from tasks.documents import changed_documents
from tasks.entry import entry_flow
from tasks.options import DatasetChoice, EmbeddingChoices, PlacementOptions
from tasks.running import check_contract, run_placed, started_at


@entry_flow("embedding-refresh", flow_run_name="embedding {dataset.name}@{dataset.version} for {options.tenant}")
def embedding_refresh(
    dataset: DatasetChoice,
    options: PlacementOptions,
    embedding: EmbeddingChoices = EmbeddingChoices(),
) -> dict[str, Any]:
    """Embed the documents that are new or changed since the table's last version, and publish the next version.

    Args:
        dataset: The documents.
        options: Who pays, by when, for how much, and where it may run.
        embedding: The table and the batch size.
    """
    data = check_contract(dataset)
    changes = changed_documents(data.ref, embedding.table)
    refs = tuple(ref for _, ref in changes.roles)
    request = options.request(WorkKind.EMBEDDING_REFRESH, refs, changes.count, started_at())
    return run_placed(request, changes.roles, embedding.parameters(), embedding.table).as_dict()

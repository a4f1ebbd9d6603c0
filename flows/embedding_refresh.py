"""Bring a table of vectors up to date with a new version of its documents."""

from __future__ import annotations

from typing import Any

from tasks.entry import entry_flow
from tasks.options import DatasetChoice, EmbeddingChoices, PlacementOptions
from tasks.refreshing import refresh_table
from tasks.running import check_contract, started_at


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
    return refresh_table(data, options, embedding, started_at()).as_dict()

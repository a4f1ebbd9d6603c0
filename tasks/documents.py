"""How much of a documents' version is new to a table of vectors: the amount of work of its refresh."""

from __future__ import annotations

import io
from dataclasses import dataclass

from infra.core.workload import DatasetRef
from infra.ports import CatalogEntry
from infra.wiring import ControlPlane, control_plane
from tasks.datasets.reading import load_manifest, read_part
from tasks.publishing import hashes_name


@dataclass(frozen=True, slots=True)
class DocumentChanges:
    """The refresh's inputs by role and how many documents it has to embed."""

    roles: tuple[tuple[str, DatasetRef], ...]
    count: int


def changed_documents(data: DatasetRef, table: str) -> DocumentChanges:
    """Compare the hashes of the data version with those of the table's last version."""
    control = control_plane()
    wanted = _hashes(control, control.database.catalog.find(data.name, data.version))
    before = control.database.catalog.find(hashes_name(table), "latest")
    if before is None:
        return DocumentChanges((("data", data),), len(wanted))
    known = _hashes(control, before)
    ref = DatasetRef(before.version.name, before.version.version)
    count = sum(known.get(doc_id) != sha256 for doc_id, sha256 in wanted.items())
    return DocumentChanges((("data", data), ("vectors", ref)), count)


def _hashes(control: ControlPlane, entry: CatalogEntry | None) -> dict[str, str]:
    """Hash by document id; only these two columns are read."""
    import pyarrow.parquet

    assert entry is not None, "the version was accepted by the contract check"
    version = entry.version
    prefix = f"sites/{version.copies[0]}/datasets/{version.name}/{version.version}"
    found: dict[str, str] = {}
    for part in load_manifest(control.store, prefix, entry.manifest_sha256).files:
        if part.path.endswith(".parquet"):
            data = io.BytesIO(read_part(control.store, prefix, part))
            columns = pyarrow.parquet.read_table(data, columns=["doc_id", "sha256"]).to_pydict()
            found.update(zip(columns["doc_id"], columns["sha256"], strict=True))
    return found

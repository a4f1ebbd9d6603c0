"""The demo's real data: it lands as any producer's data would, in the watched prefix."""

from __future__ import annotations

from data_contracts.loading import load_contract
from infra.wiring import ControlPlane
from tasks.datasets import build
from tasks.datasets.parquet import land
from tasks.datasets.variants import changed_docs, corrupt

DOCUMENTS = 300
"""A sample of the docstrings, so that the first index takes seconds and not minutes."""

QUERIES = ("read a file line by line", "run a command and capture its output", "wait until all tasks are done")


def fresh_versions(control: ControlPlane) -> tuple[str, str]:
    """Two version names that no earlier demo on this platform used: ``v1`` and ``v2`` the first time."""
    names = {
        entry.version.version for name in ("mnist5k", "api-docs") for entry in control.database.catalog.versions(name)
    }
    numbers = [int(name[1:]) for name in names if name[:1] == "v" and name[1:].isdigit()]
    newest = max(numbers, default=0)
    return f"v{newest + 1}", f"v{newest + 2}"


def land_digits(control: ControlPlane, version: str) -> int:
    """The 5,000 digits; returns how many."""
    return _land(control, "mnist5k", version, build("mnist5k"))


def land_corrupt_digits(control: ControlPlane, version: str) -> int:
    """The digits with some labels, images and ids broken."""
    return _land(control, "mnist5k", version, corrupt(build("mnist5k")).frame)


def land_docs(control: ControlPlane, version: str, changed: bool = False) -> int:
    """The docstrings; ``changed``: a later version, in which a small share is changed, new or gone."""
    frame = build("api-docs", limit=DOCUMENTS)
    if changed:
        frame = changed_docs(frame).frame
    return _land(control, "api-docs", version, frame)


def search_examples(control: ControlPlane) -> list[str]:
    """What the index finds for a few questions, best first."""
    from tasks.vector_tables import search, tables_of

    lines = []
    for query in QUERIES:
        found = search(tables_of(control.store), "api-docs-index", query, 2)
        lines.append(f"search “{query}”: " + ", ".join(f"{hit['doc_id']} ({hit['similarity']:.2f})" for hit in found))
    return lines


def _land(control: ControlPlane, name: str, version: str, frame) -> int:  # type: ignore[no-untyped-def]
    land(control.store, load_contract(name, control.settings.contracts_dir), version, frame)
    return len(frame)

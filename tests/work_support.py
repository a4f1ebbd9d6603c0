"""Small data, versions and works for the tests of what sites do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from distributed import Client, LocalCluster

from data_contracts.layout import site_prefix, version_prefix
from data_contracts.manifest import MANIFEST_NAME, Manifest, ManifestFile, describe_part
from infra.core.run_places import attempt_prefix
from infra.core.workload import WorkKind
from infra.ports import ObjectStore
from tasks.local_run import local_job
from tasks.parquet import from_columns
from tasks.site_job import InputRef, SiteResult, SiteWork
from tasks.work import WORK

HOME = "onprem-fra"


def digits(count: int, seed: int = 1) -> bytes:
    """Parquet of ``count`` images that are easily told apart: ten fixed patterns with noise."""
    source = np.random.default_rng(7)
    patterns = source.integers(0, 200, (10, 784))
    noise = np.random.default_rng(seed)
    labels = noise.integers(0, 10, count)
    images = np.clip(patterns[labels] + noise.integers(-60, 60, (count, 784)), 0, 255).astype(np.uint8)
    return from_columns({"id": np.arange(count), "label": labels, "pixels": [image.tobytes() for image in images]})


def documents(texts: dict[str, str]) -> bytes:
    """Parquet of documents by id."""
    return from_columns(
        {
            "doc_id": list(texts),
            "package": ["pkg"] * len(texts),
            "text": list(texts.values()),
            "sha256": [hashlib.sha256(text.encode()).hexdigest() for text in texts.values()],
        }
    )


def put_version(store: ObjectStore, name: str, version: str, files: dict[str, bytes], site: str = HOME) -> InputRef:
    """Place a version at a site and return how a work names it, in the role ``data``."""
    lines = []
    for path, data in sorted(files.items()):
        store.put(f"{site_prefix(site, name, version)}/{path}", data)
        other = ManifestFile(path, hashlib.sha256(data).hexdigest(), len(data), 0)
        lines.append(describe_part(path, data) if path.endswith(".parquet") else other)
    manifest = Manifest(tuple(lines))
    store.put(f"{site_prefix(site, name, version)}/{MANIFEST_NAME}", manifest.encoded)
    return InputRef("data", name, version, version_prefix(name, version), site, manifest.sha256, manifest.bytes)


def in_role(ref: InputRef, role: str) -> InputRef:
    return InputRef(role, ref.name, ref.version, ref.prefix, ref.source_site, ref.manifest_sha256, ref.bytes)


@contextmanager
def dask_client(workers: int, processes: bool = False) -> Iterator[Client]:
    """A local cluster with one thread a worker and its client; both are gone afterwards."""
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=processes, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def do(
    store: ObjectStore,
    client: Client,
    kind: WorkKind,
    inputs: tuple[InputRef, ...] = (),
    parameters: dict[str, Any] | None = None,
    run_id: str = "run",
    attempt: int = 1,
    progress: Callable[[float, float, str], None] = lambda done, total, message: None,
) -> tuple[SiteResult, str]:
    """Do a work to its end: the result and the digest of the attempt's manifest."""
    work = SiteWork(run_id, attempt, kind, inputs, parameters or {})
    job, outputs = local_job(work, store, client, progress=progress)
    result = WORK[kind](job)
    return result, outputs.finish(result)


def output(store: ObjectStore, path: str, run_id: str = "run", attempt: int = 1) -> bytes:
    """One file that an attempt wrote."""
    return store.get(f"{attempt_prefix(run_id, attempt)}/{path}")

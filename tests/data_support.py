"""Small data and doubles for the tests of contracts, ingestion and landing."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pandas as pd
import yaml

from data_contracts.loading import PACKAGED
from infra.adapters.objects import MemoryStore
from infra.core.errors import UnavailableError
from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site, TrustZone


def site(name: str, country: str, zone: TrustZone = TrustZone.PRIVATE) -> Site:
    offer = Offer("owned", Purchase.OWNED, "gpu-sim", 1, 8.0, 1.0, None)
    return Site(name, country, zone, (Pool(name, Cluster.ATTACHED, (offer,)),))


FRANKFURT = site("onprem-fra", "DE")
VIRGINIA = site("cloud-us-east", "US", TrustZone.PUBLIC)


def docs(count: int, start: int = 0) -> pd.DataFrame:
    """Well-formed rows of ``api-docs``."""
    texts = [f"Document number {number} says something about itself." for number in range(start, start + count)]
    return pd.DataFrame(
        {
            "doc_id": [f"pkg.module.name{number}" for number in range(start, start + count)],
            "package": ["pkg"] * count,
            "text": texts,
            "sha256": [hashlib.sha256(text.encode()).hexdigest() for text in texts],
        }
    )


def digits(count: int) -> pd.DataFrame:
    """Well-formed rows of ``mnist5k`` with made-up pixels."""
    return pd.DataFrame(
        {
            "id": range(count),
            "label": [number % 10 for number in range(count)],
            "pixels": [bytes([255 - number % 256, 65]) * 392 for number in range(count)],
        }
    )


class LooseStore(MemoryStore):
    """A memory store whose methods a test may replace."""


class FullStore(LooseStore):
    """A memory store whose disk is full after ``writes_left`` writes."""

    def __init__(self, writes_left: int) -> None:
        super().__init__()
        self.writes_left = writes_left

    def _take(self) -> None:
        if self.writes_left <= 0:
            cause = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise UnavailableError("STORE_FULL", "no space left", "memory", "free space") from cause
        self.writes_left -= 1

    def put(self, key: str, data: bytes) -> None:
        self._take()
        MemoryStore.put(self, key, data)

    def put_new(self, key: str, data: bytes) -> bool:
        self._take()
        return MemoryStore.put_new(self, key, data)


def contract_folder(root: Path, name: str, **changes: object) -> Path:
    """A copy of a packaged contract under ``root`` with top-level keys changed (``None`` removes one)."""
    tree = yaml.safe_load((PACKAGED / name / "contract.yaml").read_text("utf-8"))
    for key, value in changes.items():
        tree.pop(key, None)
        if value is not None:
            tree[key] = value
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "contract.yaml").write_text(yaml.safe_dump(tree), "utf-8")
    (folder / "suite.json").write_bytes((PACKAGED / name / "suite.json").read_bytes())
    return folder

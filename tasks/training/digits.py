"""Handwritten digits as arrays, and the one rule that says which of them are held out.

A row is held out when the hash of its id falls into the lowest fifth. So every work, at every site and at any time,
holds out the same rows without having to agree on a list, and a row that is added moves no other row.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from infra.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

PIXELS = 784
CLASSES = 10
HOLDOUT_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Digits:
    """Rows in the order of their ids.

    Attributes:
        ids: ``[n]``, whole numbers or texts, as the data has them.
        pixels: ``[n, 784] uint8``, 0 is paper and 255 is ink.
        labels: ``[n] int64``, 0 to 9; ``None`` where the data has no labels.
    """

    ids: np.ndarray
    pixels: np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> Digits:
        return Digits(self.ids[rows], self.pixels[rows], None if self.labels is None else self.labels[rows])


def decode(frame: pd.DataFrame, where: str, *, labelled: bool = True) -> Digits:
    """Turn the columns ``id``, ``pixels`` (784 bytes each) and, when ``labelled``, ``label`` into arrays.

    Raises:
        InputError: ``DATA_MALFORMED`` for missing columns, wrong lengths, doubled ids or labels that are no digit.
    """

    def malformed(problem: str) -> InputError:
        return InputError("DATA_MALFORMED", problem, where, "check the data against its contract")

    missing = {"id", "pixels", *(["label"] if labelled else [])} - set(frame.columns)
    if missing:
        raise malformed(f"no column {', '.join(sorted(missing))}")
    if frame.empty:
        raise malformed("there is no row")
    if frame["id"].isna().any() or frame["id"].duplicated().any():
        raise malformed("an id is missing or stands twice")
    ids = frame["id"].to_numpy()
    if not np.issubdtype(ids.dtype, np.integer):
        ids = frame["id"].astype(str).to_numpy(dtype=str)
    images = frame["pixels"].tolist()
    if any(not isinstance(image, bytes) or len(image) != PIXELS for image in images):
        raise malformed(f"an image is not {PIXELS} bytes")
    pixels = np.frombuffer(b"".join(images), dtype=np.uint8).reshape(-1, PIXELS)
    labels = None
    if labelled:
        labels = frame["label"].to_numpy()
        if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= CLASSES:
            raise malformed("a label is not a whole number from 0 to 9")
        labels = labels.astype(np.int64)
    order = np.argsort(ids, kind="stable")
    return Digits(ids, pixels, labels).take(order)


def is_held_out(row_id: int | str) -> bool:
    """Whether the row with this id is kept from training."""
    return int.from_bytes(hashlib.sha256(str(row_id).encode()).digest()[:4], "big") < HOLDOUT_SHARE * 2**32


def split(digits: Digits, where: str) -> tuple[Digits, Digits]:
    """Rows to train on, and rows held out.

    Raises:
        InputError: ``DATA_TOO_SMALL`` when one of the two would be empty.
    """
    held_out = np.fromiter((is_held_out(row_id) for row_id in digits.ids.tolist()), dtype=bool, count=len(digits))
    if held_out.all() or not held_out.any():
        raise InputError(
            "DATA_TOO_SMALL", f"{len(digits)} rows cannot be split", where, "give at least some dozens of rows"
        )
    return digits.take(np.flatnonzero(~held_out)), digits.take(np.flatnonzero(held_out))

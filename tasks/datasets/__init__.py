"""The two real datasets: built from installed packages, written as Parquet, changed and corrupted for the demo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.core.errors import InputError
from tasks.datasets.api_docs import DEFAULT_PACKAGES, build_api_docs
from tasks.datasets.mnist import build_mnist5k

if TYPE_CHECKING:
    import pandas as pd

BUILDABLE = ("api-docs", "mnist5k")


def build(name: str, limit: int | None = None, packages: tuple[str, ...] = DEFAULT_PACKAGES) -> pd.DataFrame:
    """Build a dataset by name; ``packages`` is for ``api-docs``.

    Raises:
        InputError: ``NOT_BUILDABLE`` for another dataset.
    """
    if name == "mnist5k":
        return build_mnist5k(limit)
    if name == "api-docs":
        return build_api_docs(packages, limit)
    raise InputError(
        "NOT_BUILDABLE", f"{name!r} has no builder", "dataset", f"one of {', '.join(BUILDABLE)}; drop a file"
    )

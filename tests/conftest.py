"""Fixtures that several kinds of test share, and what may run beside what."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.databases import database, database_url, postgres, sqlite_template

__all__ = ["database", "database_url", "postgres", "sqlite_template"]

# The same examples in every run, so that a failure is the change's; `HYPOTHESIS_EXPLORE=1 make test` draws new ones.
settings.register_profile("fixed", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile("explore" if os.environ.get("HYPOTHESIS_EXPLORE") else "fixed")

SCENARIOS = Path(__file__).parent / "scenarios"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay in one process and in order; the scenarios, which share one platform, all do."""
    for item in items:
        group = "scenarios" if SCENARIOS in item.path.parents else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))

"""Fixtures that several kinds of test share, and what may run beside what."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.databases import database, database_url, postgres, sqlite_template

__all__ = ["database", "database_url", "postgres", "sqlite_template"]

SCENARIOS = Path(__file__).parent / "scenarios"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay in one process and in order; the scenarios, which share one platform, all do."""
    for item in items:
        group = "scenarios" if SCENARIOS in item.path.parents else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))

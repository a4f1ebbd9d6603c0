"""Fixtures that several kinds of test share, and what may run beside what."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.databases import database, database_url, postgres, sqlite_template

if TYPE_CHECKING:
    from tests.scenarios.world import World

__all__ = ["database", "database_url", "postgres", "sqlite_template"]

# The same examples in every run, so that a failure is the change's; `HYPOTHESIS_EXPLORE=1 make test` draws new ones.
settings.register_profile("fixed", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile("explore" if os.environ.get("HYPOTHESIS_EXPLORE") else "fixed")

ON_ONE_PLATFORM = (Path(__file__).parent / "scenarios", Path(__file__).parent / "drills")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests stay in one process and in order; the scenarios and drills, which share one platform, all do.

    The drills come right before the scenarios: the platform is there from its first test until the end, and costs its share of
    the machine all that time.
    """
    drills, scenarios = ON_ONE_PLATFORM[1], ON_ONE_PLATFORM[0]
    own = [item for item in items if drills in item.path.parents]
    rest = [item for item in items if drills not in item.path.parents]
    first = next((index for index, item in enumerate(rest) if scenarios in item.path.parents), len(rest))
    items[:] = [*rest[:first], *own, *rest[first:]]
    for item in items:
        shared = any(folder in item.path.parents for folder in ON_ONE_PLATFORM)
        group = "platform" if shared else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The one platform of all scenarios and drills."""
    from tests.scenarios.life import shared_world  # brings Prefect with it, which fast tests need not pay for

    with shared_world(tmp_path_factory.mktemp("platform") / "home") as found:
        yield found

"""Fixtures that several kinds of test share, and what may run beside what."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

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

ON_ONE_PLATFORM = ("tests/drills/", "tests/scenarios/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay in one process and in order; the drills and scenarios, which share one platform, all do."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "one platform" if nodeid.startswith(ON_ONE_PLATFORM) else nodeid.partition("::")[0]

    return ByFile(config, log)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The one platform of all scenarios and drills."""
    from tests.scenarios.life import shared_world  # brings Prefect with it, which fast tests need not pay for

    with shared_world(tmp_path_factory.mktemp("platform") / "home") as found:
        yield found

"""The platform that scenarios and drills share: brought up once with real data in it, taken down to the last process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from data_contracts.loading import load_contract
from infra.drills.platform import Platform
from infra.drills.sandbox import sandbox_environment
from infra.platform.control import living_report
from infra.settings import Settings
from tasks.datasets import build
from tasks.datasets.parquet import land
from tests.scenarios.world import World

DOCUMENTS = 120
FIRST = "v1"
REUSED_HOME = "HEADRACE_SCENARIOS_HOME"
"""Names the home of a platform to use instead, which stays up: for whoever works on the scenarios."""


@contextmanager
def shared_world(home: Path) -> Iterator[World]:
    """A platform with 5,000 digits and 120 documents, and the first model and index that their arrival made."""
    reused = os.environ.get(REUSED_HOME)
    home = Path(reused) if reused else home
    environment = sandbox_environment(home)
    platform = Platform(Settings.from_env(environment), environment)
    try:
        world = _up(platform)
        _fill(world)
        yield world
    finally:
        everything = platform.processes()
        if not reused:
            status, out, err = platform.cli("down")
            assert status == 0, out + err
            assert platform.processes() == []
            assert [pid for pid in everything if _lives(pid)] == []
            assert platform.leases_in_use() == []


def _lives(pid: int) -> bool:
    """Whether it still does something; one that only waits to be reaped by its parent does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _up(platform: Platform) -> World:
    status, out, err = platform.cli("up")
    assert status == 0, out + err
    with temporary_settings(updates={PREFECT_API_URL: living_report(platform.settings).api_url}):
        client = get_client(sync_client=True)
    client.__enter__()
    world = World(platform.settings, platform.environment)
    world.attach(client)
    return world


def _fill(world: World) -> None:
    frames = {"mnist5k": build("mnist5k"), "api-docs": build("api-docs", limit=DOCUMENTS)}
    for name, frame in frames.items():
        land(world.control.store, load_contract(name, world.settings.contracts_dir), FIRST, frame)
    for deployment in ("training/digits", "embedding-refresh/api-docs"):
        world.ended(world.arrival_run(deployment, FIRST))

"""A keeper's life: start the cluster, answer with one line of JSON, hold it until nobody wants it, end it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from infra.adapters.local_cloud.nursery import name_process
from infra.adapters.local_cloud.records import LeaseDirectory, ProcessIdentity, write_json


class KeptCluster(Protocol):
    """One lease's cluster, as its keeper sees it.

    Attributes:
        ends_at: The lease's hard end, seconds since the epoch.
        start_deadline_at: When a start that is not over has failed.
        doing: What the start is at, for the message when it is not over in time.
    """

    ends_at: float
    start_deadline_at: float
    doing: str

    async def start(self) -> dict[str, Any]:
        """Bring it up; the answer with ``scheduler`` and ``workers``."""

    async def watch(self) -> None:
        """Runs beside the cluster once it is up; cancelled at the end."""

    async def close(self) -> None:
        """End whatever of it exists, also when the start failed. May be cancelled."""


def keep_lease(
    path: Path, answers: int, cluster_of: Callable[[LeaseDirectory], KeptCluster], close_timeout_s: float
) -> None:
    """Be the keeper of the lease whose files lie in ``path``; returns when its cluster is ended.

    Args:
        answers: Descriptor that the one line of answer is written to.
        cluster_of: The provider's part, made from the lease's files.
    """
    name_process("headrace-keeper")
    write_json(path / "keeper.json", ProcessIdentity.of().as_dict())
    log_to(path / "keeper.log")
    asyncio.run(hold(cluster_of(LeaseDirectory(path)), answers, close_timeout_s))


async def hold(cluster: KeptCluster, answers: int, close_timeout_s: float) -> None:
    """Hold it until standard input ends, SIGTERM comes or the lease does.

    Args:
        answers: Descriptor for the one line of answer; it says ``problem`` when the start failed.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(0, stop.set)
    loop.call_later(max(0.0, cluster.ends_at - time.time()), stop.set)
    starting, stopped = asyncio.ensure_future(cluster.start()), asyncio.ensure_future(stop.wait())
    left_s = max(0.0, cluster.start_deadline_at - time.time())
    await asyncio.wait([starting, stopped], timeout=left_s + 1.0, return_when=asyncio.FIRST_COMPLETED)
    problem = ""
    if starting.done() and starting.exception() is None:
        _answer(answers, starting.result())
        watching = asyncio.ensure_future(cluster.watch())
        await stopped
        watching.cancel()
    elif starting.done():
        problem = str(starting.exception())
    else:
        problem = "it was stopped" if stop.is_set() else f"not up in time, at: {cluster.doing}"
        starting.cancel()
    with suppress(Exception):  # what cannot be ended in order is ended by whoever looks from outside
        await asyncio.wait_for(cluster.close(), close_timeout_s)
    if problem:
        _answer(answers, {"problem": problem})


def _answer(descriptor: int, answer: dict[str, Any]) -> None:
    with suppress(OSError):  # nobody is left to listen: standard input ends as well, and with it this process
        os.write(descriptor, json.dumps(answer).encode() + b"\n")


def log_to(path: Path) -> None:
    """Let standard output and error go to this file, readable by its owner alone."""
    written = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(written, 1)
    os.dup2(written, 2)
    os.close(written)

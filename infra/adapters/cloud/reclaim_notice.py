"""How a spot machine hears that its cloud takes it back, and whom it tells. Loaded by the machine's Dask worker.

EC2 announces a reclaim two minutes before at the machine's metadata address. The worker then tells the cluster, so
that the run saves a checkpoint, and moves what it holds to other workers, if there are any. It goes on working
until the end: what it still does is paid anyway.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from datetime import UTC, datetime
from typing import Any

TOPIC = "headrace-reclaim"
"""Dask topic of the announcements: ``worker`` (address), ``told_at`` and ``ends_at`` (seconds since the epoch); besides,
``listener`` (a client's id) is said by whoever listens, to hear that it does."""

METADATA_HOST = "169.254.169.254"
LOOK_EVERY_S = 2.0
TOKEN_LIFE_S = 300
_TIMEOUT_S = 2.0


async def dask_setup(worker: Any) -> None:
    """Called by Dask when the worker starts; listens for as long as it lives."""
    worker.headrace_notice = asyncio.create_task(_listen(worker))  # kept, or it might be collected


async def _listen(worker: Any) -> None:
    while (ends_at := await asyncio.to_thread(announced_end)) is None:
        await asyncio.sleep(LOOK_EVERY_S)
    announce(worker, ends_at)
    await leave(worker)


def announced_end() -> float | None:
    """When the machine is taken back, as its metadata service says; ``None`` while it says nothing, or does not answer."""
    try:
        token = _ask("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_LIFE_S)})
        said = _ask("GET", "/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token})
        return datetime.strptime(json.loads(said)["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None


def announce(worker: Any, ends_at: float) -> None:
    """Tell the cluster that the worker's machine is gone then."""
    worker.log_event(TOPIC, {"worker": worker.address, "told_at": time.time(), "ends_at": ends_at})


async def leave(worker: Any) -> None:
    """Take no new tasks and move what is held here to other workers. Without others, or with an actor here, nothing changes."""
    known = await worker.scheduler.identity(n_workers=-1)
    if len(known["workers"]) > 1:
        await worker.scheduler.retire_workers(workers=[worker.address], close_workers=False, remove=False)


def _ask(method: str, path: str, headers: dict[str, str]) -> str:
    connection = http.client.HTTPConnection(METADATA_HOST, timeout=_TIMEOUT_S)
    try:
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        text = reply.read().decode()
        if reply.status != http.client.OK:  # 404 until there is a notice
            raise ValueError(f"status {reply.status}")
        return text
    finally:
        connection.close()

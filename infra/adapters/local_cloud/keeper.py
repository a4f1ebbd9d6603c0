"""The keeper: the one process that holds one lease's cluster of the simulated cloud.

The host forks it with two pipes. It forks its nursery, builds the cluster, answers with one line of JSON, and keeps
the cluster until its standard input ends, which happens whatever kills the process that holds the other end, or until
the lease does. Ending itself, it ends everything: what it cannot end any more when it is killed, its nursery and the
machines' lifelines do.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed.security import Security

from infra.adapters.certificates import ClusterIdentity
from infra.adapters.local_cloud.cluster import CloudOrder, LocalVMCluster
from infra.adapters.local_cloud.nursery import NurseryClient, name_process, start_nursery_process
from infra.adapters.local_cloud.records import LeaseDirectory, ProcessIdentity, write_json

CLOSE_TIMEOUT_S = 5.0


def keep(path: Path, answers: int) -> None:
    """Hold the cluster of the lease whose files lie in ``path``; returns when nothing of it is left.

    Standard input is the lifeline. The process must have one thread and no event loop yet.

    Args:
        answers: Descriptor that the one line of answer is written to.
    """
    directory = LeaseDirectory(path)
    control, nursery = start_nursery_process(private=(0, answers))
    client = NurseryClient(control)
    try:
        name_process("headrace-keeper")
        write_json(path / "keeper.json", ProcessIdentity.of().as_dict() | {"nursery": nursery.as_dict()})
        _log_to(path / "keeper.log")
        asyncio.run(_keep(directory, client, answers))
    finally:
        client.close()


async def _keep(directory: LeaseDirectory, nursery: NurseryClient, answers: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(0, stop.set)
    order = _order(directory)
    loop.call_later(max(0.0, order.lease.ends_at - time.time()), stop.set)
    identity = ClusterIdentity.load(order.lease.id, directory.tls)
    security = Security(**identity.security_arguments(), tls_min_version=ssl.TLSVersion.TLSv1_3)
    cluster = LocalVMCluster(order, nursery, security)
    starting, stopped = asyncio.ensure_future(_start(cluster)), asyncio.ensure_future(stop.wait())
    left_s = max(0.0, order.start_deadline_at - time.time())
    await asyncio.wait([starting, stopped], timeout=left_s + 1.0, return_when=asyncio.FIRST_COMPLETED)
    if starting.done() and starting.exception() is None:
        _answer(answers, {"scheduler": cluster.scheduler.address, "workers": cluster.worker_names()})
        await stopped
        with suppress(Exception):  # what cannot be closed in order is ended below, by the end of the nursery
            await asyncio.wait_for(cluster.close(), CLOSE_TIMEOUT_S)
        return
    problem = str(starting.exception()) if starting.done() else "it was stopped or not up in time"
    starting.cancel()
    _answer(answers, {"problem": problem})


async def _start(cluster: LocalVMCluster) -> None:
    await cluster


def _order(directory: LeaseDirectory) -> CloudOrder:
    document, lease = directory.document(), directory.lease()
    if lease is None:
        raise ValueError(f"{directory.path} holds no lease")
    order = document["order"]
    return CloudOrder(
        lease=lease,
        directory=directory,
        requested_at=document["requested_at"],
        boot_s=order["boot_s"],
        start_deadline_at=order["start_deadline_at"],
        idle_timeout_s=order["idle_timeout_s"],
        reclaim_after_s=tuple(order["reclaim_after_s"]),
    )


def _answer(descriptor: int, answer: dict[str, Any]) -> None:
    with suppress(OSError):  # nobody is left to listen: standard input ends as well, and with it this process
        os.write(descriptor, json.dumps(answer).encode() + b"\n")


def _log_to(path: Path) -> None:
    written = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(written, 1)
    os.dup2(written, 2)
    os.close(written)

"""What the cluster tests share: sites, leases, clients, a standing cluster, and waiting for an end of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from infra.adapters.clusters_attached import standing_cluster, standing_cluster_command
from infra.adapters.clusters_local import LocalCloud
from infra.adapters.local_cloud.records import LeaseDirectory
from infra.core.errors import UnavailableError
from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site, TrustZone
from infra.ports import ClusterAddress, Lease

SITE = "site-a"


def offer(boot_s: float = 0.0, interruptions_per_hour: float = 0.0) -> Offer:
    purchase = Purchase.SPOT if interruptions_per_hour else Purchase.ON_DEMAND
    return Offer("offer-a", purchase, "gpu-sim", 4, 16.0, 1.0, None, boot_s, interruptions_per_hour)


def site(cluster: Cluster = Cluster.LOCAL) -> Site:
    pool = Pool(SITE, cluster, (offer(),))
    return Site(SITE, "DE", TrustZone.PRIVATE, (pool,), simulated=True)


def lease(lease_id: str, devices: int = 1, life_s: float = 60.0, at: float | None = None) -> Lease:
    opened_at = time.time() if at is None else at
    return Lease(lease_id, "run-1", 1, SITE, SITE, "offer-a", devices, 1_000_000, opened_at, opened_at + life_s)


def open_short(
    provider: Any, lease_id: str, life_s: float, offer: Offer, site: Site, devices: int = 1, needs_s: float = 0.0
) -> tuple[Lease, ClusterAddress]:
    """Open a lease that ends soon. When the start leaves too little of it, as on a busy machine, another gets twice the time.

    Args:
        needs_s: What must be left for whatever is to happen before it ends.
    """
    for number in range(4):
        held = lease(f"{lease_id}-{number}", devices, life_s * 2**number)
        try:
            address = provider.open(held, offer, site)
        except UnavailableError:  # it ended while it started, as it must
            continue
        if held.ends_at - time.time() > max(needs_s, life_s / 8):
            return held, address
        provider.close(held.id)
    raise AssertionError(f"no start is done within {life_s * 8:g} s")


def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait for the condition; fail when it does not come."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes_of(state_dir: Path, provider: LocalCloud | None = None) -> list[int]:
    """Numbers of all running processes that were started with this state directory, found without its records.

    The host of ``provider`` does not count: it may stay while no lease is open.
    """
    own = {psutil.Process().pid, provider.host_pid() if provider is not None else None}
    found = []
    for process in psutil.process_iter():
        try:
            mentions = str(state_dir) in " ".join([*process.cmdline(), *process.environ().values(), process.cwd()])
            if mentions and runs(process.pid) and process.pid not in own:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def security(address: ClusterAddress):
    from distributed.security import Security

    return Security(
        tls_ca_file=address.ca_file,
        tls_client_cert=address.cert_file,
        tls_client_key=address.key_file,
        require_encryption=True,
    )


@contextmanager
def client(address: ClusterAddress) -> Iterator:
    from distributed import Client

    with Client(address.scheduler, security=security(address), timeout=60, set_as_default=False) as connected:
        yield connected


@contextmanager
def running_standing_cluster(state_dir: Path, devices: int) -> Iterator[subprocess.Popen]:
    command, environment = standing_cluster_command(SITE, devices, state_dir)
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: standing_cluster(state_dir) is not None)
        yield process
    finally:
        process.terminate()
        process.wait(60)
        until(lambda: not processes_of(state_dir))


def kill_keeper(state_dir: Path, lease_id: str) -> None:
    keeper = LeaseDirectory.of(state_dir, lease_id).keeper()
    assert keeper is not None
    os.kill(keeper.pid, signal.SIGKILL)
    until(lambda: not keeper.alive())


def reaches(address: str, security: Any, role: str) -> bool:
    """Whether a connection as this role is accepted by the other side."""
    import asyncio

    from distributed.core import rpc

    async def identify() -> bool:
        async with rpc(address, connection_args=security.get_connection_args(role), timeout=3) as scheduler:
            return bool(await asyncio.wait_for(scheduler.identity(), 5))

    try:
        return asyncio.run(identify())
    except (OSError, TimeoutError):
        return False

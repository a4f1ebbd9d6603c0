"""A standing Dask cluster as a cluster provider: a lease gets some of its workers for itself.

``python -m infra.adapters.local_cloud.serve --site SITE --devices N --state-dir DIR`` runs the cluster. The provider
only hands its workers out, in milliseconds: a claim file for each worker says which lease has it, and claims are
taken and dropped under a lock file that the operating system frees when its holder dies. Every lease gets workers in
fresh processes: closing one ends the processes of its workers, with whatever an aborted run left behind in them, and
the cluster's supervisor starts new ones. The supervisor also takes the workers back when a lease's hard end comes and
nobody closed it. Leases share the site's scheduler and its certificates; what keeps them
apart is that no worker is in two leases.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.adapters.certificates import ClusterIdentity
from infra.adapters.local_cloud.environment import machine_environment
from infra.adapters.local_cloud.machine import machine_is_ready
from infra.adapters.local_cloud.reaping import reap_recorded
from infra.adapters.local_cloud.records import (
    LeaseDirectory,
    ProcessIdentity,
    end_processes,
    read_json,
    write_json,
)
from infra.core.errors import InputError, UnavailableError
from infra.core.inventory import Offer, Site
from infra.ports import ClusterAddress, Lease, Reaped, ReapReason

POLL_S = 0.02


class AttachedCluster:
    """Cluster provider on the standing cluster of a site. Safe to use from several threads and processes.

    Args:
        state_dir: The site's state directory, the one that the standing cluster was started with.
        start_timeout_s: How long a lease waits for its workers, for example while they are being restarted.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, state_dir: Path, *, start_timeout_s: float = 20.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._state_dir = Path(state_dir).absolute()
        self._start_timeout_s, self._clock = start_timeout_s, clock

    def open(self, lease: Lease, offer: Offer, site: Site) -> ClusterAddress:
        """Claim ``lease.devices`` workers that serve and that no other lease has.

        Raises:
            ConflictError: ``LEASE_EXISTS`` when this lease was opened before.
            InputError: ``LEASE_ENDED`` when it has ended already.
            UnavailableError: ``CLUSTER_START_FAILED`` when there are not enough in time; no claim is left.
        """
        now_at = self._clock()
        if lease.ends_at <= now_at:
            raise InputError("LEASE_ENDED", "it ends before it begins", f"lease {lease.id}", "open it with time left")
        directory = LeaseDirectory.of(self._state_dir, lease.id)
        directory.begin(lease, now_at, {"provider": "attached", "site": site.name})
        try:
            cluster, workers = self._claim(lease, directory)
            directory.opened(self._clock(), {"scheduler": cluster["scheduler"], "workers": workers})
            identity = ClusterIdentity.load(f"standing:{site.name}", Path(cluster["tls"]))
        except BaseException:
            self.close(lease.id)
            raise
        return ClusterAddress(
            scheduler=cluster["scheduler"],
            ca_file=identity.ca_file,
            cert_file=identity.cert_file("client"),
            key_file=identity.key_file("client"),
            workers=tuple(workers),
        )

    def close(self, lease_id: str) -> None:
        """Give the lease's workers back, in fresh processes. Safe to repeat; an unknown lease is no error."""
        directory = LeaseDirectory.of(self._state_dir, lease_id)
        if directory.path.exists() and not directory.closed:
            # Closed first: a start that is still waiting for its workers sees that and claims none any more.
            directory.end("closed", self._clock())
            drop_claims(self._state_dir, lease_id)

    def leases(self) -> tuple[str, ...]:
        """Ids of leases for which something still exists."""
        directories = LeaseDirectory.all(self._state_dir)
        open_leases = [directory.lease() for directory in directories if not directory.closed]
        return tuple(sorted(lease.id for lease in open_leases if lease is not None))

    def had_machines(self, lease_id: str) -> bool:
        """Whether the lease was given workers."""
        return read_json(LeaseDirectory.of(self._state_dir, lease_id).path / "opened.json") is not None

    def usage(self, lease_id: str) -> dict[str, float]:
        """Seconds that the lease held its workers, so far or in all.

        Returns:
            ``machine_s`` summed over the workers, ``boot_s`` (0: they stand already), ``ready_at`` (seconds since the
            epoch, 0 when it never was) and ``reclaimed`` (0). All 0 for an unknown lease.
        """
        directory = LeaseDirectory.of(self._state_dir, lease_id)
        opened = read_json(directory.path / "opened.json")
        if opened is None:
            return {"machine_s": 0.0, "boot_s": 0.0, "ready_at": 0.0, "reclaimed": 0}
        closed = read_json(directory.path / "closed.json")
        until_at = closed["closed_at"] if closed else self._clock()
        held_s = max(0.0, until_at - opened["ready_at"]) * len(opened["workers"])
        return {"machine_s": held_s, "boot_s": 0.0, "ready_at": opened["ready_at"], "reclaimed": 0}

    def reap(self, now_at: float, grace_s: float, dry_run: bool) -> list[Reaped]:
        """Take back workers of leases that have ended, whose opener is gone, or that nobody wrote down."""
        reaped = []
        held = claims(self._state_dir)
        for found in reap_recorded(self._state_dir, "attached", now_at, grace_s, dry_run):
            workers = tuple(worker for worker, claim in held.items() if claim["lease"] == found.lease_id)
            reaped.append(replace(found, workers=workers))
        stray: dict[str, list[str]] = {}
        open_leases = {
            lease.id for found in LeaseDirectory.all(self._state_dir) if not found.closed and (lease := found.lease())
        }
        done = {found.lease_id for found in reaped}
        for worker, claim in held.items():
            if claim["lease"] not in open_leases | done:
                stray.setdefault(claim["lease"], []).append(worker)
        reaped += [Reaped(key, ReapReason.NO_LEASE, (), tuple(workers), 0.0) for key, workers in stray.items()]
        if not dry_run:
            for found in reaped:
                drop_claims(self._state_dir, found.lease_id)
        return reaped

    def shutdown(self) -> None:
        """Close every lease that this process opened."""
        me = ProcessIdentity.of()
        for directory in LeaseDirectory.all(self._state_dir):
            lease = directory.lease()
            if lease is not None and not directory.closed and directory.opener() == me:
                self.close(lease.id)

    def _claim(self, lease: Lease, directory: LeaseDirectory) -> tuple[dict[str, Any], list[str]]:
        deadline = time.monotonic() + self._start_timeout_s
        while True:
            with claims_lock(self._state_dir):
                if directory.closed:
                    raise UnavailableError(
                        "CLUSTER_START_FAILED",
                        "it was closed while it started",
                        f"site {lease.site}, lease {lease.id}",
                        "open a new lease",
                    )
                cluster = standing_cluster(self._state_dir)
                free = _free_workers(self._state_dir, cluster) if cluster else []
                if cluster and len(free) >= lease.devices:
                    chosen = free[: lease.devices]
                    for worker in chosen:
                        claim = {"lease": lease.id, "run": lease.run_id, "attempt": lease.attempt}
                        claim |= {"worker": worker, "ends_at": lease.ends_at}
                        write_json(_claim_path(self._state_dir, worker), claim)
                    return cluster, chosen
            total = len(cluster["workers"]) if cluster else 0
            hopeless = cluster is not None and total < lease.devices
            if hopeless or time.monotonic() >= deadline:
                problem = f"{len(free)} of {total} workers are free, {lease.devices} are needed"
                raise UnavailableError(
                    "CLUSTER_START_FAILED",
                    problem if cluster else "the standing cluster is not running",
                    f"site {lease.site}, lease {lease.id}",
                    "wait for other leases to end" if cluster else "start it: headrace up",
                )
            time.sleep(POLL_S)


def standing_cluster(state_dir: Path) -> dict[str, Any] | None:
    """The announcement of the running standing cluster; ``None`` when there is none, or its supervisor is gone."""
    document = read_json(Path(state_dir) / "cluster.json")
    supervisor = ProcessIdentity.read((document or {}).get("supervisor"))
    return document if supervisor is not None and supervisor.alive() else None


def claims(state_dir: Path) -> dict[str, dict[str, Any]]:
    """Claims by the name of the worker."""
    found = {path.stem: read_json(path) for path in sorted((Path(state_dir) / "claims").glob("*.json"))}
    return {worker: claim for worker, claim in found.items() if claim is not None}


def drop_claims(state_dir: Path, lease_id: str) -> list[str]:
    """End the processes of a lease's workers and free them; returns the workers' names."""
    with claims_lock(state_dir):
        mine = [worker for worker, claim in claims(state_dir).items() if claim["lease"] == lease_id]
        cluster = standing_cluster(state_dir)
        if cluster:
            records = [read_json(_machine_path(cluster, worker)) for worker in mine]
            identities = [ProcessIdentity.read(record) for record in records if record and not record.get("ended_at")]
            end_processes([identity for identity in identities if identity is not None], 0.0)
        for worker in mine:
            _claim_path(state_dir, worker).unlink(missing_ok=True)
    return mine


def end_expired_leases(state_dir: Path, now_at: float) -> list[str]:
    """Take back the workers of leases whose hard end has come; returns the leases' ids."""
    ended = sorted({claim["lease"] for claim in claims(state_dir).values() if claim["ends_at"] <= now_at})
    for lease_id in ended:
        directory = LeaseDirectory.of(state_dir, lease_id)
        if directory.path.exists() and not directory.closed:
            directory.end("lease_ended", now_at)
        drop_claims(state_dir, lease_id)
    return ended


@contextmanager
def claims_lock(state_dir: Path) -> Iterator[None]:
    """Nobody else, in any process, takes or drops a claim of this site meanwhile."""
    folder = Path(state_dir) / "claims"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _free_workers(state_dir: Path, cluster: dict[str, Any]) -> list[str]:
    taken = claims(state_dir)
    return [
        worker
        for worker in cluster["workers"]
        if worker not in taken and machine_is_ready(_machine_path(cluster, worker))
    ]


def _machine_path(cluster: dict[str, Any], worker: str) -> Path:
    return Path(cluster["directory"]) / f"vm-{worker}.json"


def _claim_path(state_dir: Path, worker: str) -> Path:
    return Path(state_dir) / "claims" / f"{worker}.json"


def standing_cluster_command(
    site: str, devices: int, state_dir: Path, preload: tuple[str, ...] = ()
) -> tuple[list[str], dict[str, str]]:
    """Command and environment of the process that runs a site's standing cluster. It ends with its parent."""
    command = [sys.executable, "-m", "infra.adapters.local_cloud.serve", "--site", site, "--devices", str(devices)]
    command += ["--state-dir", str(Path(state_dir).absolute())]
    for module in preload:
        command += ["--preload", module]
    return command, machine_environment(state_dir)

"""Warm clusters as a decision sees them: an offer where one idles has its devices free, and boots in no time most likely.

What is decided is decided by the same rules as ever, on a snapshot that says so, and that is the snapshot which is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from infra.core.placement.estimate import BOOT_SPREAD, speed_up
from infra.core.placement.snapshot import OfferLoad, QueueEntry, Release, Snapshot
from infra.core.placement.uncertainty import LEVELS, ratios
from infra.core.workload import Resources, WorkKind, WorkloadRequest

TAKING_S = 0.5
"""How long it takes a site to hand a warm cluster over."""

_RELIED_ON = 0.75
"""Up to this quantile a warm cluster is handed over. Beyond it the estimate is that of a boot: the site may have to boot after
all, and money and deadline must hold for that too."""


@dataclass(frozen=True, slots=True)
class WarmCluster:
    """A cluster that is ready and that nobody uses.

    Attributes:
        lease_id: Id of its lease, which is that of its permit.
        release: How its devices stand in the snapshot's load of the offer.
        expires_at: When its lease ends.
    """

    lease_id: str
    site: str
    offer: str
    release: Release
    expires_at: float


def takers(queue: Iterable[QueueEntry], clusters: Iterable[WarmCluster]) -> list[str]:
    """Ids of the waiting runs that might take one of these clusters, in the order of the queue: they want as many devices."""
    offered = {cluster.release.devices for cluster in clusters}
    ordered = sorted(queue, key=lambda entry: (entry.start_at, entry.position, entry.run_id))
    return [entry.run_id for entry in ordered if entry.devices in offered]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a warm run keeps: at exactly this offer, and for how long beyond its idling."""

    site: str
    offer: str
    serve_s: float


def with_warm(
    snapshot: Snapshot, clusters: Iterable[WarmCluster], requests: Sequence[WorkloadRequest], least_s: float
) -> tuple[Snapshot, dict[tuple[str, str], WarmCluster]]:
    """The snapshot as this run sees it, and the warm cluster that it would be given at each (site, offer).

    A cluster counts when it has exactly as many devices as are asked for and lasts for ``least_s`` at least; of several at
    one offer the one that lasts longest. Whether it lasts for all of the run's permit shows only once the run is placed.
    Nothing changes for a run whose ladder changes the number of devices, for a warm run itself, and at offers that rest.

    Args:
        requests: Of one run, as on each rung that it may be placed on; not empty.
    """
    devices = {request.resources.devices for request in requests}
    if len(devices) > 1 or requests[0].kind is WorkKind.WARM:
        return snapshot, {}
    best: dict[tuple[str, str], WarmCluster] = {}
    for each in sorted(clusters, key=lambda each: (-each.expires_at, each.lease_id)):
        if each.release.devices in devices and each.expires_at >= snapshot.now_at + least_s:
            best.setdefault((each.site, each.offer), each)
    warmed = {
        key: _warmed(load, best[key].release, snapshot.offer(*key).boot_s)
        for load in snapshot.loads
        if (key := (load.site, load.offer)) in best
        and load.rests_until_at is None
        and best[key].release in load.releases
    }
    if not warmed:
        return snapshot, {}
    loads = tuple(warmed.get((load.site, load.offer), load) for load in snapshot.loads)
    return replace(snapshot, loads=loads), {key: best[key] for key in warmed}


def _warmed(load: OfferLoad, release: Release, expected_s: float) -> OfferLoad:
    """The load without the cluster's devices, and with a boot that is a hand-over most likely.

    Args:
        expected_s: Boot time of the site file, for an offer on which none was measured.
    """
    left = list(load.releases)
    left.remove(release)
    boot_s = expected_s if load.boot_s is None else load.boot_s
    if boot_s <= TAKING_S:
        return replace(load, releases=tuple(left))
    cold = ratios(BOOT_SPREAD if load.boot_spread is None else load.boot_spread)
    spread = tuple(
        1.0 if level <= _RELIED_ON else max(1.0, boot_s * ratio / TAKING_S)
        for level, ratio in zip(LEVELS, cold, strict=True)
    )
    return replace(load, releases=tuple(left), boot_s=TAKING_S, boot_spread=spread)


def only_at(snapshot: Snapshot, site: str, offer: str) -> Snapshot:
    """The snapshot with this one offer for sale and no other; with none at all where it is not sold."""
    sites = tuple(
        replace(each, pools=pools)
        for each in snapshot.sites
        if each.name == site
        and (
            pools := tuple(
                replace(pool, offers=tuple(one for one in pool.offers if one.name == offer), warm=())
                for pool in each.pools
                if any(one.name == offer for one in pool.offers)
            )
        )
    )
    return replace(
        snapshot,
        sites=sites,
        loads=tuple(load for load in snapshot.loads if (load.site, load.offer) == (site, offer)),
        health=tuple(health for health in snapshot.health if health.site == site),
        queue=tuple(entry for entry in snapshot.queue if (entry.site, entry.offer) == (site, offer)),
        spot=tuple(seen for seen in snapshot.spot if (seen.site, seen.offer) == (site, offer)),
    )


def warm_request(tenant: str, devices: int, seconds: float, relative_speed: float) -> WorkloadRequest:
    """What a warm run asks for: to hold so many devices for so many seconds, now or not at all.

    Devices do not shorten it, neither by their number nor by their speed, which the estimate divides by.
    """
    units = seconds * speed_up(devices) * relative_speed
    return WorkloadRequest(WorkKind.WARM, tenant, (), units, Resources(devices), fallbacks=())

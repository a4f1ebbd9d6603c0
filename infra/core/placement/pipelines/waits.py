"""When devices that others still have come back, as plans of pipelines take it: at the high estimate, as everything else."""

from __future__ import annotations

from dataclasses import replace

from infra.core.placement.snapshot import Release, Snapshot
from infra.core.placement.uncertainty import HIGH, NORMALS, normal_of


def at_high_estimates(snapshot: Snapshot, probability: float) -> Snapshot:
    """The snapshot with each release at the instant by which the devices are back with this probability.

    The distance between the expected instant and the one that nine of ten keep is that of a normal, as for a single run.
    """
    if all(release.late_at is None for load in snapshot.loads for release in load.releases):
        return snapshot
    steps = max(0.0, normal_of(probability) / NORMALS[HIGH])

    def late(release: Release) -> Release:
        if release.late_at is None:
            return release
        return Release(release.at + (release.late_at - release.at) * steps, release.devices)

    loads = [replace(load, releases=tuple([late(release) for release in load.releases])) for load in snapshot.loads]
    return replace(snapshot, loads=tuple(loads))

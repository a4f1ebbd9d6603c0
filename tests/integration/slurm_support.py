"""What tests on a real Slurm share: a site there, its provider, and that nothing is left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.adapters.clusters_slurm import SlurmClusters
from infra.core.cluster_settings import SlurmSettings
from infra.core.inventory import Cluster, Offer, Pool, Purchase, Site, TrustZone
from tests.clouds.slurm import PARTITION, Slurm, missing
from tests.integration.clusters_support import SITE, offer, processes_of, until

ON_SLURM = (pytest.mark.slow, pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "it runs"))


def slurm_offer(boot_s: float = 0.0) -> Offer:
    return replace(offer(boot_s), purchase=Purchase.OWNED)


def slurm_site(**changes: Any) -> Site:
    told = {"gres": (("gpu-sim", "accel:sim:1"),), "memory_gb": 1.0, "scheduler_host": "127.0.0.1", **changes}
    pool = Pool(SITE, Cluster.SLURM, (slurm_offer(),), slurm=SlurmSettings(PARTITION, **told))
    return Site(SITE, "DE", TrustZone.PRIVATE, (pool,))


@contextmanager
def slurm_provider(slurm: Slurm, state_dir: Path, **options: Any) -> Iterator[SlurmClusters]:
    """A provider; at the end nothing of it may be left, in the queue or here."""
    environ = {**os.environ, **slurm.environment()}
    provider = SlurmClusters(state_dir, **{"environ": environ, "start_timeout_s": 60.0, **options})
    try:
        yield provider
    finally:
        slurm.set_control(True)
        slurm.set_node("resume")
        provider.shutdown()
        until(lambda: not slurm.jobs())
        until(lambda: not processes_of(state_dir))

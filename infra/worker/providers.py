"""Which provider a kind of cluster has: for a site's worker, and for whoever reaps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from infra.core.inventory import Cluster
from infra.ports import ClusterProvider


def provider_of(
    kind: Cluster, state_dir: Path, *, warm: bool = False, environ: Mapping[str, str] = os.environ
) -> ClusterProvider:
    """The provider; its libraries are imported with this call.

    Args:
        state_dir: The site's state directory.
        warm: Whether to get ready for leases at once.
        environ: Where credentials of clouds are found.
    """
    if kind is Cluster.ATTACHED:
        from infra.adapters.clusters_attached import AttachedCluster

        return AttachedCluster(state_dir)
    if kind is Cluster.LOCAL:
        from infra.adapters.clusters_local import LocalCloud

        return LocalCloud(state_dir, preload=("pandas", "torch"), warm=warm)
    if kind is Cluster.EC2:
        from infra.adapters.clusters_ec2 import Ec2Cloud

        return Ec2Cloud(state_dir, warm=warm, environ=environ)
    if kind is Cluster.SLURM:
        from infra.adapters.clusters_slurm import SlurmClusters

        return SlurmClusters(state_dir, warm=warm, environ=environ)
    from infra.adapters.clusters_machines import MachineClouds

    return MachineClouds(kind, state_dir, warm=warm, environ=environ)

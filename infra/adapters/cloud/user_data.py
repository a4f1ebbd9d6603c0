"""What a cloud's machine is told: its own certificate and key, whom to believe, what to run, and when to end. Nothing else.

User-data can be read by whoever may describe the machine and by every process on it, so there is no client's key, no
other machine's key, no credential and no configuration beyond these few lines in it.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dask.config

from infra.adapters.certificates import ClusterIdentity
from infra.adapters.cloud import reclaim_notice
from infra.core.inventory import Cluster

_NVIDIA = {
    # Families p, g and gr, of which g4ad has another maker's devices.
    Cluster.EC2: re.compile(r"(p\d|g\d(?!ad\.)|gr\d)"),
    # Families g and a4 to a2 have devices; other machines have what is attached to them.
    Cluster.GCP: re.compile(r"(g\d|a[2-9])-|.*\+nvidia-"),
    # Families NC, ND and NV; in these, MI… and v4 of NVas are another maker's.
    Cluster.AZURE: re.compile(r"Standard_N(C|D(?!.*MI)|V(?!\d+as_v4))", re.IGNORECASE),
}


def has_nvidia_gpu(kind: Cluster, instance_type: str) -> bool:
    """Whether containers on a machine of this type need ``--gpus=all``. Of OpenStack's flavors nobody can tell."""
    return kind in _NVIDIA and _NVIDIA[kind].match(instance_type) is not None


def inherited(configuration: dict[str, Any]) -> str:
    """What a container's command begins with, so that Dask has this configuration and no other."""
    return f'env DASK_INTERNAL_INHERIT_CONFIG="{dask.config.serialize(configuration)}"'


def machine_configuration(
    identity: ClusterIdentity, role: str, certificate: str, taken_back: bool = False
) -> dict[str, Any]:
    """The whole Dask configuration of one machine.

    Args:
        role: ``scheduler`` or ``worker``.
        certificate: Name of the machine's certificate among the identity's.
        taken_back: Whether its cloud may take it back, and says so before: the worker then listens for that.
    """

    def text(path: str) -> str:
        return Path(path).read_text()

    own = {"cert": text(identity.cert_file(certificate)), "key": text(identity.key_file(certificate))}
    tls = {"ca-file": text(identity.ca_file), "min-version": 1.3, role: own}
    # Dask's small HTTP servers have no encryption and no password: they get no pages.
    no_pages = {"http": {"routes": []}}
    comm = {"default-scheme": "tls", "require-encryption": True, "tls": tls}
    listening = {"preload": [reclaim_notice.__name__]} if taken_back else {}
    return {"distributed": {"comm": comm, "scheduler": no_pages, "worker": no_pages | listening}}


def hard_end_command(ends_at: float, now_at: float) -> str:
    """The command that powers a machine off at an instant, with nobody alive to ask for it.

    Two timers, of which the first to elapse counts: one at the instant, and one after as many seconds as it is away
    now, for a machine whose clock is wrong or that boots after it.
    """
    at = datetime.fromtimestamp(math.ceil(ends_at), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    left_s = max(1, math.ceil(ends_at - now_at))
    timers = f'--on-calendar="{at}" --on-active={left_s}s --timer-property=AccuracySec=1s'
    return f"systemd-run {timers} /sbin/shutdown -h now"

"""What an EC2 machine is told: its own certificate and key, whom to believe, what to run, and when to end. Nothing else.

User-data can be read by whoever may describe the instance and by every process on it, so there is no client's key, no
other machine's key, no credential and no configuration beyond these few lines in it.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.adapters.certificates import ClusterIdentity

LARGEST_BYTES = 16_384
"""EC2's limit for user-data before it is encoded."""

_GPU_FAMILY = re.compile(r"^(p\d|g\d|gr\d)")
_AMD_GPU = re.compile(r"^g4ad\.")


def has_nvidia_gpu(instance_type: str) -> bool:
    """Whether containers on it need ``--gpus=all``: families p, g and gr, of which g4ad has other makers' devices."""
    return bool(_GPU_FAMILY.match(instance_type)) and not _AMD_GPU.match(instance_type)


def machine_configuration(identity: ClusterIdentity, role: str, certificate: str) -> dict[str, Any]:
    """The whole Dask configuration of one machine.

    Args:
        role: ``scheduler`` or ``worker``.
        certificate: Name of the machine's certificate among the identity's.
    """

    def text(path: str) -> str:
        return Path(path).read_text()

    own = {"cert": text(identity.cert_file(certificate)), "key": text(identity.key_file(certificate))}
    tls = {"ca-file": text(identity.ca_file), "min-version": 1.3, role: own}
    # Dask's small HTTP servers have no encryption and no password: they get no pages.
    no_pages = {"http": {"routes": []}}
    comm = {"default-scheme": "tls", "require-encryption": True, "tls": tls}
    return {"distributed": {"comm": comm, "scheduler": no_pages, "worker": no_pages}}


def hard_end_command(ends_at: float, now_at: float) -> str:
    """The command that powers a machine off at an instant, with nobody alive to ask for it.

    Two timers, of which the first to elapse counts: one at the instant, and one after as many seconds as it is away
    now, for a machine whose clock is wrong or that boots after it.
    """
    at = datetime.fromtimestamp(math.ceil(ends_at), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    left_s = max(1, math.ceil(ends_at - now_at))
    timers = f'--on-calendar="{at}" --on-active={left_s}s --timer-property=AccuracySec=1s'
    return f"systemd-run {timers} /sbin/shutdown -h now"

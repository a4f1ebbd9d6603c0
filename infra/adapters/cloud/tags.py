"""Tags of everything that is made for a lease.

They are all that is left of a machine or job when the process that started it was killed before it wrote anything down.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.ports import Lease

LEASE, RUN, ATTEMPT = "headrace:lease", "headrace:run", "headrace:attempt"
SITE, EXPIRES_AT, OWNER, ROLE = "headrace:site", "headrace:expires-at", "headrace:owner", "headrace:role"


ALIVE = ("pending", "running", "stopping", "stopped")
"""States in which a machine costs money or may again."""


@dataclass(frozen=True, slots=True)
class CloudMachine:
    """A machine as its cloud describes it.

    Attributes:
        ended_at: When it ended, as far as the cloud says; 0 while it exists.
        why: ``reclaimed``, ``closed``, ``shut_down`` (by itself) or ``failed``; empty while it exists.
        name: Its Dask name.
    """

    id: str
    region: str
    state: str
    launched_at: float
    ended_at: float
    why: str
    name: str
    tags: dict[str, str]

    @property
    def alive(self) -> bool:
        return self.state in ALIVE

    @property
    def lease_id(self) -> str:
        return self.tags.get(LEASE, "")


def lease_tags(lease: Lease, owner: str) -> dict[str, str]:
    """Tags of everything that is made for a lease."""
    return {
        LEASE: lease.id,
        RUN: lease.run_id,
        ATTEMPT: str(lease.attempt),
        SITE: lease.site,
        OWNER: owner,
        EXPIRES_AT: datetime.fromtimestamp(lease.ends_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def owner_of(state_dir: Path) -> str:
    """A name that tells this site's machines from those of others in the same account; made once and kept."""
    path = Path(state_dir) / "cloud-owner"
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(8))
    return path.read_text().strip()

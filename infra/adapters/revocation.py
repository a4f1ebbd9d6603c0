"""Sites that are trusted no more: beside a site's public key lies ``<site>.revoked``, and the key counts for nothing.

What that means elsewhere: the site is down for every decision, so that no permit is issued for it; its reports are not
believed; attempts that it has are ended and placed anew. It lasts until the site has a new key.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.core.placement.snapshot import Health, SiteHealth
from infra.processes import write_private

_SUFFIX = ".revoked"


@dataclass(frozen=True, slots=True)
class Revocation:
    """Since when a site is trusted no more, and why."""

    site: str
    at: float
    why: str


def revoke(trust_dir: Path, revocation: Revocation) -> None:
    """Trust the site no more. When it is revoked already the first revocation stays."""
    path = trust_dir / f"{revocation.site}{_SUFFIX}"
    if not path.exists():
        write_private(path, json.dumps(asdict(revocation)).encode())


def restore(trust_dir: Path, site: str) -> None:
    """Trust the site's present public key again. The caller has replaced the key that was revoked."""
    (trust_dir / f"{site}{_SUFFIX}").unlink(missing_ok=True)


def revocations(trust_dir: Path) -> dict[str, Revocation]:
    """The revoked sites by name. A file that cannot be read revokes as well."""
    found = {}
    for path in sorted(trust_dir.glob(f"*{_SUFFIX}")):
        site = path.name.removesuffix(_SUFFIX)
        try:
            told = json.loads(path.read_bytes())
            found[site] = Revocation(site, float(told["at"]), str(told["why"]))
        except (OSError, ValueError, KeyError, TypeError):
            found[site] = Revocation(site, path.stat().st_mtime if path.exists() else 0.0, "its reason cannot be read")
    return found


def with_revoked(health: tuple[SiteHealth, ...], revoked: dict[str, Revocation]) -> tuple[SiteHealth, ...]:
    """The sites' health, with the revoked ones down."""
    return tuple(
        SiteHealth(each.site, Health.DOWN, f"it is revoked: {revoked[each.site].why}") if each.site in revoked else each
        for each in health
    )

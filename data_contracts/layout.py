"""Where versions lie in the object store, from landing to a site's copy, and what their names may be."""

from __future__ import annotations

import re

from infra.core.errors import InputError

LANDING = "landing"
QUARANTINE = "quarantine"
LATEST = "latest"
_VERSION = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


def is_version(version: str) -> bool:
    """Whether it may name a version of data."""
    return bool(_VERSION.match(version)) and version != LATEST and not version.endswith(".parquet")


def require_version(version: str, where: str = "version") -> str:
    """Return ``version`` when it may name one.

    Raises:
        InputError: ``BAD_VERSION_NAME``.
    """
    if not is_version(version):
        remedy = "use letters, digits, dots, hyphens and underscores, as v3 or 2026-11-24; not latest, no .parquet"
        raise InputError("BAD_VERSION_NAME", f"{version!r} names no version"[:120], where, remedy)
    return version


def landing_file(dataset: str, version: str) -> str:
    """Key of a version that lands as one file."""
    return f"{LANDING}/{dataset}/{version}.parquet"


def landing_folder(dataset: str, version: str) -> str:
    """Prefix of a version that lands as several parts with a manifest."""
    return f"{LANDING}/{dataset}/{version}"


def quarantine_folder(dataset: str, version: str) -> str:
    return f"{QUARANTINE}/{dataset}/{version}"


def version_prefix(dataset: str, version: str) -> str:
    """Prefix of a version in a site's own store."""
    return f"datasets/{dataset}/{version}"


def site_prefix(site: str, dataset: str, version: str) -> str:
    """Prefix of a site's copy in the store that holds all sites."""
    return f"sites/{site}/{version_prefix(dataset, version)}"

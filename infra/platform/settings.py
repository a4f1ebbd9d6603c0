"""The platform's settings. They stand in :mod:`infra.settings`, low enough for the wiring to use them too."""

from __future__ import annotations

from infra.settings import CONTROL_POOL, Settings, SiteSettings

__all__ = ["CONTROL_POOL", "Settings", "SiteSettings"]

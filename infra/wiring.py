"""The only place where adapters are chosen and put together."""

from __future__ import annotations

import os
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from infra.adapters.clock import SystemClock
from infra.adapters.current_policy import current_policy
from infra.adapters.objects import open_store
from infra.adapters.observation import take_snapshot
from infra.adapters.permits import PermitSigner
from infra.adapters.prefect_status import site_health
from infra.adapters.reports import load_trusted_keys
from infra.adapters.revocation import Revocation, revocations, with_revoked
from infra.adapters.sql import open_database
from infra.core.errors import InputError
from infra.core.inventory import Site
from infra.core.placement.snapshot import Rate, SiteHealth, Snapshot
from infra.core.policy import Policy
from infra.documents import load_rates, load_sites
from infra.documents.policy_windows import policy_at
from infra.documents.tenants import load_tenants
from infra.ports import Clock, ControlStore, ObjectStore
from infra.settings import Settings

if TYPE_CHECKING:
    from blocks.control_plane import ControlPlane as ControlPlaneBlock


class ControlPlane:
    """What the control plane works with. Made once per process; parts are opened when first used."""

    def __init__(self, settings: Settings, block: ControlPlaneBlock | None = None) -> None:
        """Make a control plane.

        Args:
            block: The Prefect block that ``settings`` came from: it knows the store's credentials and the signing key.
        """
        self.settings, self._block = settings, block
        self.clock: Clock = SystemClock()

    @cached_property
    def database(self) -> ControlStore:
        return open_database(self.settings.database_url, self.clock)

    @cached_property
    def store(self) -> ObjectStore:
        if self._block is not None:
            return open_store(**self._block.store.get_arguments())
        return open_store(self.settings.store_url)

    @cached_property
    def signer(self) -> PermitSigner:
        if self._block is not None:
            return PermitSigner.from_pem(self._block.signing_key.get_private_key_pem())
        return PermitSigner.from_file(self.settings.permit_key_file)

    @property
    def trusted_keys(self) -> dict:
        """Public keys by site of those that are trusted; read anew, so that a revoked site is out at once."""
        revoked = self.revoked
        return {site: key for site, key in load_trusted_keys(self.settings.trust_dir).items() if site not in revoked}

    @property
    def revoked(self) -> dict[str, Revocation]:
        """The sites that are trusted no more, by name; read anew."""
        return revocations(self.settings.trust_dir)

    @property
    def sites(self) -> tuple[Site, ...]:
        return load_sites(self.settings.sites_dir)

    def site(self, name: str) -> Site:
        """The site of that name.

        Raises:
            InputError: ``UNKNOWN_SITE``.
        """
        known = {site.name: site for site in self.sites}
        if name not in known:
            raise InputError("UNKNOWN_SITE", f"no site {name!r}", str(self.settings.sites_dir), f"use {sorted(known)}")
        return known[name]

    def policy_at(self, now_at: float) -> Policy:
        """The current policy, its windows worked out around an instant. Read anew for each decision."""
        return policy_at(current_policy(self.database).source, now_at)

    @cached_property
    def priors(self) -> tuple[Rate, ...]:
        return load_rates(self.settings.config_dir / "rates.yaml")

    def wait_micro_per_hour(self, tenant: str) -> int:
        """What an hour of a run's waiting is worth to its tenant at priority 50; 0 for a tenant without a price."""
        return next(
            (each.wait_micro_per_hour for each in load_tenants(self.settings.tenants_file) if each.name == tenant), 0
        )

    def snapshot(self, datasets: tuple[tuple[str, str], ...] | None = None, run_id: str = "") -> Snapshot:
        """The world now, with these datasets' versions (all accepted ones when ``None``), as a run sees it."""

        def health(names: tuple[str, ...], now_at: float) -> tuple[SiteHealth, ...]:
            return with_revoked(site_health(names, now_at), self.revoked)

        return take_snapshot(
            self.database, self.sites, self.policy_at, self.priors, health, self.clock, datasets, run_id
        )


CONTROL_BLOCK = "HEADRACE_CONTROL_BLOCK"
"""Names the ``ControlPlane`` block that a control worker on another machine than the server's is set up by."""


@lru_cache(maxsize=1)
def control_plane() -> ControlPlane:
    """The control plane of this process: from the block that its environment names, else from the environment itself."""
    name = os.environ.get(CONTROL_BLOCK)
    if not name:
        return ControlPlane(Settings.from_env())
    from blocks.control_plane import ControlPlane as Block

    block = Block.load(name, _sync=True)
    return ControlPlane(block.get_settings(), block)

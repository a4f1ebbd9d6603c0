"""What must be true before anything is started: a readable configuration, keys, the database, the tenants' budgets.

Everything here may be done again at any time and changes nothing that is there: keys are never replaced, a budget is
never lowered. A wrong configuration is found before the first process exists.
"""

from __future__ import annotations

import os
from pathlib import Path

from infra.adapters.current_policy import seed_policy
from infra.adapters.signing_keys import create_key_pair
from infra.adapters.sql import migrate, open_database
from infra.core.errors import InputError, UnavailableError
from infra.core.inventory import Site
from infra.core.units import period_of
from infra.documents.policy_check import require_sound
from infra.documents.rates import load_rates
from infra.documents.sites import load_sites
from infra.documents.tenants import TenantBudget, load_tenants
from infra.platform.components import runs_see_whole_store
from infra.ports import Ledger
from infra.processes import write_private
from infra.settings import Settings


def prepare(settings: Settings, now_at: float) -> tuple[Site, ...]:
    """Check the configuration and make the home ready for its components.

    Raises:
        InputError: Something in the configuration is wrong; nothing was made.
        UnavailableError: ``HOME_NOT_WRITABLE``, or the database does not answer.
    """
    sites, tenants = check_configuration(settings)
    make_directories(settings, sites)
    make_keys(settings, sites)
    migrate(settings.database_url)
    database = open_database(settings.database_url)
    try:
        seed_budgets(database.ledger, tenants, now_at)
        seed_policy(database, settings.policy_file, now_at)
    finally:
        database.close()
    return sites


def check_configuration(settings: Settings) -> tuple[tuple[Site, ...], tuple[TenantBudget, ...]]:
    """Read every configuration file that the components will read.

    Raises:
        InputError: With the file and the field, or ``UNKNOWN_SITE`` for a control site that no file describes.
    """
    sites = load_sites(settings.sites_dir)
    tenants = load_tenants(settings.tenants_file)
    require_sound(settings.policy_file)
    load_rates(settings.config_dir / "rates.yaml")
    names = [site.name for site in sites]
    if settings.control_site not in names:
        raise InputError(
            "UNKNOWN_SITE", repr(settings.control_site), "HEADRACE_CONTROL_SITE", f"use one of {', '.join(names)}"
        )
    for site in sites:
        for pool in site.pools:
            if pool.name != site.name:
                raise InputError(
                    "POOL_NOT_SITE",
                    f"pool {pool.name!r} of site {site.name!r}",
                    f"{settings.sites_dir / site.name}.yaml: pools",
                    "the embedded platform runs one pool per site, with the site's name",
                )
            for index, setting in enumerate(pool.warm):
                if setting.tenant not in {tenant.name for tenant in tenants}:
                    raise InputError(
                        "UNKNOWN_TENANT",
                        f"{setting.tenant!r} is no tenant",
                        f"{settings.sites_dir / site.name}.yaml: pools.warm[{index}].tenant",
                        f"use one of {', '.join(tenant.name for tenant in tenants)}",
                    )
    runs_see_whole_store(settings)
    return sites, tenants


def make_directories(settings: Settings, sites: tuple[Site, ...]) -> None:
    """Create the home's directories, open to their owner alone.

    Raises:
        UnavailableError: ``HOME_NOT_WRITABLE``.
    """
    own = [settings.home, settings.logs_dir, settings.run_dir, settings.prefect_dir, settings.trust_dir]
    own.append(settings.permit_key_file.parent)
    for site in sites:
        told = settings.site_settings(site.name)
        own += [told.directory, told.permits_dir, told.leases_dir, told.clusters_dir, told.directory / "prefect"]
    if settings.store_url.startswith("file://"):
        own.append(Path(settings.store_url.removeprefix("file://")))
    try:
        for directory in own:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(settings.home, 0o700)
    except OSError as error:
        raise home_not_writable(settings, error) from error


def home_not_writable(settings: Settings, error: OSError) -> UnavailableError:
    remedy = "name another directory in HEADRACE_HOME, or free some space"
    return UnavailableError("HOME_NOT_WRITABLE", error.strerror or str(error), str(settings.home), remedy)


def make_keys(settings: Settings, sites: tuple[Site, ...]) -> None:
    """A permit key for the control plane, a report key for each site, and to each the other's public key.

    Raises:
        InputError: ``KEY_UNREADABLE`` or ``KEY_TOO_OPEN`` for a key file that is there; it is never replaced.
    """
    create_key_pair(settings.permit_key_file, settings.permit_public_key_file)
    for site in sites:
        told = settings.site_settings(site.name)
        create_key_pair(told.key_file, settings.site_public_key_file(site.name))
        write_private(told.permit_public_key_file, settings.permit_public_key_file.read_bytes())


def seed_budgets(ledger: Ledger, tenants: tuple[TenantBudget, ...], now_at: float) -> None:
    """Open the tenants' accounts of the current month. A limit that was raised by hand stays."""
    period = period_of(now_at)
    for tenant in tenants:
        balance = ledger.balance(tenant.name, period)
        if balance is None or balance.limit_micro < tenant.monthly_limit_micro:
            ledger.set_limit(tenant.name, period, tenant.monthly_limit_micro, now_at)

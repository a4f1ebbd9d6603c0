"""Where things are: the paths and addresses of one Headrace home, from the environment.

Two views, because two kinds of process exist. ``Settings`` belongs to the control plane: it knows the database, the
permit signing key and everybody's public keys. ``SiteSettings`` belongs to a site's worker: it knows that site's own
directory and key, the permit *public* key, the object store and the Prefect API, and nothing else.

Environment: ``HEADRACE_HOME`` (default ``./.headrace``), ``HEADRACE_DATABASE_URL``, ``HEADRACE_STORE_URL``,
``HEADRACE_CONTROL_SITE``, ``HEADRACE_CONFIG`` (``sites/``, ``policies/``, ``tenants.yaml``),
``HEADRACE_CONTRACTS_DIR``, ``HEADRACE_PERMIT_KEY_FILE``, ``HEADRACE_TRUST_DIR``; for a site ``HEADRACE_SITE``,
``HEADRACE_SITE_DIR``, ``HEADRACE_SITE_KEY_FILE``, ``HEADRACE_PERMIT_PUBLIC_KEY_FILE``, ``HEADRACE_STORE_ROLE_ARN``,
``HEADRACE_STORE_ROLE_MAX_S``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.core.errors import InputError

PACKAGE_DIR = Path(__file__).resolve().parent
REPOSITORY_DIR = PACKAGE_DIR.parent
DEFAULT_CONTROL_SITE = "onprem-fra"
CONTROL_POOL = "control"
CLOUD_PREFIX = "HEADRACE_CLOUD_"
"""Before a cloud's own variables: the account in which machines are started, which no process that runs flows is given."""

DEFAULT_ROLE_MAX_S = 3600
"""What AWS gives a new role, and the most that a role may have that is assumed by another role."""


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """What a site's worker is told.

    Attributes:
        site: The site's name, which is also the name of its pool.
        directory: The site's state on this machine (claimed permits, leases, clusters).
        key_file: The site's private key, PEM, with which it signs reports.
        permit_public_key_file: The control plane's public key, PEM; permits are verified with it.
        store_url: Root of the object store.
        config_dir: Holds ``sites/<site>.yaml``.
        store_role_arn: The role whose temporary credentials runs get for an S3 store; empty for the worker's own.
        store_role_max_s: How long the role's credentials may live.
    """

    site: str
    directory: Path
    key_file: Path
    permit_public_key_file: Path
    store_url: str
    config_dir: Path
    store_role_arn: str = ""
    store_role_max_s: int = DEFAULT_ROLE_MAX_S

    @property
    def site_file(self) -> Path:
        return self.config_dir / "sites" / f"{self.site}.yaml"

    @property
    def permits_dir(self) -> Path:
        """One file per permit id that was used here."""
        return self.directory / "permits"

    @property
    def leases_dir(self) -> Path:
        """One file per lease whose cluster may exist."""
        return self.directory / "leases"

    @property
    def clusters_dir(self) -> Path:
        """TLS material and process records of clusters, one directory each."""
        return self.directory / "clusters"

    def environment(self) -> dict[str, str]:
        """The variables from which :meth:`from_env` makes these settings again."""
        role = {
            "HEADRACE_STORE_ROLE_ARN": self.store_role_arn,
            "HEADRACE_STORE_ROLE_MAX_S": str(self.store_role_max_s),
        }
        return {
            "HEADRACE_SITE": self.site,
            "HEADRACE_SITE_DIR": str(self.directory),
            "HEADRACE_SITE_KEY_FILE": str(self.key_file),
            "HEADRACE_PERMIT_PUBLIC_KEY_FILE": str(self.permit_public_key_file),
            "HEADRACE_STORE_URL": self.store_url,
            "HEADRACE_CONFIG": str(self.config_dir),
            **(role if self.store_role_arn else {}),
        }

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> SiteSettings:
        """Read a site worker's environment.

        Raises:
            InputError: ``SETTING_MISSING`` when a variable that a site needs is not set; ``BAD_NUMBER``.
        """

        def need(name: str) -> str:
            if not environ.get(name):
                raise InputError("SETTING_MISSING", "not set", name, "start site workers through `headrace up`")
            return environ[name]

        longest = environ.get("HEADRACE_STORE_ROLE_MAX_S") or str(DEFAULT_ROLE_MAX_S)
        if not longest.isascii() or not longest.isdigit():
            raise InputError("BAD_NUMBER", f"{longest!r}"[:80], "HEADRACE_STORE_ROLE_MAX_S", "give whole seconds")
        return cls(
            site=need("HEADRACE_SITE"),
            directory=Path(need("HEADRACE_SITE_DIR")).absolute(),
            key_file=Path(need("HEADRACE_SITE_KEY_FILE")).absolute(),
            permit_public_key_file=Path(need("HEADRACE_PERMIT_PUBLIC_KEY_FILE")).absolute(),
            store_url=need("HEADRACE_STORE_URL"),
            config_dir=Path(environ.get("HEADRACE_CONFIG") or PACKAGE_DIR).absolute(),
            store_role_arn=environ.get("HEADRACE_STORE_ROLE_ARN") or "",
            store_role_max_s=int(longest),
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """The control plane's view of one home.

    Attributes:
        home: Everything that the embedded platform keeps; directories 0700, secrets 0600.
        config_dir: Holds ``sites/``, ``policies/`` and ``tenants.yaml``.
        contracts_dir: Holds a folder per dataset with its contract and expectations.
        control_site: The site that the control plane stands at; contract checks read data there.
        permit_key_file: Private key that signs permits.
        trust_dir: Sites' public keys, ``<site>.pem``; reports are verified with them.
    """

    home: Path
    database_url: str
    store_url: str
    control_site: str
    config_dir: Path
    contracts_dir: Path
    permit_key_file: Path
    trust_dir: Path

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the environment; every value has a default below ``HEADRACE_HOME``."""
        home = Path(environ.get("HEADRACE_HOME") or ".headrace").absolute()
        return cls(
            home=home,
            database_url=environ.get("HEADRACE_DATABASE_URL") or f"sqlite:///{home / 'headrace.db'}",
            store_url=environ.get("HEADRACE_STORE_URL") or f"file://{home / 'store'}",
            control_site=environ.get("HEADRACE_CONTROL_SITE") or DEFAULT_CONTROL_SITE,
            config_dir=Path(environ.get("HEADRACE_CONFIG") or PACKAGE_DIR).absolute(),
            contracts_dir=Path(environ.get("HEADRACE_CONTRACTS_DIR") or REPOSITORY_DIR / "data_contracts").absolute(),
            permit_key_file=Path(environ.get("HEADRACE_PERMIT_KEY_FILE") or home / "keys" / "permit.pem").absolute(),
            trust_dir=Path(environ.get("HEADRACE_TRUST_DIR") or home / "keys" / "sites").absolute(),
        )

    @property
    def sites_dir(self) -> Path:
        """Site files, one YAML each."""
        return self.config_dir / "sites"

    @property
    def policies_dir(self) -> Path:
        return self.config_dir / "policies"

    @property
    def policy_file(self) -> Path:
        """The policy that is applied at the first start."""
        return self.policies_dir / "default.cedar"

    @property
    def tenants_file(self) -> Path:
        return self.config_dir / "tenants.yaml"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def run_dir(self) -> Path:
        """What is true only while the platform is up: supervisor's record, component states, lock files."""
        return self.home / "run"

    @property
    def prefect_dir(self) -> Path:
        """``PREFECT_HOME`` of the embedded server and of its clients."""
        return self.home / "prefect"

    @property
    def demo_dir(self) -> Path:
        return self.home / "demo"

    @property
    def permit_public_key_file(self) -> Path:
        return self.permit_key_file.with_name(f"{self.permit_key_file.stem}.pub.pem")

    def site_dir(self, site: str) -> Path:
        """A site's state when the site runs on this machine."""
        return self.home / "sites" / site

    def site_settings(self, site: str) -> SiteSettings:
        """What a worker of this site on this machine is told."""
        directory = self.site_dir(site)
        return SiteSettings(
            site=site,
            directory=directory,
            key_file=directory / "key.pem",
            permit_public_key_file=directory / "permit.pub.pem",
            store_url=self.store_url,
            config_dir=self.config_dir,
        )

    def site_public_key_file(self, site: str) -> Path:
        """Where the control plane keeps this site's public key."""
        return self.trust_dir / f"{site}.pem"

    def environment(self) -> dict[str, str]:
        """The control plane's variables, from which :meth:`from_env` makes these settings again."""
        return {
            "HEADRACE_HOME": str(self.home),
            "HEADRACE_DATABASE_URL": self.database_url,
            "HEADRACE_STORE_URL": self.store_url,
            "HEADRACE_CONTROL_SITE": self.control_site,
            "HEADRACE_CONFIG": str(self.config_dir),
            "HEADRACE_CONTRACTS_DIR": str(self.contracts_dir),
            "HEADRACE_PERMIT_KEY_FILE": str(self.permit_key_file),
            "HEADRACE_TRUST_DIR": str(self.trust_dir),
        }

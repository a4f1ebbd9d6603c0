"""How the control plane is reached by the processes that belong to it."""

from __future__ import annotations

from pathlib import Path

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.object_store import ObjectStore
from blocks.signing_key import SigningKey
from infra.settings import Settings


class ControlPlane(Block):
    """The control plane's database, store, signing key and site. Sites never get this block."""

    _block_type_name = "Headrace Control Plane"
    _block_type_slug = "headrace-control-plane"
    _description = "Database, object store, signing key and home site of the control plane. Never given to a site."

    database_url: SecretStr = Field(
        title="Database URL",
        description="sqlite:////path/to/headrace.db or postgresql+psycopg://user:password@host/name.",
    )
    store: ObjectStore = Field(title="Object store", description="The store that it shares with the sites.")
    signing_key: SigningKey = Field(title="Signing key", description="The key that signs permits.")
    control_site: str = Field(title="Control site", description="The site it stands at; contracts are checked there.")
    home: str = Field(title="Home", description="Directory of the platform's state on the control plane's machine.")

    def get_settings(self) -> Settings:
        """The settings that a process of the control plane works with."""
        environ = {
            "HEADRACE_HOME": self.home,
            "HEADRACE_DATABASE_URL": self.database_url.get_secret_value(),
            "HEADRACE_STORE_URL": self.store.url,
            "HEADRACE_CONTROL_SITE": self.control_site,
        }
        if self.signing_key.private_key_file:
            environ["HEADRACE_PERMIT_KEY_FILE"] = str(Path(self.signing_key.private_key_file))
        return Settings.from_env(environ)

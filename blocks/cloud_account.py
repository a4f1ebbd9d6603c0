"""Access to a cloud in which a site's pool may start machines: who may, and nothing of what or where.

What is started and where stands in the site's file, once; here are the credentials, by provider.
"""

from __future__ import annotations

from typing import Literal, Self

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, model_validator

from infra.settings import CLOUD_PREFIX

_VARIABLES: dict[str, dict[str, str]] = {
    "local": {},
    "aws": {
        "access_key": "AWS_ACCESS_KEY_ID",
        "secret": "AWS_SECRET_ACCESS_KEY",
    },
    "gcp": {"credentials_file": "GOOGLE_APPLICATION_CREDENTIALS"},
    "azure": {
        "tenant_id": "AZURE_TENANT_ID",
        "client_id": "AZURE_CLIENT_ID",
        "client_secret": "AZURE_CLIENT_SECRET",
    },
    "openstack": {
        "application_credential_id": "OS_APPLICATION_CREDENTIAL_ID",
        "application_credential_secret": "OS_APPLICATION_CREDENTIAL_SECRET",
    },
    "slurm": {"slurm_conf": "SLURM_CONF"},
}
"""The fields of each provider, and the variable by which its own client knows them."""

PROVIDER_OF_CLUSTER: dict[str, Literal["local", "aws", "gcp", "azure", "openstack", "slurm"]] = {
    "local": "local",
    "ec2": "aws",
    "gcp": "gcp",
    "azure": "azure",
    "openstack": "openstack",
    "slurm": "slurm",
}
"""Which account a pool needs, by its kind of cluster."""


class CloudAccount(Block):
    """A cloud account. Fields of other providers stay empty; all may, where the worker finds its account by itself."""

    _block_type_name = "Headrace Cloud Account"
    _block_type_slug = "headrace-cloud-account"
    _description = (
        "Credentials for the cloud in which a site starts machines or jobs. What is started, and where, is in the site's "
        "file. Every client of an open-source Prefect API can read a block's secrets: rather leave them empty and give "
        "them to the site's worker."
    )

    provider: Literal["local", "aws", "gcp", "azure", "openstack", "slurm"] = Field(
        default="local",
        title="Provider",
        description="local: machines are processes here (simulated). aws: EC2. slurm: an on-prem queue.",
    )
    site: str = Field(title="Site", description="The site whose pool this account belongs to.")
    access_key: str | None = Field(
        default=None, title="AWS: access key", description="Of a user with the least rights."
    )
    secret: SecretStr | None = Field(default=None, title="AWS: secret key", description="Secret of the access key.")
    credentials_file: str | None = Field(
        default=None,
        title="GCP: credentials file",
        description="Path of a service account's key on the site's machine.",
    )
    tenant_id: str | None = Field(default=None, title="Azure: tenant", description="Id of the tenant.")
    client_id: str | None = Field(default=None, title="Azure: client", description="Id of the application.")
    client_secret: SecretStr | None = Field(
        default=None, title="Azure: client's secret", description="Secret of the application."
    )
    application_credential_id: str | None = Field(
        default=None, title="OpenStack: application credential", description="Its id."
    )
    application_credential_secret: SecretStr | None = Field(
        default=None, title="OpenStack: its secret", description="Secret of the application credential."
    )
    slurm_conf: str | None = Field(
        default=None,
        title="Slurm: configuration",
        description="Path of slurm.conf, where it is not at its usual place.",
    )

    @model_validator(mode="after")
    def _of_one_provider(self) -> Self:
        mine = _VARIABLES[self.provider]
        others = {name for fields in _VARIABLES.values() for name in fields} - set(mine)
        strange = sorted(name for name in others if getattr(self, name))
        if strange:
            raise ValueError(f"{', '.join(strange)}: not of provider {self.provider}; leave empty")
        given = [name for name in mine if getattr(self, name)]
        if given and len(given) < len(mine):
            missing = [name for name in mine if name not in given]
            raise ValueError(f"{', '.join(missing)}: missing beside {', '.join(given)}")
        return self

    @property
    def simulated(self) -> bool:
        """Whether its machines are processes on this computer."""
        return self.provider == "local"

    def get_environment(self) -> dict[str, str]:
        """Variables for the site's worker, by which it starts machines with this account; runs do not get them."""
        found: dict[str, str] = {}
        for name, variable in _VARIABLES[self.provider].items():
            value = getattr(self, name)
            if value:
                found[f"{CLOUD_PREFIX}{variable}"] = value.get_secret_value() if isinstance(value, SecretStr) else value
        return found

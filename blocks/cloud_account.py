"""Access to a cloud in which a site's pool may start machines."""

from __future__ import annotations

from typing import Literal

from prefect.blocks.core import Block
from pydantic import Field, SecretStr


class CloudAccount(Block):
    """A cloud account. The provider ``local`` is the built-in simulated cloud and needs no credentials."""

    _block_type_name = "Headrace Cloud Account"
    _block_type_slug = "headrace-cloud-account"
    _description = "Access to the cloud in which a site starts machines. `local` is the built-in simulated cloud."

    provider: Literal["local", "aws"] = Field(
        default="local", title="Provider", description="local: machines are processes here (simulated). aws: EC2."
    )
    site: str = Field(title="Site", description="The site whose pool this account belongs to.")
    region: str | None = Field(default=None, title="Region", description="For example eu-central-1.")
    account_id: str | None = Field(default=None, title="Account", description="Account or project number.")
    access_key: str | None = Field(default=None, title="Access key", description="Empty for the simulated cloud.")
    secret: SecretStr | None = Field(default=None, title="Secret key", description="Secret of the access key.")
    security_group: str | None = Field(
        default=None,
        title="Security group",
        description="Always name one for aws: without it dask-cloudprovider opens the scheduler to the internet.",
    )
    subnet: str | None = Field(default=None, title="Subnet", description="Subnet that the machines are started in.")
    image: str | None = Field(default=None, title="Machine image", description="Image with this software installed.")

    @property
    def simulated(self) -> bool:
        """Whether its machines are processes on this computer."""
        return self.provider == "local"

    def get_environment(self) -> dict[str, str]:
        """Variables with which the provider's own client finds the account; empty for the simulated cloud."""
        values = {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret.get_secret_value() if self.secret else None,
            "AWS_DEFAULT_REGION": self.region,
        }
        return {} if self.simulated else {name: value for name, value in values.items() if value}

    def get_cluster_arguments(self) -> dict[str, str]:
        """Keyword arguments for the provider's cluster class; empty for the simulated cloud."""
        values = {
            "region": self.region,
            "security_groups": self.security_group,
            "subnet_id": self.subnet,
            "ami": self.image,
        }
        return {} if self.simulated else {name: value for name, value in values.items() if value}

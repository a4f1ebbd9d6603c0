"""Where data, results and reports lie."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator


class ObjectStore(Block):
    """The object store that the control plane and the sites share: a directory, or a bucket behind an S3 address."""

    _block_type_name = "Headrace Object Store"
    _block_type_slug = "headrace-object-store"
    _description = "Where datasets, results, checkpoints and signed reports lie: a local directory or an S3 bucket."

    url: str = Field(
        title="URL",
        description="file:///directory or s3://bucket/prefix.",
        examples=["file:///var/lib/headrace/store", "s3://headrace/store"],
    )
    endpoint: str | None = Field(
        default=None, title="S3 endpoint", description="Address of an S3 server other than AWS, with its scheme."
    )
    region: str | None = Field(default=None, title="Region", description="Region of the bucket.")
    access_key: str | None = Field(
        default=None, title="Access key", description="Empty: the machine's own credentials are used."
    )
    secret: SecretStr | None = Field(default=None, title="Secret key", description="Secret of the access key.")
    token: SecretStr | None = Field(default=None, title="Session token", description="Only for temporary credentials.")

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        if not value.startswith(("file:///", "s3://")):
            raise ValueError("write file:///directory or s3://bucket/prefix")
        return value

    def get_arguments(self) -> dict[str, str]:
        """Keyword arguments for :func:`infra.adapters.objects.open_store`; those that are not set are left out."""
        values = {
            "url": self.url,
            "key": self.access_key,
            "secret": self.secret.get_secret_value() if self.secret else None,
            "token": self.token.get_secret_value() if self.token else None,
            "endpoint": self.endpoint,
            "region": self.region,
        }
        return {name: value for name, value in values.items() if value}

    def get_environment(self) -> dict[str, str]:
        """The same for a process that is started with it: the store's URL and AWS's own variables."""
        arguments = self.get_arguments()
        names = {
            "url": "HEADRACE_STORE_URL",
            "key": "AWS_ACCESS_KEY_ID",
            "secret": "AWS_SECRET_ACCESS_KEY",
            "token": "AWS_SESSION_TOKEN",
            "endpoint": "AWS_ENDPOINT_URL",
            "region": "AWS_DEFAULT_REGION",
        }
        return {names[name]: value for name, value in arguments.items()}

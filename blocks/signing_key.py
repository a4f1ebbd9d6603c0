"""The key that signs permits, or a site's that signs reports."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, model_validator

from infra.core.errors import InputError


class SigningKey(Block):
    """An Ed25519 key. Prefer the file: whoever may call this Prefect API may read what is stored here."""

    _block_type_name = "Headrace Signing Key"
    _block_type_slug = "headrace-signing-key"
    _description = (
        "An Ed25519 key that signs permits or site reports. Refer to its file: every client of an open-source Prefect "
        "API can read the secrets of blocks."
    )

    key_id: str = Field(title="Key id", description="Name of the key, for people and for rotation.")
    private_key_file: str | None = Field(
        default=None,
        title="Private key file",
        description="Path of a PEM file, mode 0600, on the machine that signs. This is what `headrace up` sets.",
    )
    private_key_pem: SecretStr | None = Field(
        default=None,
        title="Private key (PEM)",
        description="The key itself, for a machine without files of its own. Readable by every client of this API.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.private_key_file is None) == (self.private_key_pem is None):
            raise ValueError("give the private key's file or the key itself, one of the two")
        return self

    def get_private_key_pem(self) -> bytes:
        """The private key as PEM.

        Raises:
            InputError: ``KEY_UNREADABLE``, or ``KEY_TOO_OPEN`` when others than its owner can read the file.
        """
        if self.private_key_pem is not None:
            return self.private_key_pem.get_secret_value().encode()
        path = Path(str(self.private_key_file))
        try:
            pem, mode = path.read_bytes(), os.stat(path).st_mode
        except OSError as error:
            raise InputError(
                "KEY_UNREADABLE", error.strerror or str(error), str(path), "`headrace up` makes the keys"
            ) from error
        if mode & 0o077:
            raise InputError("KEY_TOO_OPEN", "others can read this private key", str(path), f"run: chmod 600 {path}")
        return pem

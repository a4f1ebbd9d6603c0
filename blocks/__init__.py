"""Prefect blocks: addresses and credentials that a person edits in the UI.

A block's secret fields are encrypted in Prefect's database and masked in the UI, but every client of an open-source
Prefect API may ask for them. So the permit signing key is referred to by its file, and never put into a block by
`headrace up`.
"""

from __future__ import annotations

from blocks.cloud_account import CloudAccount
from blocks.control_plane import ControlPlane
from blocks.object_store import ObjectStore
from blocks.signing_key import SigningKey

__all__ = ["CloudAccount", "ControlPlane", "ObjectStore", "SigningKey"]

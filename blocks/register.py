"""Registers the block types with a Prefect server and fills in the documents that are missing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prefect.blocks.core import Block
from pydantic import SecretStr
from pydantic_core import Url

from blocks import CloudAccount, ControlPlane, ObjectStore, SigningKey
from blocks.cloud_account import PROVIDER_OF_CLUSTER
from infra.core.inventory import Site
from infra.settings import Settings

BLOCK_TYPES: tuple[type[Block], ...] = (ObjectStore, SigningKey, CloudAccount, ControlPlane)
DEFAULT_NAME = "default"
SERVED_DIR = Path(__file__).with_name("served")
"""Logos and a page of help, which `headrace up` has the Prefect server serve beside its UI."""


def register_types(served_root: str | None = None) -> None:
    """Make the block types known to the server.

    Args:
        served_root: Address below which :data:`SERVED_DIR` is served; Prefect takes no logo from a ``data:`` address.
    """
    for block_type in BLOCK_TYPES:
        if served_root is not None:
            block_type._logo_url = Url(f"{served_root}/{block_type._block_type_slug}.svg")
            block_type._documentation_url = Url(f"{served_root}/help.html#{block_type._block_type_slug}")
        block_type.register_type_and_schema(_sync=True)


def save_missing(settings: Settings, sites: Iterable[Site]) -> list[str]:
    """Save a document for this home where there is none; what a person edited stays.

    Returns:
        Names of the documents that were made, as ``type/name``.
    """
    made: list[str] = []
    store = _ensure(ObjectStore(url=settings.store_url), DEFAULT_NAME, made)
    key = _ensure(SigningKey(key_id="permit", private_key_file=str(settings.permit_key_file)), DEFAULT_NAME, made)
    control = ControlPlane(
        database_url=SecretStr(settings.database_url),
        store=store,
        signing_key=key,
        control_site=settings.control_site,
        home=str(settings.home),
    )
    _ensure(control, DEFAULT_NAME, made)
    for site in sites:
        # A site's own pool comes first; of several kinds of cluster only one account can have the site's name.
        for pool in sorted(site.pools, key=lambda pool: pool.name != site.name):
            provider = PROVIDER_OF_CLUSTER.get(pool.cluster.value)
            if provider is not None:
                _ensure(CloudAccount(provider=provider, site=site.name), site.name, made)
                break
    return made


def _ensure(block: Block, name: str, made: list[str]) -> Block:
    """The saved document of this name, or this one after saving it."""
    kind = type(block)
    try:
        return kind.load(name, _sync=True)
    except ValueError:
        block.save(name, _sync=True)
        made.append(f"{kind._block_type_slug}/{name}")
        return block

"""The control plane from its environment, or from the block that its environment names."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

import infra.wiring
from blocks.control_plane import ControlPlane as Block
from blocks.object_store import ObjectStore
from blocks.signing_key import SigningKey
from infra.adapters.signing_keys import create_key_pair, load_private_key
from infra.core.errors import InputError


@pytest.fixture
def block(tmp_path, monkeypatch):
    """A block as a person fills it in, and an environment that names it."""
    private, public = tmp_path / "elsewhere.pem", tmp_path / "elsewhere.pub.pem"
    create_key_pair(private, public)
    made = Block(
        database_url=SecretStr(f"sqlite:///{tmp_path / 'elsewhere.db'}"),
        store=ObjectStore(url=f"file://{tmp_path / 'elsewhere'}"),
        signing_key=SigningKey(key_id="k1", private_key_pem=SecretStr(private.read_text())),
        control_site="onprem-fra",
        home=str(tmp_path / "home"),
    )
    monkeypatch.setenv(infra.wiring.CONTROL_BLOCK, "elsewhere")
    monkeypatch.setattr(Block, "load", classmethod(lambda cls, name, **_: {"elsewhere": made}[name]))
    infra.wiring.control_plane.cache_clear()
    yield private
    infra.wiring.control_plane.cache_clear()


def test_a_named_block_sets_up_the_control_plane(block, tmp_path):
    control = infra.wiring.control_plane()
    assert control.settings.database_url == f"sqlite:///{tmp_path / 'elsewhere.db'}"
    control.store.put("x", b"1")
    assert (tmp_path / "elsewhere" / "x").read_bytes() == b"1"
    public = control.signer.verifier()._key.public_bytes_raw()
    assert public == load_private_key(block).public_key().public_bytes_raw()


def test_without_a_block_the_environment_counts(tmp_path, monkeypatch):
    monkeypatch.delenv(infra.wiring.CONTROL_BLOCK, raising=False)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    infra.wiring.control_plane.cache_clear()
    control = infra.wiring.control_plane()
    infra.wiring.control_plane.cache_clear()
    assert control.settings.home == tmp_path
    assert {site.name for site in control.sites} == {"onprem-fra", "cloud-eu-central", "cloud-us-east"}
    with pytest.raises(InputError) as refused:
        control.site("mars")
    assert refused.value.code == "UNKNOWN_SITE"
    assert "onprem-fra" in refused.value.remedy

"""The cloud account block: each provider's credentials, and nothing that a site's file says."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from blocks.cloud_account import _VARIABLES, PROVIDER_OF_CLUSTER, CloudAccount
from infra.adapters.cloud.accounts import account_environment
from infra.adapters.cloud.slurm_queue import slurm_environment
from infra.core.catalogue import Provider
from infra.core.cluster_settings import AzureSettings, Ec2Settings, GcpSettings, OpenStackSettings, SlurmSettings
from infra.core.inventory import Cluster

COMPLETE: dict[str, dict[str, Any]] = {
    "local": {},
    "aws": {"access_key": "A", "secret": "S"},
    "gcp": {"credentials_file": "/etc/key.json"},
    "azure": {"tenant_id": "T", "client_id": "C", "client_secret": "S"},
    "openstack": {"application_credential_id": "I", "application_credential_secret": "S"},
    "slurm": {"slurm_conf": "/etc/slurm.conf"},
}


@pytest.mark.parametrize("provider", COMPLETE)
def test_an_account_says_who_may_and_may_say_nothing(provider: str) -> None:
    full = CloudAccount(provider=provider, site="s", **COMPLETE[provider])
    assert len(full.get_environment()) == len(COMPLETE[provider])
    assert all(name.startswith("HEADRACE_CLOUD_") for name in full.get_environment())
    assert CloudAccount(provider=provider, site="s").get_environment() == {}
    assert full.simulated is (provider == "local")
    assert "'S'" not in repr(full), "secrets are masked"


@pytest.mark.parametrize(
    ("provider", "given", "told"),
    [
        ("local", {"access_key": "A"}, "access_key: not of provider local"),
        ("aws", {"access_key": "A"}, "secret: missing beside access_key"),
        ("aws", {**COMPLETE["aws"], "tenant_id": "T"}, "tenant_id: not of provider aws"),
        ("azure", {"tenant_id": "T", "client_id": "C"}, "client_secret: missing beside"),
        ("openstack", {"application_credential_secret": "S"}, "application_credential_id: missing beside"),
        ("gcp", COMPLETE["slurm"], "slurm_conf: not of provider gcp"),
        ("ibm", {}, "provider"),
    ],
)
def test_bad_accounts(provider: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        CloudAccount(provider=provider, site="s", **given)


def test_providers_read_what_accounts_say() -> None:
    def environment(provider: str) -> dict[str, str]:
        return CloudAccount(provider=provider, site="s", **COMPLETE[provider]).get_environment()

    assert account_environment(Cluster.EC2, environment("aws")) == {
        "AWS_ACCESS_KEY_ID": "A",
        "AWS_SECRET_ACCESS_KEY": "S",
    }
    for cluster in (Cluster.GCP, Cluster.AZURE, Cluster.OPENSTACK):
        read = account_environment(cluster, environment(PROVIDER_OF_CLUSTER[cluster.value]))
        assert sorted(read.values()) == sorted(COMPLETE[cluster.value].values())
    assert slurm_environment(environment("slurm")) == {"SLURM_CONF": "/etc/slurm.conf"}


def test_no_field_says_what_a_site_s_file_says() -> None:
    kinds = (Ec2Settings, SlurmSettings, GcpSettings, AzureSettings, OpenStackSettings)
    said = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    assert not said & {name for fields in _VARIABLES.values() for name in fields}
    assert set(PROVIDER_OF_CLUSTER) == {cluster.value for cluster in Cluster} - {"attached"}
    assert set(Provider) <= set(PROVIDER_OF_CLUSTER.values()) == set(_VARIABLES)

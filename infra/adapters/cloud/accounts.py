"""The variables that open a cloud's account."""

from __future__ import annotations

from collections.abc import Mapping

from infra.core.inventory import Cluster
from infra.settings import CLOUD_PREFIX

VARIABLES = {
    Cluster.EC2: ("AWS_",),
    Cluster.GCP: ("GOOGLE_",),
    Cluster.AZURE: ("AZURE_",),
    Cluster.OPENSTACK: ("OS_",),
}
"""How the variables begin that open each provider's account."""


def account_environment(kind: Cluster, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that open the account, and instead of them ``HEADRACE_CLOUD_…`` where given.

    With the latter a site's account for machines is another one than that of its object store, which runs may use.
    """
    found = {name: value for name, value in environ.items() if name.startswith(VARIABLES[kind])}
    own = {
        name.removeprefix(CLOUD_PREFIX): value
        for name, value in environ.items()
        if name.startswith(tuple(f"{CLOUD_PREFIX}{prefix}" for prefix in VARIABLES[kind]))
    }
    if "AWS_ACCESS_KEY_ID" in own:
        found.pop("AWS_SESSION_TOKEN", None)  # it belongs to the other key
    return found | own

"""The files that people write and the records that Headrace keeps, turned into core values and back.

Files for people (sites, requests, policies, tenants, rates) are YAML or JSON in human units and go through pydantic
models. Records (request, snapshot, decision) are canonical JSON of the core dataclasses and read back to equal values
and equal bytes. Whatever is wrong with either becomes an :class:`~infra.core.errors.InputError` that names the file
and the field.
"""

from infra.documents.policy import load_policy
from infra.documents.rates import load_rates
from infra.documents.records import decision_from_json, policy_from_json, request_from_json, snapshot_from_json
from infra.documents.request import load_request, only_version, with_versions
from infra.documents.sites import load_site, load_sites
from infra.documents.snapshot import load_snapshot
from infra.documents.tenants import TenantBudget, load_tenants

__all__ = [
    "TenantBudget",
    "decision_from_json",
    "load_policy",
    "load_rates",
    "load_request",
    "load_site",
    "load_sites",
    "load_snapshot",
    "load_tenants",
    "only_version",
    "policy_from_json",
    "request_from_json",
    "snapshot_from_json",
    "with_versions",
]

"""The tenants file: who may spend how much in a calendar month (UTC)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from infra.core.errors import InputError
from infra.core.units import micro_from_usd
from infra.documents.fields import Document, Name, Text, Usd
from infra.documents.files import config_path, display, read_tree
from infra.documents.problems import join, validated


class TenantDocument(Document):
    """One tenant."""

    name: Name = Field(description="Unique name; requests say it.")
    description: Text | None = Field(None, description="For people.")
    monthly_budget_usd: Usd = Field(description="USD that its runs may cost in a calendar month (UTC).")
    waiting_usd_per_hour: Usd = Field(
        0,
        description="What an hour of a run's waiting is worth to it at priority 50; 0: runs wait as long as they may.",
    )


class TenantsDocument(Document):
    """All tenants."""

    tenants: tuple[TenantDocument, ...] = Field(min_length=1, description="The tenants.")


@dataclass(frozen=True, slots=True)
class TenantBudget:
    """A tenant, its budget for a month and its price of an hour's wait, in micro-dollars."""

    name: str
    monthly_limit_micro: int
    wait_micro_per_hour: int = 0


def load_tenants(path: str | Path | None = None) -> tuple[TenantBudget, ...]:
    """The tenants of a file, in its order.

    Args:
        path: The configured ``tenants.yaml`` when it is not given.

    Raises:
        InputError: with the file and the dotted path of what is wrong.
    """
    path = config_path("tenants.yaml") if path is None else Path(path)
    where = display(path)
    found: dict[str, TenantBudget] = {}
    for index, tenant in enumerate(validated(TenantsDocument, read_tree(path), where).tenants):
        if tenant.name in found:
            raise InputError(
                "DUPLICATE_TENANT",
                f"{tenant.name!r} stands twice",
                join(where, f"tenants[{index}].name"),
                "name each tenant once",
            )
        found[tenant.name] = TenantBudget(
            tenant.name, micro_from_usd(tenant.monthly_budget_usd), micro_from_usd(tenant.waiting_usd_per_hour)
        )
    return tuple(found.values())

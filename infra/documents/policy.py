"""A policy's files: Cedar in ``NAME.cedar``, what it refers to by name in ``NAME.settings.yaml`` beside it.

The Cedar schema is ``headrace.cedarschema`` in the same directory, else the packaged one.
"""

from __future__ import annotations

import hashlib
import zoneinfo
from pathlib import Path
from typing import Literal

from pydantic import Field

from infra.core.errors import InputError
from infra.core.policy import TenantRules, program_of
from infra.core.policy_source import Hours, PolicySource, WindowRule
from infra.core.units import instant, micro_from_usd
from infra.documents.fields import Count, Document, Instant, MinuteOfDay, Name, Text, Usd, minute_of
from infra.documents.files import PACKAGED_CONFIG, config_path, display, read_text, read_tree
from infra.documents.policy_text import syntax_error
from infra.documents.problems import join, validated

SCHEMA_NAME = "headrace.cedarschema"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 1440


class HoursDocument(Document):
    """Hours of a window, in the time of a place."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(
        min_length=1, description="Days on which the hours begin."
    )
    from_: MinuteOfDay = Field(alias="from", description="Time at which they begin.")
    to: MinuteOfDay | Literal["24:00"] = Field(
        description="Time at which they end; on the next day when it is not after from."
    )
    zone: Text = Field(description="Time zone of both, for example Europe/Berlin.")


class WindowDocument(Document):
    """A named window; it holds whenever some of its hours do."""

    name: Name = Field(description="What the policy calls it: context.windows.contains(NAME).")
    hours: tuple[HoursDocument, ...] = Field(min_length=1, description="Its hours.")


class PolicyTenantDocument(Document):
    """What the policy knows of a tenant."""

    name: Name = Field(description="Name of the tenant.")
    groups: tuple[Name, ...] = Field((), description="Groups that it is in: principal in Group::NAME.")
    burst_run_usd: Usd | None = Field(None, description="The most that one of its runs may cost when it bursts.")
    burst_budget_percent: Count | None = Field(
        None, description="Share of its month's budget, in percent, up to which it may burst."
    )


class PolicySettingsDocument(Document):
    """What a policy refers to by name."""

    valid_until: Instant | None = Field(
        None, description="ISO 8601 instant after which the policy is stale and forbids everything."
    )
    windows: tuple[WindowDocument, ...] = Field((), description="Named windows of time.")
    tenants: tuple[PolicyTenantDocument, ...] = Field((), description="Tenants with groups or ceilings.")


def default_policy_path() -> Path:
    """The configured ``policies/default.cedar``."""
    return config_path("policies", "default.cedar")


def settings_path(policy_path: Path) -> Path:
    """``default.settings.yaml`` for ``default.cedar``."""
    return policy_path.with_name(f"{policy_path.stem}.settings.yaml")


def cedar_schema(policy_path: Path) -> str:
    """The Cedar schema that a policy's file is held against."""
    beside = policy_path.with_name(SCHEMA_NAME)
    return read_text(beside if beside.is_file() else PACKAGED_CONFIG / "policies" / SCHEMA_NAME)


def load_policy(path: str | Path | None = None) -> PolicySource:
    """The policy of a ``.cedar`` file with its settings; the settings' file may be missing.

    Args:
        path: The configured ``policies/default.cedar`` when it is not given.

    Raises:
        InputError: ``BAD_POLICY`` with the line, or with the file and the dotted path of what is wrong in the settings.
    """
    path = default_policy_path() if path is None else Path(path)
    text, where = read_text(path), display(path)
    require_cedar(text, where)
    settings = PolicySettingsDocument()
    beside = settings_path(path)
    if beside.exists():
        settings = validated(PolicySettingsDocument, read_tree(beside) or {}, display(beside))
    return PolicySource(
        text=text,
        schema_sha256=hashlib.sha256(cedar_schema(path).encode()).hexdigest(),
        windows=_windows(settings.windows, display(beside)),
        tenants=_tenants(settings.tenants, display(beside)),
        valid_until_at=None if settings.valid_until is None else instant(settings.valid_until),
    )


def require_cedar(text: str, where: str) -> None:
    """Refuse what is no Cedar, or uses an id that is built in.

    Raises:
        InputError: ``BAD_POLICY``, with the line where Cedar itself is wrong.
    """
    wrong = syntax_error(text)
    if wrong is not None:
        raise InputError("BAD_POLICY", wrong[1], f"{where}: line {wrong[0]}", "correct the Cedar; see docs/policies.md")
    try:
        program_of(text)
    except InputError as error:
        raise InputError(error.code, error.problem, where, error.remedy) from error


def _windows(documents: tuple[WindowDocument, ...], where: str) -> tuple[WindowRule, ...]:
    rules: dict[str, WindowRule] = {}
    for index, window in enumerate(documents):
        if window.name in rules:
            raise _twice(window.name, join(where, f"windows[{index}].name"))
        hours = tuple(
            _hours(each, join(where, f"windows[{index}].hours[{place}]")) for place, each in enumerate(window.hours)
        )
        rules[window.name] = WindowRule(window.name, hours)
    return tuple(rules.values())


def _hours(hours: HoursDocument, where: str) -> Hours:
    try:
        zoneinfo.ZoneInfo(hours.zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(
            "UNKNOWN_ZONE",
            f"{hours.zone!r} is no time zone",
            f"{where}.zone",
            "use a name such as Europe/Berlin or UTC",
        ) from error
    end = DAY_MINUTES if hours.to == "24:00" else minute_of(hours.to) or DAY_MINUTES
    days = tuple(sorted({DAYS.index(day) for day in hours.days}))
    return Hours(days, minute_of(hours.from_), end, hours.zone)


def _tenants(documents: tuple[PolicyTenantDocument, ...], where: str) -> tuple[TenantRules, ...]:
    rules: dict[str, TenantRules] = {}
    for index, tenant in enumerate(documents):
        if tenant.name in rules:
            raise _twice(tenant.name, join(where, f"tenants[{index}].name"))
        rules[tenant.name] = tenant_rules(tenant)
    return tuple(rules.values())


def tenant_rules(tenant: PolicyTenantDocument) -> TenantRules:
    """A tenant as the core knows it."""
    limit = None if tenant.burst_run_usd is None else micro_from_usd(tenant.burst_run_usd)
    return TenantRules(tenant.name, tuple(sorted(set(tenant.groups))), limit, tenant.burst_budget_percent)


def _twice(name: str, where: str) -> InputError:
    return InputError("DUPLICATE_ENTRY", f"{name!r} stands twice", where, "name each once")

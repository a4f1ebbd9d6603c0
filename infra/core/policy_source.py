"""What a policy is made from, as it is applied and kept: windows as days and hours, not yet as instants."""

from __future__ import annotations

from dataclasses import dataclass

from infra.core.policy import TenantRules, version_of


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours of a window in the time of a place.

    Attributes:
        days: Days on which it begins, 0 is Monday.
        start_minute: Minute of the day at which it begins, 0 to 1439.
        end_minute: Minute at which it ends, 1 to 1440; on the next day when it is not after ``start_minute``.
        zone: Name of the time zone, for example ``Europe/Berlin``.
    """

    days: tuple[int, ...]
    start_minute: int
    end_minute: int
    zone: str


@dataclass(frozen=True, slots=True)
class WindowRule:
    """A named window: it holds whenever one of its hours does."""

    name: str
    hours: tuple[Hours, ...]


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A policy as it is applied.

    Attributes:
        text: Cedar, with comments as they were written.
        schema_sha256: Digest of the Cedar schema that it was validated with.
        valid_until_at: Instant after which it is stale, or ``None``.
        bursting_stopped: Whether the emergency stop is on.
    """

    text: str
    schema_sha256: str
    windows: tuple[WindowRule, ...] = ()
    tenants: tuple[TenantRules, ...] = ()
    valid_until_at: float | None = None
    bursting_stopped: bool = False
    stop_why: str = ""

    @property
    def version(self) -> str:
        """Digest of all of it."""
        return version_of(self)

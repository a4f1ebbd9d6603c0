"""How an attempt gets into the object store: with credentials of its own that end, or with the worker's.

The long-lived credentials of a site's worker open the whole store. Given a role, the worker has STS make temporary ones
for each attempt, limited to the attempt's data and its own places, and renews them while the attempt runs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from infra.adapters.renewed_keys import LOOK_BEFORE_S
from infra.adapters.security_tokens import SecurityTokens, partition_of, sees_whole_store
from infra.core.trust import PermitClaims
from infra.core.units import iso
from infra.settings import SiteSettings
from infra.worker.context import EXPIRATION
from infra.worker.environment import store_credentials
from infra.worker.store_scope import scope_of, session_policy

logger = logging.getLogger("headrace.site")

RENEW_BEFORE_S = LOOK_BEFORE_S + 60
"""How long before their end credentials are renewed: before their holder looks for newer ones."""

AFTER_PERMIT_S = 120.0
"""How much longer than its permit an attempt may use the store: the longest stop grace, for the last checkpoint."""

_WHERE = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True, slots=True)
class Access:
    """What opens the store for one attempt.

    Attributes:
        variables: For the flow process's context file.
        ends_at: When they are of no use any more; ``None`` for never.
        renew_at: When others should take their place; ``None`` for never.
    """

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    ends_at: float | None = None
    renew_at: float | None = None

    def is_due(self, now_at: float) -> bool:
        """Whether others should take their place now."""
        return self.renew_at is not None and now_at >= self.renew_at


class StoreAccess(Protocol):
    """Opens the store for attempts."""

    def grant(self, claims: PermitClaims, work: Mapping[str, Any], now_at: float) -> Access:
        """Access for an admitted attempt.

        Raises:
            UnavailableError: ``STORE_ACCESS_FAILED``.
            RefusedError: ``STORE_POLICY_TOO_LARGE``, ``STORE_SCOPE_UNSAFE``.
        """


@dataclass(frozen=True, slots=True)
class WholeStore:
    """The worker's own credentials, for everybody; none for a local directory."""

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def grant(self, claims: PermitClaims, work: Mapping[str, Any], now_at: float) -> Access:
        return Access(self.variables)


@dataclass(frozen=True, slots=True)
class ScopedStore:
    """Temporary credentials of a role, for what the permit names.

    Args:
        where: Variables that say where the store is, and open nothing.
    """

    tokens: SecurityTokens
    bucket: str
    root: str
    where: Mapping[str, str]

    def grant(self, claims: PermitClaims, work: Mapping[str, Any], now_at: float) -> Access:
        scope = scope_of(claims, work, claims.expires_at + AFTER_PERMIT_S)
        policy = session_policy(scope, self.bucket, self.root, partition_of(self.tokens.role_arn))
        key = self.tokens.issue(policy, f"headrace-{claims.id}", scope.until_at - now_at, now_at)
        variables = {
            **self.where,
            "AWS_ACCESS_KEY_ID": key.key,
            "AWS_SECRET_ACCESS_KEY": key.secret,
            "AWS_SESSION_TOKEN": key.token,
            EXPIRATION: iso(int(key.expires_at)),
        }
        needed = key.expires_at < scope.until_at
        return Access(variables, key.expires_at, key.expires_at - RENEW_BEFORE_S if needed else None)


def store_access(settings: SiteSettings, environ: Mapping[str, str]) -> StoreAccess:
    """How attempts of this site get into its store.

    Raises:
        InputError: As :func:`sees_whole_store`.
    """
    whole = sees_whole_store(settings)
    if settings.store_role_arn:
        url = urlsplit(settings.store_url)
        where = {name: environ[name] for name in _WHERE if environ.get(name)}
        tokens = SecurityTokens(settings.store_role_arn, settings.store_role_max_s, environ)
        return ScopedStore(tokens, url.netloc, url.path.strip("/"), where)
    if whole:
        logger.warning(
            "Runs of %s get the worker's own credentials and so see the whole store; set HEADRACE_STORE_ROLE_ARN",
            settings.site,
        )
    return WholeStore(store_credentials(environ))

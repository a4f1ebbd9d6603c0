"""Temporary keys of an object store that somebody else renews while they are in use.

The holder is told where to look. aiobotocore asks again when a key ends soon, for each request and so also between two
parts of a large object; work that goes on never notices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiobotocore.session import AioSession

LOOK_BEFORE_S = 240
"""How long before its end a newer key is looked for; whoever renews it has done so earlier (see ``RENEW_BEFORE_S``)."""

_MUST_BEFORE_S = 5
_SOURCE = "headrace-renewed"


@dataclass(frozen=True, slots=True)
class TemporaryKey:
    """Credentials that end.

    Attributes:
        expires_at: Seconds since the Unix epoch.
    """

    key: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    expires_at: float


def now() -> datetime:
    """This machine's clock."""
    return datetime.now(UTC)


def renewed_session(read: Callable[[], TemporaryKey]) -> AioSession:
    """A session whose requests are signed with the newest key.

    Args:
        read: Gives the key that is the newest now; called when the one in use ends within :data:`LOOK_BEFORE_S`.
            What it raises is told to whoever makes the request once no key is left.
    """
    from aiobotocore.credentials import AioCredentialResolver, AioRefreshableCredentials
    from aiobotocore.session import AioSession
    from botocore.credentials import CredentialProvider
    from botocore.exceptions import CredentialRetrievalError

    def newest() -> dict[str, Any]:
        key = read()
        if key.expires_at <= now().timestamp():
            # Said here, for botocore would raise a bare RuntimeError.
            raise CredentialRetrievalError(provider=_SOURCE, error_msg="the site's worker has not renewed them")
        # botocore takes an instant as text only.
        ends = datetime.fromtimestamp(key.expires_at, UTC).isoformat()
        return {"access_key": key.key, "secret_key": key.secret, "token": key.token, "expiry_time": ends}

    class Renewed(CredentialProvider):
        METHOD = _SOURCE

        async def load(self) -> AioRefreshableCredentials:
            first = newest()
            return AioRefreshableCredentials(
                first["access_key"],
                first["secret_key"],
                first["token"],
                datetime.fromisoformat(first["expiry_time"]),
                refresh_using=newest,
                method=_SOURCE,
                time_fetcher=lambda: now(),
                advisory_timeout=LOOK_BEFORE_S,
                mandatory_timeout=_MUST_BEFORE_S,
            )

    session = AioSession()
    session.register_component("credential_provider", AioCredentialResolver(providers=[Renewed()]))
    return session

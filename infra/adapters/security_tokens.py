"""Temporary credentials from an STS server (AWS, MinIO, Ceph): ``AssumeRole`` with a session policy."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from infra.adapters.renewed_keys import TemporaryKey
from infra.core.errors import InputError, RefusedError, UnavailableError
from infra.settings import SiteSettings

SHORTEST_S = 900
"""STS gives no credentials for less."""

LONGEST_S = 43_200
"""Nor for more, whatever the role allows."""

_ROLE = re.compile(r"arn:(aws[a-z-]*):iam::[A-Za-z0-9]*:role/[A-Za-z0-9+=,.@_/-]+")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9+=,.@_-]")
_REMEDIES = {
    "AccessDenied": "let the site worker's user assume the role, in the role's trust policy and the user's own rights",
    "PackedPolicyTooLarge": "use fewer datasets in one run, or shorter names",
    "MalformedPolicyDocument": "see which actions and conditions this STS server knows in a session policy",
    "ValidationError": "set HEADRACE_STORE_ROLE_MAX_S to what the role allows (MaxSessionDuration)",
    "RegionDisabledException": "activate STS in this region, or set AWS_ENDPOINT_URL_STS to another",
}


def partition_of(role_arn: str) -> str:
    """The partition of a role's ARN: ``aws``, ``aws-cn``, ``aws-us-gov``.

    Raises:
        InputError: ``BAD_ROLE_ARN``.
    """
    found = _ROLE.fullmatch(role_arn)
    if found is None:
        raise InputError(
            "BAD_ROLE_ARN", f"{role_arn!r}"[:200], "HEADRACE_STORE_ROLE_ARN", "write arn:aws:iam::ACCOUNT:role/NAME"
        )
    return found.group(1)


@dataclass(slots=True)
class SecurityTokens:
    """Asks for credentials of one role.

    Args:
        longest_s: The role's ``MaxSessionDuration``.
        environ: Where the asker's own credentials, the region and the endpoint stand (``AWS_*``); what is not there is
            found by botocore itself, as a profile or a machine's own role.
    """

    role_arn: str
    longest_s: int
    environ: Mapping[str, str] = field(repr=False)
    _client: Any = field(default=None, init=False, repr=False)
    _making: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        partition_of(self.role_arn)
        if not SHORTEST_S <= self.longest_s <= LONGEST_S:
            raise InputError(
                "BAD_NUMBER", f"{self.longest_s}", "HEADRACE_STORE_ROLE_MAX_S", f"give {SHORTEST_S} to {LONGEST_S} s"
            )

    def issue(self, policy: str, name: str, wanted_s: float, now_at: float) -> TemporaryKey:
        """Credentials that may do what both the role and this policy allow.

        Args:
            name: The session's, for the server's log.
            wanted_s: How long they should live; more or less where STS has its bounds.
            now_at: From when their life is counted. It is before the question, and by the asker's clock: neither a slow
                answer nor a server with another clock makes them look longer than they are.

        Raises:
            UnavailableError: ``STORE_ACCESS_FAILED`` when STS does not answer or gives none.
            RefusedError: ``STORE_POLICY_TOO_LARGE`` when STS finds the policy too large.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        life_s = min(self.longest_s, max(SHORTEST_S, math.ceil(wanted_s)))
        try:
            answer = self._sts().assume_role(
                RoleArn=self.role_arn,
                RoleSessionName=_NOT_IN_A_NAME.sub("-", name)[:64],
                Policy=policy,
                DurationSeconds=life_s,
            )
            given = answer["Credentials"]
            return TemporaryKey(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], now_at + life_s)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            remedy = _REMEDIES.get(code, "look at the STS server, the worker's own credentials and the role")
            if code == "PackedPolicyTooLarge":
                raise RefusedError("STORE_POLICY_TOO_LARGE", str(error), self.role_arn, remedy) from error
            raise UnavailableError("STORE_ACCESS_FAILED", str(error), self.role_arn, remedy) from error
        except (BotoCoreError, KeyError, TypeError) as error:
            raise UnavailableError(
                "STORE_ACCESS_FAILED",
                f"{type(error).__name__}: {error}",
                self.role_arn,
                "see AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL, AWS_REGION and the worker's own credentials",
            ) from error

    def _sts(self) -> Any:
        with self._making:
            if self._client is None:
                from botocore.config import Config
                from botocore.session import Session

                said = self.environ.get
                self._client = Session().create_client(
                    "sts",
                    region_name=said("AWS_REGION") or said("AWS_DEFAULT_REGION") or "us-east-1",
                    endpoint_url=said("AWS_ENDPOINT_URL_STS") or said("AWS_ENDPOINT_URL"),
                    aws_access_key_id=said("AWS_ACCESS_KEY_ID"),
                    aws_secret_access_key=said("AWS_SECRET_ACCESS_KEY"),
                    aws_session_token=said("AWS_SESSION_TOKEN"),
                    config=Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2}),
                )
            return self._client


def sees_whole_store(settings: SiteSettings) -> bool:
    """Whether runs get credentials that open all of the store.

    Raises:
        InputError: ``BAD_ROLE_ARN``, ``BAD_NUMBER``; ``ROLE_WITHOUT_S3`` for a role of another kind of store.
    """
    scheme = urlsplit(settings.store_url).scheme
    if not settings.store_role_arn:
        return scheme == "s3"
    if scheme != "s3":
        raise InputError(
            "ROLE_WITHOUT_S3", f"the store is {scheme or 'file'}://", "HEADRACE_STORE_ROLE_ARN", "leave it out"
        )
    SecurityTokens(settings.store_role_arn, settings.store_role_max_s, {})
    return False

"""What one attempt may touch in the object store, and the session policy that says so to an S3 server.

Both follow from the verified permit and the work that it binds. Wildcards mean something in a policy, so names that could
hold one are refused rather than escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data_contracts.layout import site_prefix
from infra.core.errors import RefusedError
from infra.core.run_places import attempt_prefix, checkpoints_prefix
from infra.core.trust import PermitClaims
from infra.core.units import iso

MOST_POLICY_CHARACTERS = 2048
"""STS takes no longer session policy."""

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ROOT = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, slots=True)
class StoreScope:
    """Prefixes below the store's root, without a slash at the end.

    Attributes:
        reads: Of permitted inputs.
        copies: Where permitted inputs of other sites are copied to before they are read: this site's own copies.
        attempt: Of this attempt's outputs.
        checkpoints: Of this run's checkpoints, over all its attempts.
        until_at: When it ends, in seconds since the Unix epoch.
    """

    reads: tuple[str, ...]
    copies: tuple[str, ...]
    attempt: str
    checkpoints: str
    until_at: float


def scope_of(claims: PermitClaims, work: Mapping[str, Any], until_at: float) -> StoreScope:
    """The scope of a permitted attempt.

    Args:
        claims: The verified permit.
        work: The work whose digest is the permit's. Inputs that the permit does not list are left out.

    Raises:
        RefusedError: ``STORE_SCOPE_UNSAFE`` for a name that could mean more than itself in a policy;
            ``PERMIT_WRONG_WORK`` when the inputs cannot be read.
    """
    permitted = {(item.name, item.version, item.manifest_sha256) for item in claims.datasets}
    reads, copies = [], []
    try:
        for entry in work.get("inputs") or ():
            name, version, source = entry["name"], entry["version"], entry["source_site"]
            if (name, version, entry["manifest_sha256"]) not in permitted:
                continue
            reads.append(_plain(site_prefix(source, name, version), parts=5))
            if source != claims.site:
                copies.append(_plain(site_prefix(claims.site, name, version), parts=5))
    except (KeyError, TypeError) as problem:
        raise RefusedError(
            "PERMIT_WRONG_WORK", f"its inputs cannot be read: {problem!r}", f"run {claims.run_id}", "place it again"
        ) from problem
    return StoreScope(
        reads=tuple(sorted(set(reads) - set(copies))),
        copies=tuple(sorted(set(copies))),
        attempt=_plain(attempt_prefix(claims.run_id, claims.attempt), parts=4),
        checkpoints=_plain(checkpoints_prefix(claims.run_id), parts=3),
        until_at=until_at,
    )


def session_policy(scope: StoreScope, bucket: str, root: str, partition: str = "aws") -> str:
    """The scope as a session policy: JSON without spaces, for their number is limited.

    Every statement ends with the scope, since STS gives no credentials for less than 15 minutes.

    Args:
        root: Key prefix of the store in its bucket, without slashes around it; may be empty.
        partition: Of the role's ARN: ``aws``, ``aws-cn``, ``aws-us-gov``.

    Raises:
        RefusedError: ``STORE_SCOPE_UNSAFE``; ``STORE_POLICY_TOO_LARGE``.
    """
    if not _PART.fullmatch(bucket) or (root and not _ROOT.fullmatch(root)):
        raise _unsafe(f"{bucket}/{root}")
    arn, start = f"arn:{partition}:s3:::{bucket}", f"{root}/" if root else ""
    before = {"DateLessThan": {"aws:CurrentTime": iso(int(scope.until_at))}}
    own = (*scope.copies, scope.attempt, scope.checkpoints)

    def objects(*prefixes: str) -> list[str]:
        return [f"{arn}/{start}{prefix}/*" for prefix in prefixes]

    def allow(action: str | list[str], resource: str | list[str], condition: dict[str, Any]) -> dict[str, Any]:
        return {"Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition}

    def written(listed: tuple[str, ...]) -> str:
        statements = [
            allow(
                ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"], objects(*own), before
            ),
            allow(
                "s3:ListBucket",
                arn,
                {**before, "StringLike": {"s3:prefix": [f"{start}{prefix}/*" for prefix in listed]}},
            ),
        ]
        if scope.reads:
            statements.insert(0, allow("s3:GetObject", objects(*scope.reads), before))
        return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))

    # Listing also decides whether an absent object is told from a forbidden one. Where something is written that matters;
    # where there is only room for reading, a damaged input is told as STORE_DENIED.
    listed = (*scope.copies, scope.checkpoints)
    policy = written((*scope.reads, *listed))
    if len(policy) > MOST_POLICY_CHARACTERS:
        policy = written(listed)
    if len(policy) > MOST_POLICY_CHARACTERS:
        raise RefusedError(
            "STORE_POLICY_TOO_LARGE",
            f"{len(policy)} characters for {len(scope.reads) + len(scope.copies)} prefixes of data, "
            f"and a session policy has {MOST_POLICY_CHARACTERS}",
            scope.attempt,
            "use fewer datasets in one run, shorter names, or a shorter prefix of the store",
        )
    return policy


def _plain(prefix: str, parts: int) -> str:
    """The prefix, when it has as many parts as it should and each is only a name."""
    found = prefix.split("/")
    if len(found) != parts or not all(_PART.fullmatch(part) for part in found):
        raise _unsafe(prefix)
    return prefix


def _unsafe(what: str) -> RefusedError:
    return RefusedError(
        "STORE_SCOPE_UNSAFE",
        "no access can be limited to it",
        f"{what!r}"[:200],
        "use letters, digits, dots, hyphens and underscores in names of datasets, runs and the store",
    )

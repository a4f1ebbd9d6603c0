"""What a site's flow process is given: the permitted work's surroundings, in a file that only its owner can read.

The worker writes the file and names it in ``HEADRACE_SITE_CONTEXT``. Credentials are in the file and never in the
environment, where any child process and any crash dump would carry them on. Ending, the flow process leaves
``outcome.json`` behind for the worker: what only it can know (bytes read from other sites, the manifest's digest).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from infra.adapters.objects import open_store
from infra.adapters.renewed_keys import TemporaryKey
from infra.core.canonical import plain
from infra.core.errors import InputError, UnavailableError
from infra.core.inventory import TrustZone
from infra.core.trust import PermitClaims, PermittedDataset
from infra.core.units import instant
from infra.ports import ClusterAddress, ObjectStore
from infra.processes import write_private

SITE_CONTEXT_VARIABLE = "HEADRACE_SITE_CONTEXT"
EXPIRATION = "AWS_CREDENTIAL_EXPIRATION"
"""Until when a context's credentials are good; among the others, under the name that botocore uses for it."""

_OUTCOME_FILE = "outcome.json"


@dataclass(frozen=True, slots=True)
class SiteOutcome:
    """What a flow process leaves for its worker.

    Attributes:
        egress_bytes: Bytes read from other sites than this one.
        egress_sources: Those sites.
        result_manifest_sha256: Digest of the attempt's manifest, when the result is whole.
        lost: Whether the work ended for want of something that another attempt may have: workers, the store.
    """

    egress_bytes: int = 0
    egress_sources: tuple[str, ...] = ()
    result_manifest_sha256: str | None = None
    message: str = ""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class SiteContext:
    """Surroundings of one permitted attempt.

    Attributes:
        claims: The verified permit.
        store_credentials: Variables that open the object store (``AWS_*``); empty for a local directory. Those that end
            are renewed in the context's file while the work goes on.
        cache_dir: A directory of this attempt's own; it is gone when the attempt is.
        ends_at: End of the lease.
        file: Where this was read from.
    """

    site: str
    pool: str
    lease_id: str
    claims: PermitClaims
    cluster: ClusterAddress
    store_url: str
    store_credentials: Mapping[str, str] = field(repr=False)
    cache_dir: Path
    ends_at: float
    file: Path | None = field(default=None, compare=False)

    def open_store(self) -> ObjectStore:
        """The object store, with this attempt's credentials; renewed ones are taken up from the context's file."""
        credentials = self.store_credentials
        endpoint = credentials.get("AWS_ENDPOINT_URL_S3") or credentials.get("AWS_ENDPOINT_URL")
        region = credentials.get("AWS_REGION") or credentials.get("AWS_DEFAULT_REGION")
        if self.file is not None and EXPIRATION in credentials:
            return open_store(self.store_url, endpoint=endpoint, region=region, renewal=partial(newest_key, self.file))
        return open_store(
            self.store_url,
            key=credentials.get("AWS_ACCESS_KEY_ID"),
            secret=credentials.get("AWS_SECRET_ACCESS_KEY"),
            token=credentials.get("AWS_SESSION_TOKEN"),
            endpoint=endpoint,
            region=region,
        )

    def with_credentials(self, variables: Mapping[str, str]) -> SiteContext:
        return replace(self, store_credentials=variables)

    def leave_outcome(self, outcome: SiteOutcome) -> None:
        """Write the outcome, whole or not at all; a later one takes the place of an earlier."""
        write_private(self.cache_dir / _OUTCOME_FILE, json.dumps(plain(outcome)).encode())

    def save(self, path: Path) -> None:
        """Write the context for its flow process: mode 0600."""
        document = {
            name: plain(getattr(self, name))
            for name in ("site", "pool", "lease_id", "claims", "cluster", "store_url", "ends_at")
        }
        document |= {"store_credentials": dict(self.store_credentials), "cache_dir": str(self.cache_dir)}
        write_private(path, json.dumps(document).encode())

    @classmethod
    def load(cls, path: Path) -> SiteContext:
        """Read a context file.

        Raises:
            InputError: ``SITE_CONTEXT_BROKEN``.
        """
        try:
            document = json.loads(path.read_bytes())
            cluster = {**document["cluster"], "workers": tuple(document["cluster"]["workers"])}
            values = {
                **document,
                "claims": _claims(document["claims"]),
                "cluster": ClusterAddress(**cluster),
                "cache_dir": Path(document["cache_dir"]),
                "file": path,
            }
            return cls(**values)
        except (OSError, KeyError, TypeError, ValueError) as problem:
            raise InputError(
                "SITE_CONTEXT_BROKEN", f"{problem!r}", str(path), "let the site's worker start the run"
            ) from problem

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> SiteContext:
        """The context of this flow process.

        Raises:
            InputError: ``NOT_AT_A_SITE`` when no worker of a site started this process.
        """
        path = environ.get(SITE_CONTEXT_VARIABLE)
        if not path:
            raise InputError(
                "NOT_AT_A_SITE",
                "there is no permitted cluster and no data here",
                SITE_CONTEXT_VARIABLE,
                "start the run through its deployment; a site's worker sets this up after it verified the permit",
            )
        return cls.load(Path(path))


def newest_key(file: Path) -> TemporaryKey:
    """The temporary key that the worker last wrote into the context file.

    Raises:
        UnavailableError: ``STORE_ACCESS_FAILED`` when it holds none, or is gone with its lease.
    """
    try:
        variables = SiteContext.load(file).store_credentials
        return TemporaryKey(
            key=variables["AWS_ACCESS_KEY_ID"],
            secret=variables["AWS_SECRET_ACCESS_KEY"],
            token=variables["AWS_SESSION_TOKEN"],
            expires_at=instant(variables[EXPIRATION]),
        )
    except (InputError, KeyError) as problem:
        raise UnavailableError(
            "STORE_ACCESS_FAILED", f"no credentials: {problem}", str(file), "place the run again"
        ) from problem


def read_outcome(cache_dir: Path) -> SiteOutcome:
    """What the flow process left; an empty outcome when it left nothing or something broken."""
    try:
        document: dict[str, Any] = json.loads((cache_dir / _OUTCOME_FILE).read_bytes())
        return SiteOutcome(
            egress_bytes=max(0, int(document["egress_bytes"])),
            egress_sources=tuple(str(name) for name in document["egress_sources"]),
            result_manifest_sha256=document["result_manifest_sha256"] or None,
            message=str(document["message"])[:2000],
            lost=document["lost"] is True,
        )
    except (OSError, KeyError, TypeError, ValueError):
        return SiteOutcome()


def _claims(document: dict[str, Any]) -> PermitClaims:
    datasets = tuple(
        PermittedDataset(
            **{**entry, "residency": tuple(entry["residency"]), "trust_zone": TrustZone(entry["trust_zone"])}
        )
        for entry in document["datasets"]
    )
    return PermitClaims(
        **{
            **document,
            "datasets": datasets,
            "residency": tuple(document["residency"]),
            "trust_zone": TrustZone(document["trust_zone"]),
        }
    )

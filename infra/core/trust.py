"""What a permit says, and whether a site may act on it. Signing and clocks live in adapters."""

from __future__ import annotations

from dataclasses import dataclass, field

from infra.core.canonical import ADDED
from infra.core.errors import RefusedError
from infra.core.inventory import Site, TrustZone
from infra.core.jurisdictions import permits
from infra.core.units import usd


@dataclass(frozen=True, slots=True)
class PermittedDataset:
    """A dataset version that the permit lets the run read, with the rules that came with it."""

    name: str
    version: str
    residency: tuple[str, ...]
    trust_zone: TrustZone
    manifest_sha256: str


@dataclass(frozen=True, slots=True)
class PermitClaims:
    """What the control plane signs: one attempt of one run may use one offer at one site until then.

    Attributes:
        id: Unique; a site honours it for one flow run only.
        work_sha256: Digest of the work description, so that a copied permit can do nothing else.
        cap_micro: The most that this attempt may cost, unless the control plane extends the permit.
        residency: Tags of the request itself; the datasets' own tags are checked as well.
        most_micro: How far extensions may raise the cap; less than the cap for not at all.
        cluster_lease: Id of the warm run's permit whose idle cluster the attempt uses; empty for one of its own.
    """

    id: str
    run_id: str
    attempt: int
    site: str
    pool: str
    offer: str
    devices: int
    work_sha256: str
    datasets: tuple[PermittedDataset, ...]
    residency: tuple[str, ...]
    trust_zone: TrustZone
    cap_micro: int
    issued_at: float
    expires_at: float
    most_micro: int = 0
    cluster_lease: str = field(default="", metadata=ADDED)

    @property
    def limit_micro(self) -> int:
        """What the attempt can cost at most, with all extensions that there may be."""
        return max(self.cap_micro, self.most_micro)


@dataclass(frozen=True, slots=True)
class PermitExtension:
    """More money for a permit that is in use; signed by the control plane, which has reserved it.

    Attributes:
        cap_micro: The new cap: what the attempt may cost in all.
    """

    permit_id: str
    run_id: str
    attempt: int
    cap_micro: int
    issued_at: float


def extended_cap(claims: PermitClaims, extension: PermitExtension) -> int:
    """The cap of a permit with an (already verified) extension, in micro-dollars.

    Raises:
        RefusedError: ``EXTENSION_WRONG_PERMIT`` for another permit's, ``EXTENSION_TOO_LARGE`` when the permit leaves no room for it.
    """
    where = f"extension for run {claims.run_id}, attempt {claims.attempt}"
    named = (extension.permit_id, extension.run_id, extension.attempt)
    if named != (claims.id, claims.run_id, claims.attempt):
        raise RefusedError(
            "EXTENSION_WRONG_PERMIT",
            f"it is for permit {extension.permit_id}",
            where,
            "look who can write to the object store",
        )
    if extension.cap_micro > claims.limit_micro:
        raise RefusedError(
            "EXTENSION_TOO_LARGE",
            f"{usd(extension.cap_micro)}, and the permit leaves room for {usd(claims.limit_micro)}",
            where,
            "place the run again for more",
        )
    return extension.cap_micro


CLOCK_LEEWAY_S = 30.0
"""How far a site's clock may lag behind the control plane's before fresh permits look issued in the future."""


def check_permit(claims: PermitClaims, site: Site, pool: str, work_sha256: str, now_at: float) -> None:
    """Refuse unless these (already verified) claims allow this work at this site now.

    Raises:
        RefusedError: ``PERMIT_WRONG_SITE``, ``PERMIT_WRONG_POOL``, ``PERMIT_EXPIRED``, ``PERMIT_NOT_YET_VALID``,
            ``PERMIT_WRONG_WORK``, ``PERMIT_UNKNOWN_OFFER``, ``RESIDENCY_EXCLUDED`` or ``TRUST_ZONE_TOO_LOW``.
    """

    def refuse(code: str, problem: str, remedy: str) -> None:
        raise RefusedError(code, problem, f"site {site.name}, run {claims.run_id}", remedy)

    again = "start the run through its deployment, so that it is placed"
    if claims.site != site.name:
        refuse("PERMIT_WRONG_SITE", f"the permit is for {claims.site}", again)
    if claims.pool != pool:
        refuse("PERMIT_WRONG_POOL", f"the permit is for pool {claims.pool}, not {pool}", again)
    if now_at >= claims.expires_at:
        refuse("PERMIT_EXPIRED", f"the permit ended {now_at - claims.expires_at:.0f} s ago", again)
    if now_at < claims.issued_at - CLOCK_LEEWAY_S:
        refuse("PERMIT_NOT_YET_VALID", f"issued {claims.issued_at - now_at:.0f} s from now", "check this site's clock")
    if claims.work_sha256 != work_sha256:
        refuse("PERMIT_WRONG_WORK", "the work is not the work that was permitted", again)
    offers = {offer.name for candidate in site.pools if candidate.name == pool for offer in candidate.offers}
    if claims.offer not in offers:
        refuse("PERMIT_UNKNOWN_OFFER", f"{claims.offer!r} is not sold here", f"this pool sells {sorted(offers)}")
    if claims.residency and not permits(claims.residency, site.jurisdiction):
        refuse("RESIDENCY_EXCLUDED", f"the request excludes {site.jurisdiction}", again)
    if claims.trust_zone.rank > site.trust_zone.rank:
        refuse("TRUST_ZONE_TOO_LOW", f"the request needs {claims.trust_zone}, this site is {site.trust_zone}", again)
    for dataset in claims.datasets:
        if not permits(dataset.residency, site.jurisdiction) or dataset.trust_zone.rank > site.trust_zone.rank:
            refuse("RESIDENCY_EXCLUDED", f"{dataset.name}@{dataset.version} may not be read here", again)

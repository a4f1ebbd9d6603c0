"""Reports that a site signs and leaves in the object store: the only thing that it ever tells the control plane.

Keys: ``reports/<run>/<attempt>/<kind>.jws``, and ``reports/refusals/<site>/<flow run>.jws`` for runs that were refused.
Whoever can write to the store can put a file there, but only the site can sign one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra.adapters.signing_keys import BadSignatureError, load_public_key, open_document, read_header, sign_document
from infra.core.canonical import plain, run_key
from infra.core.errors import HeadraceError, RefusedError, UnavailableError
from infra.core.metering import ReportKind, ReportOutcome, SiteReport
from infra.ports import ObjectStore

__all__ = [
    "Refusal",
    "ReportKind",
    "ReportOutcome",
    "SiteReport",
    "load_trusted_keys",
    "open_report",
    "read_refusal",
    "read_report",
    "report_key",
    "sign_refusal",
    "sign_report",
    "write_report",
]

REPORT_TYPE = "headrace-report+jwt"
REFUSAL_TYPE = "headrace-refusal+jwt"
_REMEDY = "look who can write to the object store, and whether the site's public key is the current one"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A flow run that a site would not start, and why. ``run_id`` is empty when no authentic permit named one."""

    site: str
    flow_run_id: str
    code: str
    message: str
    refused_at: float
    run_id: str = ""
    attempt: int = 0


def report_key(run_id: str, attempt: int, kind: ReportKind | str) -> str:
    """The object's key."""
    return f"reports/{run_key(run_id)}/{attempt}/{ReportKind(kind)}.jws"


def refusal_key(site: str, flow_run_id: str) -> str:
    return f"reports/refusals/{site}/{flow_run_id}.jws"


def sign_report(key: Ed25519PrivateKey, report: SiteReport) -> str:
    """The report as a JWS; the site's name is its key id."""
    return sign_document(key, REPORT_TYPE, plain(report), report.site)


def sign_refusal(key: Ed25519PrivateKey, refusal: Refusal) -> str:
    return sign_document(key, REFUSAL_TYPE, plain(refusal), refusal.site)


def write_report(store: ObjectStore, key: Ed25519PrivateKey, report: SiteReport) -> None:
    """Sign a report and put it in its place; a later one of the same kind takes the place of the earlier."""
    store.put(report_key(report.run_id, report.attempt, report.kind), sign_report(key, report).encode())


def read_report(
    store: ObjectStore,
    trusted_keys: Mapping[str, Ed25519PublicKey],
    run_id: str,
    attempt: int,
    kind: ReportKind | str,
    site: str | None = None,
) -> SiteReport | None:
    """The site's report, or ``None`` while there is none.

    Args:
        trusted_keys: Public keys by site.
        site: The site that the attempt was placed at; a report of any other site is refused.

    Raises:
        RefusedError: ``REPORT_FORGED`` when no trusted site signed it, or when it is about something else.
    """
    where = report_key(run_id, attempt, kind)
    try:
        token = store.get(where)
    except UnavailableError as problem:
        if problem.code == "NOT_FOUND":
            return None
        raise
    report = open_report(token.decode("utf-8", "replace"), trusted_keys, where)
    if (report.run_id, report.attempt, report.kind) != (run_id, attempt, ReportKind(kind)):
        raise _forged(where, f"it is the {report.kind} report of {report.run_id}, attempt {report.attempt}")
    if site is not None and report.site != site:
        raise _forged(where, f"it is signed by {report.site}, and the attempt is at {site}")
    return report


def open_report(token: str, trusted_keys: Mapping[str, Ed25519PublicKey], where: str = "report") -> SiteReport:
    """The report in a JWS of a trusted site.

    Raises:
        RefusedError: ``REPORT_FORGED``.
    """
    payload = _open(token, trusted_keys, REPORT_TYPE, where)
    try:
        return SiteReport(
            **{
                **payload,
                "kind": ReportKind(payload["kind"]),
                "outcome": ReportOutcome(payload["outcome"]),
                "egress_sources": tuple(payload["egress_sources"]),
            }
        )
    except (HeadraceError, KeyError, TypeError, ValueError) as problem:
        raise _forged(where, f"its content is not that of a report: {problem}") from problem


def read_refusal(
    store: ObjectStore, trusted_keys: Mapping[str, Ed25519PublicKey], site: str, flow_run_id: str
) -> Refusal | None:
    """Why a site refused a flow run, or ``None`` when it did not say.

    Raises:
        RefusedError: ``REPORT_FORGED``.
    """
    where = refusal_key(site, flow_run_id)
    if not store.exists(where):
        return None
    payload = _open(store.get(where).decode("utf-8", "replace"), trusted_keys, REFUSAL_TYPE, where)
    try:
        refusal = Refusal(**payload)
    except TypeError as problem:
        raise _forged(where, f"its content is not that of a refusal: {problem}") from problem
    if (refusal.site, refusal.flow_run_id) != (site, flow_run_id):
        raise _forged(where, f"it is about {refusal.flow_run_id} at {refusal.site}")
    return refusal


def load_trusted_keys(directory: Path) -> dict[str, Ed25519PublicKey]:
    """Public keys of all sites, from ``<site>.pem`` files; none when the directory is not there yet.

    Raises:
        InputError: ``KEY_UNREADABLE``.
    """
    return {path.stem: load_public_key(path) for path in sorted(directory.glob("*.pem"))}


def _open(token: str, trusted_keys: Mapping[str, Ed25519PublicKey], kind: str, where: str) -> dict[str, Any]:
    try:
        site = read_header(token).get("kid")
        key = trusted_keys.get(site) if isinstance(site, str) else None
        if key is None:
            raise BadSignatureError(f"{site!r} is no trusted site", malformed=False)
        payload = open_document(token, key, kind)
    except BadSignatureError as problem:
        raise _forged(where, f"{problem}") from problem
    if payload.get("site") != site:
        raise _forged(where, f"{site} signed a report of {payload.get('site')!r}")
    return payload


def _forged(where: str, problem: str) -> RefusedError:
    return RefusedError("REPORT_FORGED", problem, where, _REMEDY)

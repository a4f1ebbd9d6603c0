"""Checking a landed version against its contract: accept it at its home site, or quarantine it with the reasons.

Plain functions around the object store and the catalogue. They may be repeated, and two of them may check one
version at once: what is accepted or quarantined first stays.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts import layout
from data_contracts.checking import CheckOutcome, check_parts
from data_contracts.findings import Finding
from data_contracts.loading import contract_names, load_contract
from data_contracts.manifest import MANIFEST_NAME, Manifest, ManifestFile, describe_part, parse_manifest, part_name
from data_contracts.model import Contract
from infra.core.errors import InputError, RefusedError, UnavailableError
from infra.core.inventory import DatasetVersion, Site
from infra.core.jurisdictions import permits
from infra.core.units import iso
from infra.ports import Catalog, CatalogEntry, Clock, ObjectStore
from tasks.datasets.shelving import shelve

REPORT_NAME = "report.json"
_MOVED_AWAY = ("NOT_LANDED", "LANDING_INCOMPLETE", "NOT_FOUND")


@dataclass(frozen=True, slots=True)
class CheckedVersion:
    """A version that keeps its contract and lies complete at its home site.

    Attributes:
        prefix: Where it lies in a site's own store (``datasets/<name>/<version>``).
        uri: Where the home site's copy lies.
        newly_accepted: False when it was accepted before.
    """

    version: DatasetVersion
    prefix: str
    uri: str
    manifest_sha256: str
    newly_accepted: bool


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A version that broke its contract; ``report`` is what lies beside it as ``report.json``."""

    name: str
    version: str
    uri: str
    report: dict[str, Any]

    @property
    def lines(self) -> tuple[str, ...]:
        """The report's findings, one line each."""
        findings = self.report["findings"]
        return tuple(str(Finding(**{**item, "rows": tuple(item["rows"])})) for item in findings)


@dataclass(frozen=True, slots=True)
class _Landed:
    """What landed, read whole. ``keys`` are all its objects, the unlisted ones among them."""

    keys: tuple[str, ...]
    parts: dict[str, bytes]
    manifest: Manifest | None
    findings: tuple[Finding, ...]

    @property
    def bytes(self) -> int:
        return sum(len(data) for data in self.parts.values())


def check_version(
    dataset: str,
    version: str,
    *,
    store: ObjectStore,
    catalog: Catalog,
    clock: Clock,
    control_site: Site,
    contracts_root: Path | None = None,
) -> CheckedVersion | Quarantined:
    """Accept or quarantine a landed version; a version that was judged before is returned as it was judged.

    Args:
        version: Its name, or ``latest`` for the newest accepted one.
        control_site: Where this process runs: it reads the data only when the contract's residency and trust zone
            allow it there.
        contracts_root: Other contracts than the packaged ones.

    Raises:
        InputError: ``UNKNOWN_DATASET``, ``BAD_VERSION_NAME``, ``NO_ACCEPTED_VERSION``, ``NOT_LANDED``,
            ``LANDING_INCOMPLETE`` or ``LANDED_TWICE``, and what is wrong with the contract itself.
        RefusedError: ``RESIDENCY_EXCLUDED`` when this process may not read it. Nothing was read.
        ConflictError: ``VERSION_EXISTS`` when another content is accepted as this version.
        UnavailableError: ``STORE_FULL`` and others; nothing half-written is left.
    """
    if dataset not in contract_names(contracts_root):
        load_contract(dataset, contracts_root)
    if version == layout.LATEST:
        newest = catalog.find(dataset, layout.LATEST)
        if newest is None:
            raise InputError(
                "NO_ACCEPTED_VERSION",
                "no version was accepted yet",
                dataset,
                f"land one: headrace data build {dataset}",
            )
        return _judged(newest)
    layout.require_version(version, f"{dataset}: version")
    known = catalog.find(dataset, version)
    if known is not None:
        _finish_quarantine(store, dataset, version, known)
        return _judged(known)
    contract = load_contract(dataset, contracts_root)
    _require_readable_here(contract, control_site)
    try:
        landed = _read_landed(store, dataset, version)
    except (InputError, UnavailableError) as error:
        # Another process that judged it meanwhile may have moved it away under this one's eyes.
        known = catalog.find(dataset, version) if error.code in _MOVED_AWAY else None
        if known is None:
            raise
        return _judged(known)
    outcome = CheckOutcome(landed.findings)
    if landed.manifest is not None:
        outcome = check_parts(contract, landed.manifest, landed.parts)
    if outcome.findings or landed.manifest is None:
        return _quarantine(contract, version, landed, outcome, store, catalog, clock)
    return _accept(contract, version, landed.manifest, landed.parts, store, catalog, clock)


def _judged(entry: CatalogEntry) -> CheckedVersion | Quarantined:
    version = entry.version
    if entry.quarantined:
        return Quarantined(version.name, version.version, entry.uri, dict(entry.report or {}))
    prefix = layout.version_prefix(version.name, version.version)
    return CheckedVersion(version, prefix, entry.uri, entry.manifest_sha256, newly_accepted=False)


def _require_readable_here(contract: Contract, site: Site) -> None:
    if not permits(contract.residency, site.jurisdiction) or contract.trust_zone.rank > site.trust_zone.rank:
        raise RefusedError(
            "RESIDENCY_EXCLUDED",
            f"{contract.name} may not be read in {site.jurisdiction} ({site.trust_zone}), where contracts are checked",
            f"site {site.name}",
            f"run the control plane where {', '.join(contract.residency)} allows it",
        )


def _read_landed(store: ObjectStore, dataset: str, version: str) -> _Landed:
    file_key = layout.landing_file(dataset, version)
    folder = layout.landing_folder(dataset, version)
    in_folder = store.list(folder)
    if store.exists(file_key):
        if in_folder:
            raise InputError("LANDED_TWICE", f"{file_key} and {folder}/ are there", file_key, "remove one of them")
        return _read_file(store, file_key)
    if not in_folder:
        remedy = f"headrace data drop {dataset} FILE --version {version}"
        raise InputError("NOT_LANDED", "no such version landed", f"{dataset}@{version}", remedy)
    if f"{folder}/{MANIFEST_NAME}" not in in_folder:
        raise InputError("LANDING_INCOMPLETE", "no manifest.json yet", folder, "write it after all parts")
    parts = {key[len(folder) + 1 :]: store.get(key) for key in in_folder}
    try:
        manifest = parse_manifest(parts[MANIFEST_NAME], f"{folder}/{MANIFEST_NAME}")
    except InputError as error:
        return _Landed(tuple(in_folder), parts, None, (Finding(error.code, MANIFEST_NAME, error.problem),))
    return _Landed(tuple(in_folder), parts, manifest, ())


def _read_file(store: ObjectStore, key: str) -> _Landed:
    name = key.rsplit("/", 1)[-1]
    parts = {name: store.get(key)}
    try:
        return _Landed((key,), parts, Manifest((describe_part(name, parts[name]),)), ())
    except InputError as error:
        return _Landed((key,), parts, None, (Finding(error.code, name, error.problem),))


def _accept(
    contract: Contract,
    version: str,
    landed: Manifest,
    parts: dict[str, bytes],
    store: ObjectStore,
    catalog: Catalog,
    clock: Clock,
) -> CheckedVersion:
    names = {part_name(number, parts[file.path]): file for number, file in enumerate(landed.files)}
    manifest = Manifest(tuple(ManifestFile(name, file.sha256, file.bytes, file.rows) for name, file in names.items()))
    key = layout.site_prefix(contract.home_site, contract.name, version)
    shelve(store, key, manifest, lambda file: parts[names[file.path].path])
    accepted = DatasetVersion(
        name=contract.name,
        version=version,
        bytes=manifest.bytes,
        copies=(contract.home_site,),
        residency=contract.residency,
        trust_zone=contract.trust_zone,
    )
    uri = f"{store.uri.rstrip('/')}/{key}"
    catalog.accept(accepted, uri, manifest.sha256, clock.now())
    prefix = layout.version_prefix(contract.name, version)
    return CheckedVersion(accepted, prefix, uri, manifest.sha256, newly_accepted=True)


def _quarantine(
    contract: Contract,
    version: str,
    landed: _Landed,
    outcome: CheckOutcome,
    store: ObjectStore,
    catalog: Catalog,
    clock: Clock,
) -> Quarantined:
    now_at = clock.now()
    folder = layout.quarantine_folder(contract.name, version)
    uri = f"{store.uri.rstrip('/')}/{folder}"
    report = {
        "dataset": contract.name,
        "version": version,
        "code": "CONTRACT_BREACH",
        "contract_version": contract.version,
        "owner": contract.owner,
        "checked_at": iso(now_at),
        "rows": outcome.rows,
        "files": sorted(landed.parts),
        "findings": [finding.as_dict() for finding in outcome.findings],
        "remedy": "correct the rows at their source and land them as a new version",
    }
    text = json.dumps(report, indent=2, ensure_ascii=False, default=str)
    report = json.loads(text)
    written = []
    try:
        for name, data in landed.parts.items():
            written.append(f"{folder}/{name}")
            store.put(written[-1], data)
        written.append(f"{folder}/{REPORT_NAME}")
        store.put(written[-1], text.encode())
    except UnavailableError:
        # Another process may have finished the same quarantine with the same files.
        if catalog.find(contract.name, version) is None:
            for key in written:
                store.delete(key)
        raise
    described = DatasetVersion(contract.name, version, landed.bytes, (), contract.residency, contract.trust_zone)
    catalog.quarantine(contract.name, version, uri, report, now_at, described)
    for key in landed.keys:
        store.delete(key)
    return Quarantined(contract.name, version, uri, report)


def _finish_quarantine(store: ObjectStore, dataset: str, version: str, known: CatalogEntry) -> None:
    """Remove from landing what lies in quarantine already: the check that moved it may have died in between."""
    if not known.quarantined:
        return
    file_key = layout.landing_file(dataset, version)
    folder = layout.landing_folder(dataset, version)
    for key in [*store.list(folder), *([file_key] if store.exists(file_key) else [])]:
        name = key[len(folder) + 1 :] if key != file_key else key.rsplit("/", 1)[-1]
        kept = f"{layout.quarantine_folder(dataset, version)}/{name}"
        if store.exists(kept) and store.get(kept) == store.get(key):
            store.delete(key)
